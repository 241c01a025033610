"""Start and end of a sign's movement."""

import numpy as np
import pytest

from signet.streaming.extents import HandMotion, find_movement
from tests.signet.streaming.signing import camera_frame


def motion(raised: str, fast: int | None = None) -> HandMotion:
    """Frames with a raised hand (`#`) and without one (`.`); in the frame `fast`, the hand moves fast."""
    speed = np.full(len(raised), 0.1)
    if fast is not None:
        speed[fast] = 1.0
    return HandMotion(np.array([frame == "#" for frame in raised]), speed)


def test_a_movement_between_rests_is_that_of_the_raised_hand() -> None:
    found = find_movement(motion("....########...."), 6, 7)
    assert (found.start, found.end, found.is_over) == (4, 11, True)


def test_a_movement_goes_on_until_its_end_is_seen() -> None:
    assert not find_movement(motion("....#######"), 6, 7).is_over
    assert find_movement(motion("....#######."), 6, 7).is_over


def test_two_signs_change_where_the_hand_is_fastest() -> None:
    hands = motion("." * 5 + "#" * 30 + "." * 5, fast=19)
    one = find_movement(hands, 10, 11, after=24)
    other = find_movement(hands, 24, 24, before=11)
    assert (one.start, one.end) == (5, 18)
    assert (other.start, other.end) == (19, 34)
    assert one.is_over


def test_without_a_next_sign_the_end_is_known_after_a_while() -> None:
    assert not find_movement(motion("#" * 20), 8, 8).is_over
    found = find_movement(motion("#" * 21, fast=16), 8, 8)
    assert (found.end, found.is_over) == (16, True)


def test_a_movement_has_a_limit_in_both_directions() -> None:
    found = find_movement(motion("#" * 100), 50, 50)
    assert found.start == 40
    assert found.end <= 62


@pytest.mark.parametrize("gap", [1, 2, 3])
def test_signs_that_are_emitted_close_together_do_not_overlap(gap: int) -> None:
    hands = motion("#" * 30)
    one = find_movement(hands, 10, 10, after=10 + gap)
    other = find_movement(hands, 10 + gap, 10 + gap, before=10)
    assert one.end < 10 + gap
    assert 10 < other.start <= 10 + gap


def test_motion_is_measured_relative_to_the_body() -> None:
    frames = np.stack([camera_frame(time / 10, ((1.0, 1),)) for time in range(30)])
    measured = HandMotion.measure(frames)
    assert np.flatnonzero(measured.raised).tolist() == list(range(10, 20))
    assert int(np.argmax(measured.speed)) in (10, 20)


def test_frames_without_any_part_have_no_motion() -> None:
    measured = HandMotion.measure(np.full((5, 75, 3), np.nan, np.float32))
    assert not measured.raised.any()
    assert not measured.speed.any()
