"""Sampling of stored frames: still joints, uniform motion, gaps, smoothing."""

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.landmarks import (
    FRAME_RATE,
    JOINTS,
    LEFT_HAND,
    MAX_GAP_SECONDS,
    PARTS,
    POSE,
    RIGHT_HAND,
    SAMPLES_PER_FRAME,
    SMOOTHING_SECONDS,
    ClipRecord,
    Landmarks,
    count_model_frames,
    to_model_input,
    to_model_inputs,
    to_subframe_samples,
)
from signet.landmarks.tensor import MAX_FRAMES
from tests.conftest import MakeClip

# float16 keeps 11 bits: a value below 1 is off by at most this.
_HALF = 5e-4


def _on_line(sampled: npt.NDArray[np.float32], slope: float) -> bool:
    expected = slope * np.arange(len(sampled)) / FRAME_RATE
    return bool(np.allclose(sampled, expected[:, None, None], atol=_HALF))


@pytest.mark.parametrize("fps", [10.0, 15.0, 23.976, 25.0, 29.97, 30.0, 60.0])
def test_a_clip_of_any_rate_becomes_frames_at_the_models_rate(make_clip: MakeClip, fps: float) -> None:
    clip = make_clip(frames=round(2 * fps), fps=fps)
    sampled = to_model_input(clip)
    duration = float(clip.timestamps[-1])
    assert sampled.dtype == np.float32
    assert sampled.shape == (int(np.ceil(duration * FRAME_RATE)), 75, 3)
    assert _on_line(sampled, 0.25)


def test_still_joints_stay_exactly_still(make_clip: MakeClip) -> None:
    clip = make_clip(slope=0.0, fps=29.97)
    clip.landmarks[:] = np.float16(0.3)
    assert (to_model_input(clip) == np.float32(np.float16(0.3))).all()


@given(st.lists(st.floats(0.005, 0.25), min_size=1, max_size=40), st.floats(-0.3, 0.3))
@settings(max_examples=80, deadline=None)
def test_uniform_motion_stays_uniform_with_irregular_frames(steps: list[float], slope: float) -> None:
    times = np.concatenate([[0.0], np.cumsum(steps)]).astype(np.float32)
    joints = np.broadcast_to((slope * times)[:, None, None], (len(times), 75, 3)).astype(np.float16)
    clip = Landmarks(
        joints,
        np.ones((len(times), 3), np.uint8),
        np.ones((len(times), 33), np.float16),
        times,
        _record(len(times)),
    )
    sampled = to_model_input(clip)
    expected = slope * np.arange(len(sampled)) / FRAME_RATE
    # float16 again: up to 3 in size, off by at most 1e-3.
    assert np.allclose(sampled, expected[:, None, None], atol=2e-3)


def _record(frames: int) -> ClipRecord:
    return ClipRecord(clip_id="c", fps=30, width=640, height=480, frame_end=frames)


def _lost(clip: Landmarks, part: str, first: int, last: int) -> Landmarks:
    """The clip with one part absent in frames `first` to `last`, both included."""
    index = list(PARTS).index(part)
    clip.presence[first : last + 1, index] = 0
    clip.landmarks[first : last + 1, PARTS[part]] = np.nan
    return clip


@pytest.mark.parametrize("first", range(10, 40))
def test_a_gap_up_to_the_limit_is_bridged_at_any_place(make_clip: MakeClip, first: int) -> None:
    lost_frames = int(MAX_GAP_SECONDS * 30) - 1
    clip = _lost(make_clip(frames=60), "left", first, first + lost_frames - 1)
    assert _on_line(to_model_input(clip), 0.25)


def test_a_longer_gap_stays_a_gap(make_clip: MakeClip) -> None:
    lost_frames = int(MAX_GAP_SECONDS * 30) + 1
    clip = _lost(make_clip(frames=60), "left", 20, 20 + lost_frames - 1)
    sampled = to_model_input(clip)
    times = np.arange(len(sampled)) / FRAME_RATE
    inside = (times > 20 / 30) & (times < (20 + lost_frames - 1) / 30)
    assert inside.sum() >= 3
    assert np.isnan(sampled[inside][:, LEFT_HAND]).all()
    outside = (times < 19 / 30) | (times > (20 + lost_frames) / 30)
    assert np.isfinite(sampled[outside]).all()
    assert np.isfinite(sampled[:, POSE]).all()
    assert np.isfinite(sampled[:, RIGHT_HAND]).all()


def test_a_part_is_absent_before_it_is_first_found_and_after_it_is_last_found(make_clip: MakeClip) -> None:
    clip = _lost(_lost(make_clip(frames=60), "right", 0, 19), "right", 40, 59)
    sampled = to_model_input(clip)
    times = np.arange(len(sampled)) / FRAME_RATE
    half = 0.5 / FRAME_RATE
    seen = np.isfinite(sampled[:, RIGHT_HAND]).all(axis=(1, 2))
    assert (seen == ((times > 20 / 30 - half - 1e-3) & (times < 39 / 30 + half + 1e-3))).all()


def test_a_part_that_is_never_found_is_absent(make_clip: MakeClip) -> None:
    clip = _lost(make_clip(frames=30), "left", 0, 29)
    assert np.isnan(to_model_input(clip)[:, LEFT_HAND]).all()


def test_all_joints_of_a_part_are_present_or_none(make_clip: MakeClip) -> None:
    presence = np.random.default_rng(0).integers(0, 2, (90, 3))
    sampled = to_model_input(make_clip(frames=90, presence=presence))
    for where in PARTS.values():
        absent = np.isnan(sampled[:, where])
        assert (absent.all(axis=(1, 2)) | ~absent.any(axis=(1, 2))).all()


def test_a_clip_of_one_frame_is_one_frame(make_clip: MakeClip) -> None:
    assert to_model_input(make_clip(frames=1)).shape == (1, 75, 3)


def test_a_clip_that_begins_late_is_sampled_from_its_first_frame(make_clip: MakeClip) -> None:
    clip = make_clip(timestamps=5 + np.arange(30) / 30)
    sampled = to_model_input(clip)
    assert len(sampled) == round(FRAME_RATE)
    assert np.allclose(sampled[0], 1.25, atol=1e-3)


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_jitter_is_smoothed(make_clip: MakeClip, fps: float) -> None:
    clip = make_clip(frames=round(20 * fps), fps=fps, slope=0.0)
    tremble = np.random.default_rng(0).normal(0, 0.01, clip.landmarks.shape)
    clip.landmarks[:] = (0.5 + tremble).astype(np.float16)
    # Of so many frames that a Gaussian is nearly an integral, the mean's deviation is 1/sqrt(2·sqrt(pi)·sigma·fps).
    left = 0.01 / np.sqrt(2 * np.sqrt(np.pi) * SMOOTHING_SECONDS * fps)
    assert np.isclose(to_model_input(clip)[5:-5].std(), left, rtol=0.05)


def test_smoothing_keeps_the_path_of_a_stroke(make_clip: MakeClip) -> None:
    """Signs have a turn each second; a turn each 0.1 s is the jitter of the tracker."""
    times = np.arange(120) / 30
    slow, fast = (np.sin(2 * np.pi * hertz * times)[:, None, None] for hertz in (1, 10))
    clip = make_clip(frames=120)
    for wave, least, most in ((slow, 0.93, 0.97), (fast, 0.0, 0.02)):
        clip.landmarks[:] = np.float16(wave)
        kept = np.abs(to_subframe_samples(clip)[3:-3]).max()
        assert least <= kept <= most


def test_a_model_sees_the_first_sample_of_each_frame(make_clip: MakeClip) -> None:
    presence = np.random.default_rng(0).integers(0, 2, (90, 3))
    clip = make_clip(frames=90, fps=29.97, presence=presence)
    clip.landmarks[:] += np.random.default_rng(1).normal(0, 0.1, clip.landmarks.shape).astype(np.float16)
    seen, instants = to_model_input(clip), to_subframe_samples(clip)
    assert instants.shape == (len(seen), SAMPLES_PER_FRAME, 75, 3)
    assert np.array_equal(instants[:, 0], seen, equal_nan=True)


def test_samples_are_evenly_spaced(make_clip: MakeClip) -> None:
    assert _on_line(
        to_subframe_samples(make_clip(frames=60)).reshape(-1, 75, 3)[:-SAMPLES_PER_FRAME], 0.25 / SAMPLES_PER_FRAME
    )


def test_the_memory_for_a_clip_of_an_hour_is_small(make_clip: MakeClip) -> None:
    """All weights at the same time would take gigabytes."""
    hour = make_clip(frames=MAX_FRAMES, fps=10, slope=1e-4)
    tracemalloc.start()
    sampled = to_model_input(hour)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(sampled) == MAX_FRAMES - 1
    assert most < 500 * 2**20


@pytest.mark.parametrize(("seen_at", "shown"), [(0.15, [1, 2]), (0.155, [2]), (0.2, [2]), (0.245, [2]), (0.25, [2, 3])])
def test_a_hand_seen_in_one_frame_is_shown_within_half_a_step_of_it_and_no_farther(
    make_clip: MakeClip, seen_at: float, shown: list[int]
) -> None:
    times = sorted({0.0, 0.1, 0.3, 0.4, 0.5, seen_at})
    presence = np.ones((len(times), 3), np.uint8)
    presence[:, 2] = [time == seen_at for time in times]
    sampled = to_model_input(make_clip(timestamps=times, presence=presence))
    assert np.flatnonzero(np.isfinite(sampled[:, RIGHT_HAND]).all(axis=(1, 2))).tolist() == shown


def test_clips_that_are_sampled_together_give_the_same_numbers_as_alone() -> None:
    """Of all lengths, at even and uneven times, with parts that come and go, also none."""
    random = np.random.default_rng(3)
    clips = []
    for number, frames in enumerate((1, 2, 40, 7, 90, 2_500, 33, 12)):
        steps = random.uniform(0.01, 0.2 if number % 2 else 0.04, frames)
        times = (np.cumsum(steps) - steps[0] + 5 * (number % 3)).astype(np.float32)
        presence = (random.random((frames, 3)) < (0.0, 0.5, 0.95)[number % 3]).astype(np.uint8)
        joints = random.random((frames, JOINTS, 3)).astype(np.float16)
        for index, part in enumerate(PARTS.values()):
            joints[presence[:, index] == 0, part] = np.nan
        record = ClipRecord(clip_id=str(number), fps=30, width=640, height=480, frame_end=frames)
        clips.append(Landmarks(joints, presence, np.zeros((frames, 33), np.float16), times, record))
    together = to_model_inputs(clips)
    for clip, sampled in zip(clips, together, strict=True):
        np.testing.assert_array_equal(sampled, to_model_input(clip))
        assert len(sampled) == count_model_frames(clip.length)
        np.testing.assert_allclose(sampled, to_subframe_samples(clip)[:, 0], atol=1e-6)
    assert to_model_inputs([]) == []
