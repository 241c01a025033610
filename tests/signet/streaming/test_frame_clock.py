"""An incremental `to_model_input`."""

import numpy as np
import pytest

from signet.errors import InvalidInput
from signet.landmarks import JOINTS, LEFT_HAND, PARTS, to_model_input
from signet.landmarks.body import Frames
from signet.landmarks.tensor import ClipRecord, Landmarks
from signet.streaming.frame_clock import FrameClock, ModelFrame, SectionEnd, SectionStart

REORDER = 0.07


def make_clip(seed: int, seconds: float = 4.0) -> Landmarks:
    """A clip with irregular times, in which each part is lost now and then."""
    random = np.random.default_rng(seed)
    steps = random.choice(
        [1 / 30, 1 / 25, 0.1, 0.29, 0.3, 0.45], int(seconds * 30), p=[0.8, 0.1, 0.04, 0.02, 0.02, 0.02]
    )
    times = np.concatenate([[0.0], np.cumsum(steps)])
    times = times[times < seconds].astype(np.float32)
    joints = np.cumsum(random.normal(0, 0.01, (len(times), JOINTS, 3)), axis=0).astype(np.float16)
    present = np.ones((len(times), 3), np.uint8)
    for part, where in enumerate(PARTS.values()):
        lost = random.random(len(times)) < 0.3
        present[lost, part] = 0
        joints[lost, where] = np.nan
    record = ClipRecord(clip_id="c", fps=30, width=640, height=480, frame_end=len(times))
    return Landmarks(joints, present, joints[:, :33, 0], times, record)


def sample(clock: FrameClock, clip: Landmarks, order: list[int], origin: float = 0.0) -> Frames:
    items = [item for i in order for item in clock.add(origin + float(clip.timestamps[i]), clip.landmarks[i])]
    items += clock.end_section()
    return np.array([item.joints for item in items if isinstance(item, ModelFrame)])


@pytest.mark.parametrize("seed", range(6))
def test_a_stream_gives_the_model_input_of_the_whole_clip(seed: int) -> None:
    clip = make_clip(seed)
    made = sample(FrameClock(REORDER), clip, list(range(clip.frames)))
    np.testing.assert_allclose(made, to_model_input(clip), atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_order_within_the_window_and_doubled_frames_do_not_matter(seed: int) -> None:
    clip = make_clip(seed)
    random = np.random.default_rng(seed)
    # Frames are delayed by less than the reorder window; the first one comes first.
    delays = random.uniform(0, 0.99 * REORDER, clip.frames)
    delays[0] = -1
    order = np.argsort(clip.timestamps + delays).tolist()
    order = [i for i in order for _ in range(random.integers(1, 3))]
    clock = FrameClock(REORDER)
    made = sample(clock, clip, order, origin=50_000.0)
    np.testing.assert_allclose(made, to_model_input(clip), atol=1e-4)
    assert clock.counts.late == 0
    assert clock.counts.used == clip.frames
    assert clock.counts.doubled == len(order) - clip.frames


def test_a_frame_is_ready_soon_after_its_time() -> None:
    clock = FrameClock(REORDER)
    joints = np.full((JOINTS, 3), 0.5, np.float32)
    delays: list[float] = []
    for number in range(90):
        for item in clock.add(number / 30, joints):
            if isinstance(item, ModelFrame):
                delays.append(number / 30 - len(delays) / 10)
    assert max(delays) < 0.15 + REORDER + 1.5 / 30


def test_a_frame_without_a_time_or_far_too_late_is_dropped_and_counted() -> None:
    clock = FrameClock(REORDER)
    clip = make_clip(0)
    for i in range(clip.frames):
        clock.add(float(clip.timestamps[i]), clip.landmarks[i])
        clock.add(float("nan"), clip.landmarks[i])
        clock.add(float("inf"), clip.landmarks[i])
        if i > 30:
            clock.add(float(clip.timestamps[i]) - 0.5, np.full((JOINTS, 3), 9.0))
    made = clock.end_section()
    assert isinstance(made[-1], SectionEnd)
    assert clock.counts.without_time == 2 * clip.frames
    assert clock.counts.late == clip.frames - 31
    assert clock.counts.used == clip.frames


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e300, -5.0])
def test_one_frame_at_another_time_is_an_error_of_the_clock(jump: float) -> None:
    clip = make_clip(1)
    clock = FrameClock(REORDER)
    items = []
    for i in range(clip.frames):
        items += clock.add(10 + float(clip.timestamps[i]), clip.landmarks[i])
        if i == 40:
            items += clock.add(10 + jump, clip.landmarks[i])
    items += clock.end_section()
    made = np.array([item.joints for item in items if isinstance(item, ModelFrame)])
    np.testing.assert_allclose(made, to_model_input(clip), atol=1e-4)
    assert clock.counts.stray == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.5])
def test_a_clock_that_is_set_begins_a_new_section(jump: float) -> None:
    clip = make_clip(2)
    clock = FrameClock(REORDER)
    items = []
    for origin in (10_000.0, 10_000.0 + 4 + jump):
        for i in range(clip.frames):
            items += clock.add(origin + float(clip.timestamps[i]), clip.landmarks[i])
    items += clock.end_section()
    starts = [item.seconds for item in items if isinstance(item, SectionStart)]
    assert starts == [10_000.0, 10_000.0 + 4 + jump]
    expected = to_model_input(clip)
    made = np.array([item.joints for item in items if isinstance(item, ModelFrame)])
    np.testing.assert_allclose(made, np.concatenate([expected, expected]), atol=1e-4)


def test_a_part_with_a_number_that_is_not_finite_is_absent() -> None:
    clock = FrameClock(REORDER)
    items = []
    for number in range(30):
        joints = np.full((JOINTS, 3), 0.5)
        joints[LEFT_HAND.start + 3, 1] = (np.nan, np.inf, 1e30)[number % 3]
        items += clock.add(number / 30, joints)
    made = np.array([item.joints for item in items if isinstance(item, ModelFrame)])
    assert np.isnan(made[:, LEFT_HAND]).all()
    assert np.isfinite(made[:, :33]).all()


def test_many_frames_at_nearly_the_same_time_are_not_all_held() -> None:
    clock = FrameClock(REORDER)
    joints = np.zeros((JOINTS, 3))
    for number in range(2000):
        clock.add(number * 1e-4, joints)
    assert clock.counts.used <= 51


def test_joints_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\[42, 3\].*75 joints"):
        FrameClock().add(0.0, np.zeros((42, 3)))
