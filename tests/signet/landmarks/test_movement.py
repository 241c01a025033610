"""Whether anything is signed: persons at rest are made here; real videos are in tests/e2e/test_path.py."""

import numpy as np
import numpy.typing as npt
import pytest

from signet.landmarks import JOINTS, LEFT_HAND, POSE, RIGHT_HAND, NothingSigned, why_nothing_is_signed

Frames = npt.NDArray[np.float32]

# The tracker's noise in a still picture, in frame heights, after smoothing.
NOISE = 0.0003
SHOULDERS, ELBOWS, WRISTS, NOSE = (11, 12), (13, 14), (15, 16), 0
WIDTH = 0.25  # of the shoulders, in frame heights


def person(frames: int = 20, *, height: float = 0.4, noise: float = NOISE, hands: tuple[slice, ...] = ()) -> Frames:
    """A person who holds still. `height` is where the wrists are, in shoulder widths below the shoulders."""
    random = np.random.default_rng(0)
    clip = np.full((frames, JOINTS, 3), np.nan, np.float32)
    clip[:, POSE] = 0.5
    clip[:, NOSE, 1] = 0.35
    for side, x in enumerate((0.5 + WIDTH / 2, 0.5 - WIDTH / 2)):
        clip[:, SHOULDERS[side], 0] = clip[:, WRISTS[side], 0] = x
        clip[:, WRISTS[side], 1] = 0.5 + height * WIDTH
    for hand in hands or (LEFT_HAND, RIGHT_HAND):
        wrist = WRISTS[0 if hand == LEFT_HAND else 1]
        shape = np.linspace(0, WIDTH / 3, 21)
        clip[:, hand, 0] = clip[:, wrist, 0, None] + shape[::-1] / 2
        clip[:, hand, 1] = clip[:, wrist, 1, None] - shape
        clip[:, hand, 2] = 0
    # A tracker is smooth: its noise of one frame is a part of the next frame's.
    clip += np.cumsum(random.normal(0, noise, clip.shape), axis=0).astype(np.float32)
    return clip


def waving(times: npt.NDArray[np.float64], size: float) -> Frames:
    """A movement of this range, in frame heights, twice a second: [T, 1]."""
    wave: Frames = (size / 2 * np.sin(2 * np.pi * 2 * times))[:, None].astype(np.float32)
    return wave


def seconds(clip: Frames) -> npt.NDArray[np.float64]:
    return np.arange(len(clip)) / 10


def test_a_hand_that_moves_is_signing() -> None:
    clip = person()
    clip[:, RIGHT_HAND, 0] += waving(seconds(clip), 0.1)
    assert why_nothing_is_signed(clip) is None


def test_fingers_that_move_are_signing_while_the_wrist_is_still() -> None:
    clip = person()
    clip[:, RIGHT_HAND.start + 5 : RIGHT_HAND.stop, 1] += waving(seconds(clip), 0.02)
    assert why_nothing_is_signed(clip) is None


@pytest.mark.parametrize("hands", [(LEFT_HAND,), (RIGHT_HAND,), (LEFT_HAND, RIGHT_HAND)])
@pytest.mark.parametrize("frames", [3, 8, 20, 300])
def test_a_still_person_signs_nothing(hands: tuple[slice, ...], frames: int) -> None:
    assert why_nothing_is_signed(person(frames, hands=hands)) is NothingSigned.NO_HAND_MOVES


def test_a_repeated_frame_shows_no_movement() -> None:
    assert why_nothing_is_signed(person(noise=0)) is NothingSigned.NO_HAND_MOVES


def test_a_tracker_that_settles_at_the_beginning_is_no_movement() -> None:
    clip = person()
    clip[:3, RIGHT_HAND, 1] += np.array([0.05, 0.03, 0.01], np.float32)[:, None]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES


def test_one_finger_that_the_tracker_confuses_is_no_movement() -> None:
    clip = person()
    clip[::2, RIGHT_HAND.start + 8, 0] += 0.1
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES


def test_a_head_that_nods_is_no_movement_of_the_hands() -> None:
    clip = person()
    clip[:, NOSE, 1] += waving(seconds(clip), 0.1)[:, 0]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES


def test_a_person_who_walks_by_moves_no_hand() -> None:
    clip = person(height=1.6)
    clip[..., 0] += np.linspace(-0.4, 0.4, len(clip), dtype=np.float32)[:, None]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES


def test_a_person_who_walks_towards_the_camera_moves_no_hand() -> None:
    clip = person(height=1.6)
    clip[..., :2] = 0.5 + (clip[..., :2] - 0.5) * np.linspace(0.6, 1.2, len(clip), dtype=np.float32)[:, None, None]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES


def test_hands_in_the_lap_that_move_with_the_breath_are_at_rest() -> None:
    clip = person(height=1.4)
    for hand in (LEFT_HAND, RIGHT_HAND):
        clip[:, hand, 1] += waving(seconds(clip), 0.006)
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES
    # The same movement of a hand that is held up may be a sign.
    clip[:, RIGHT_HAND, 1] -= WIDTH
    assert why_nothing_is_signed(clip) is None


def test_a_low_hand_that_pats_the_thigh_is_signing() -> None:
    clip = person(height=1.4)
    clip[:, RIGHT_HAND, 1] += waving(seconds(clip), 0.04)
    assert why_nothing_is_signed(clip) is None


def test_a_person_whose_hands_are_not_found_signs_nothing() -> None:
    clip = person()
    clip[:, LEFT_HAND.start :] = np.nan
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND
    clip[5:7, RIGHT_HAND] = person()[5:7, RIGHT_HAND]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


def test_a_raised_wrist_that_moves_is_signing_although_no_hand_is_found() -> None:
    clip = person()
    clip[:, LEFT_HAND.start :] = np.nan
    clip[:, WRISTS[1], 1] += waving(seconds(clip), 0.2 * WIDTH)[:, 0]
    assert why_nothing_is_signed(clip) is None
    # A pose in two frames is no movement.
    clip[2:, POSE] = np.nan
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


def test_a_raised_wrist_that_trembles_or_jumps_once_signs_nothing() -> None:
    clip = person()
    clip[:, LEFT_HAND.start :] = np.nan
    clip[:, WRISTS[1], 1] += waving(seconds(clip), 0.06 * WIDTH)[:, 0]
    clip[9, WRISTS[1], 0] += WIDTH
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


@pytest.mark.parametrize("height", [1.2, 1.6])
def test_a_low_wrist_that_moves_signs_nothing_if_no_hand_is_found(height: float) -> None:
    clip = person(height=height)
    clip[:, LEFT_HAND.start :] = np.nan
    clip[:, WRISTS, 1] += waving(seconds(clip), 0.3 * WIDTH)
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


def test_a_wrist_outside_the_picture_signs_nothing() -> None:
    clip = person()
    clip[:, LEFT_HAND.start :] = np.nan
    clip[:, WRISTS[1], 1] += waving(seconds(clip), 0.2 * WIDTH)[:, 0]
    # The camera shows the head and the shoulders.
    clip[..., 1] += 0.45
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


def test_a_person_who_walks_by_with_raised_arms_and_without_hands_signs_nothing() -> None:
    clip = person()
    clip[:, LEFT_HAND.start :] = np.nan
    clip[..., 0] += np.linspace(-0.4, 0.4, len(clip), dtype=np.float32)[:, None]
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_FOUND


def test_an_empty_room_shows_no_hand() -> None:
    assert why_nothing_is_signed(np.full((30, JOINTS, 3), np.nan, np.float32)) is NothingSigned.NO_HAND_FOUND


@pytest.mark.parametrize("frames", [1, 2])
def test_a_photograph_is_too_short(frames: int) -> None:
    assert why_nothing_is_signed(person(frames)) is NothingSigned.TOO_SHORT


def test_hands_without_a_body_are_judged_by_their_own_size() -> None:
    clip = person()
    clip[:, POSE] = np.nan
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES
    clip[:, RIGHT_HAND, 0] += waving(seconds(clip), 0.1)
    assert why_nothing_is_signed(clip) is None


def test_a_pose_that_is_lost_for_some_frames_is_no_movement() -> None:
    clip = person()
    clip[4:9, POSE] = np.nan
    assert why_nothing_is_signed(clip) is NothingSigned.NO_HAND_MOVES
