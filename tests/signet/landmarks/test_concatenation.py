"""Clips of single signs, joined to continuous signing."""

import numpy as np
import pytest

from signet.landmarks import JOINTS, LEFT_HAND, RIGHT_HAND, dump, load, to_model_input
from signet.landmarks.body import Frames, find_body, wrist_positions
from signet.landmarks.concatenation import (
    Joining,
    active_range,
    concatenate,
    concatenate_idle_parts,
    concatenate_landmarks,
)
from signet.landmarks.tensor import ClipRecord, Landmarks

HEAD, SIGN, TAIL = 6, 12, 4


def sign(*, place: float = 0.5, width: float = 0.25, height: float = 0.2, hand: slice = RIGHT_HAND) -> Frames:
    """A person whose hand hangs, is raised to `height` (in shoulder widths, y down), moves, and hangs again."""
    frames = HEAD + SIGN + TAIL
    clip = np.full((frames, JOINTS, 3), np.nan, np.float32)
    clip[:, :33] = (place, 0.4, 0.0)
    clip[:, 11, 0], clip[:, 12, 0] = place + width / 2, place - width / 2
    down = np.ones(frames)
    down[HEAD : HEAD + SIGN] = 0
    x = place + 0.3 * width * np.sin(np.arange(frames))
    y = 0.4 + width * np.where(down == 1, 1.5, height)
    wrist, other = (16, 15) if hand == RIGHT_HAND else (15, 16)
    clip[:, wrist, 0], clip[:, wrist, 1] = x, y
    clip[:, other, 1] = 0.4 + 1.5 * width
    clip[HEAD : HEAD + SIGN, hand] = np.stack([x, y, 0 * x], axis=1)[HEAD : HEAD + SIGN, None]
    clip[HEAD : HEAD + SIGN, hand, 1] -= np.linspace(0, width / 3, 21, dtype=np.float32)
    return clip


def stored(frames: Frames, gloss: str) -> Landmarks:
    """The same clip at 30 frames a second, as it would be stored."""
    many = np.repeat(frames, 3, axis=0)
    present = np.isfinite(many[:, [0, 33, 54], 0]).astype(np.uint8)
    return Landmarks(
        landmarks=many.astype(np.float16),
        presence=present,
        visibility=np.where(present[:, :1] == 1, 1, np.nan).astype(np.float16).repeat(33, axis=1),
        timestamps=(np.arange(len(many)) / 30).astype(np.float32),
        record=ClipRecord(clip_id=gloss, gloss=gloss, fps=30, width=640, height=480, frame_end=len(many)),
    )


def test_the_active_range_is_the_clip_without_its_idle_head_and_tail() -> None:
    assert active_range(sign()) == (HEAD, HEAD + SIGN)


def test_hands_that_are_folded_at_the_belly_are_idle() -> None:
    clip = sign()
    idle = [*range(HEAD), *range(HEAD + SIGN, len(clip))]
    clip[idle, 15:17, 1] = 0.4 + 0.25 * 0.9
    clip[:, 15, 1] = 0.4 + 0.25 * 0.9
    assert active_range(clip) == (HEAD, HEAD + SIGN)


def test_a_clip_that_is_never_idle_counts_as_a_whole() -> None:
    clip = sign()[HEAD : HEAD + SIGN]
    assert active_range(clip) == (0, SIGN)


@pytest.mark.parametrize("frames", [np.full((9, JOINTS, 3), np.nan, np.float32), sign()[:HEAD]])
def test_a_clip_in_which_nothing_is_raised_counts_as_a_whole(frames: Frames) -> None:
    assert active_range(frames) == (0, len(frames))


def test_clips_joined_as_they_are_keep_all_frames() -> None:
    joined = concatenate([sign(), sign()], ["a", "b"], Joining.AS_THEY_ARE)
    assert len(joined.frames) == 2 * (HEAD + SIGN + TAIL)
    assert [(span.gloss, round(10 * span.start), round(10 * span.end)) for span in joined.signs] == [
        ("a", HEAD, HEAD + SIGN - 1),
        ("b", 2 * HEAD + SIGN + TAIL, 2 * HEAD + 2 * SIGN + TAIL - 1),
    ]


def test_cut_rests_leave_the_movements() -> None:
    joined = concatenate([sign(), sign()], ["a", "b"], Joining.RESTS_CUT)
    assert len(joined.frames) == 2 * SIGN
    assert [round(10 * span.start) for span in joined.signs] == [0, SIGN]


def test_a_transition_moves_the_hand_without_a_jump() -> None:
    joined = concatenate([sign(height=0.8), sign(height=-0.4)], ["a", "b"], Joining.INTERPOLATED)
    first, second = joined.signs
    between = slice(round(10 * first.end), round(10 * second.start) + 1)
    height = wrist_positions(joined.frames, find_body(joined.frames))[between, 1, 1]
    assert len(height) > 3
    assert (np.diff(height) < 0).all()
    assert np.abs(np.diff(height)).max() < 0.8
    assert np.isfinite(joined.frames[between, RIGHT_HAND]).all()


def test_a_hand_that_only_one_side_has_is_there_for_half_of_the_transition() -> None:
    right, left = sign(height=0.9), sign(height=-0.2, hand=LEFT_HAND)
    joined = concatenate([right, left], ["a", "b"], Joining.INTERPOLATED)
    first, second = joined.signs
    between = joined.frames[round(10 * first.end) + 1 : round(10 * second.start)]
    with_right = np.isfinite(between[:, RIGHT_HAND.start, 0])
    with_left = np.isfinite(between[:, LEFT_HAND.start, 0])
    assert with_right[0]
    assert with_left[-1]
    assert (with_right ^ with_left).all()


def test_all_clips_get_the_body_of_the_first_one() -> None:
    joined = concatenate([sign(), sign(place=0.9, width=0.1)], ["a", "b"], Joining.RESTS_CUT)
    one, other = find_body(joined.frames[:SIGN]), find_body(joined.frames[SIGN:])
    np.testing.assert_allclose(one.origin, other.origin, atol=1e-5)
    assert one.scale == pytest.approx(other.scale, abs=1e-5)


def test_a_left_handed_clip_is_mirrored_on_request() -> None:
    joined = concatenate([sign(), sign(hand=LEFT_HAND)], ["a", "b"], Joining.RESTS_CUT, [False, True])
    assert np.isfinite(joined.frames[:, RIGHT_HAND]).all()


@pytest.mark.parametrize("joining", Joining)
def test_stored_clips_join_like_model_inputs(joining: Joining) -> None:
    clips = [stored(sign(), "a"), stored(sign(place=0.6, height=-0.2), "b")]
    joined, spans = concatenate_landmarks(clips, joining)
    load(dump(joined))
    expected = concatenate([to_model_input(clip) for clip in clips], ["a", "b"], joining)
    assert abs(len(to_model_input(joined)) - len(expected.frames)) <= 3
    for span, other in zip(spans, expected.signs, strict=True):
        assert span.gloss == other.gloss
        assert span.start == pytest.approx(other.start, abs=0.25)
        assert span.end == pytest.approx(other.end, abs=0.25)


def test_idle_parts_are_joined_without_the_signs() -> None:
    clips = [stored(sign(), "a"), stored(sign(place=0.6), "b")]
    idle = concatenate_idle_parts(clips)
    assert idle is not None
    body = find_body(idle.landmarks.astype(np.float32))
    heights = wrist_positions(idle.landmarks.astype(np.float32), body)[..., 1]
    assert np.nanmin(heights) > 1.4, "the hands rest all the time"
    assert idle.frames >= 2 * 3 * (HEAD + TAIL)
    assert (np.diff(idle.timestamps) > 0).all()
    assert idle.timestamps[-1] == pytest.approx((idle.frames - 1) / 30, abs=1e-3)
    assert len(load(dump(idle), "idle").landmarks) == idle.frames


def test_clips_that_are_never_idle_have_no_idle_parts() -> None:
    assert concatenate_idle_parts([stored(sign()[HEAD : HEAD + SIGN], "a")]) is None
