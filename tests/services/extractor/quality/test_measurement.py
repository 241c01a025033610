"""Quality is measured per time, is robust against movement, and is stored in a way that old readers understand."""

from dataclasses import replace

import numpy as np
import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.quality.measurement import add_quality, measure_quality
from services.extractor.tracking.trackers import TrackingQuality
from signet.landmarks import LEFT_HAND, RIGHT_HAND, dump, load, read_record
from tests.services.extractor.conftest import MakeVideo
from tests.services.extractor.quality.signers import Move, make_signer


def _swing(hertz: float) -> Move:
    return lambda times: np.stack([0.1 * np.sin(2 * np.pi * hertz * times), np.zeros(len(times))], axis=1)


def test_shares_and_sizes_are_those_of_the_clip() -> None:
    quality = measure_quality(make_signer())
    assert (quality.pose, quality.right_hand, quality.any_hand) == (1, 1, 1)
    assert quality.left_hand == pytest.approx(0.5, abs=0.01)
    assert quality.palm_pixels == pytest.approx(48, rel=0.02)
    assert quality.shoulder_width == pytest.approx(0.4, rel=0.01)
    assert (quality.hands_outside, quality.head_outside, quality.dropped_frames) == (0, 0, 0)
    assert quality.frame_rate == pytest.approx(30, rel=0.01)
    assert quality.several_people is None


def test_jitter_is_the_error_of_the_places_and_not_the_movement() -> None:
    rng = np.random.default_rng(0)
    still, moving = measure_quality(make_signer()), measure_quality(make_signer(move=_swing(1.0)))
    trembling = measure_quality(make_signer(move=lambda times: rng.normal(0, 0.02, (len(times), 2))))
    assert still.hand_jitter is not None and moving.hand_jitter is not None and trembling.hand_jitter is not None
    assert still.hand_jitter < 0.001
    assert moving.hand_jitter < 0.003
    assert trembling.hand_jitter == pytest.approx(1.2 * 0.02, rel=0.3)


@pytest.mark.parametrize("fps", [10, 25, 60])
def test_the_frame_rate_does_not_change_the_numbers(fps: float) -> None:
    wide, usual = (measure_quality(make_signer(rate, move=_swing(1.5))) for rate in (fps, 30.0))
    assert wide.hand_jitter == pytest.approx(usual.hand_jitter, abs=0.002)
    assert wide.left_dominance == pytest.approx(usual.left_dominance, abs=0.1)


def test_missing_frames_are_counted_by_the_times_of_the_video() -> None:
    every = np.arange(90) / 30
    received = np.delete(every, [20, 21, 50])
    quality = measure_quality(make_signer(10.0), video_times=received.tolist())
    assert quality.dropped_frames == pytest.approx(3 / 90, abs=1e-3)
    assert quality.longest_gap == pytest.approx(0.1, abs=1e-3)
    assert quality.frame_rate == pytest.approx(30, rel=0.01)


def test_a_thinned_clip_says_nothing_about_the_frames_of_its_video() -> None:
    clip = make_signer(10.0)
    thinned = replace(clip, record=clip.record.model_copy(update={"fps": 30.0}))
    assert measure_quality(thinned).dropped_frames is None


def test_a_signing_hand_that_leaves_the_picture_is_counted() -> None:
    quality = measure_quality(make_signer(move=lambda times: np.where(times[:, None] > 1.5, (0.0, 0.5), 0.0)))
    assert quality.signing_hand_outside == pytest.approx(0.5, abs=0.05)
    assert quality.hands_outside == 0  # the other wrist is inside


@pytest.mark.parametrize(("hand", "sign"), [(LEFT_HAND, 1), (RIGHT_HAND, -1)])
def test_the_leading_hand_has_a_sign(hand: slice, sign: int) -> None:
    clip = make_signer(move=_swing(1.0))
    if hand is LEFT_HAND:
        landmarks = clip.landmarks.copy()
        landmarks[..., 0] = 4 / 3 - landmarks[..., 0]
        landmarks[:, LEFT_HAND], landmarks[:, RIGHT_HAND] = clip.landmarks[:, RIGHT_HAND], clip.landmarks[:, LEFT_HAND]
        landmarks[:, [15, 16]] = landmarks[:, [16, 15]]
        clip = replace(clip, landmarks=landmarks, presence=clip.presence[:, [0, 2, 1]])
    dominance = measure_quality(clip).left_dominance
    assert dominance is not None and dominance * sign > 0.3


def test_a_clip_without_landmarks_has_a_quality() -> None:
    clip = make_signer()
    nothing = replace(clip, landmarks=np.full_like(clip.landmarks, np.nan), presence=np.zeros_like(clip.presence))
    quality = measure_quality(nothing)
    assert (quality.pose, quality.any_hand, quality.hand_jitter, quality.left_dominance) == (0, 0, None, None)


def test_quality_is_stored_in_the_record_and_old_clips_have_none() -> None:
    clip = make_signer()
    assert b"quality" not in dump(clip)
    assert load(dump(clip)).record.quality is None
    measured = add_quality(clip, several_people=True)
    data = dump(measured)
    assert data == dump(add_quality(clip, several_people=True))
    assert read_record(data[:4096]).quality == measured.record.quality
    assert measured.record.quality is not None and measured.record.quality.several_people


@pytest.mark.parametrize("quality", list(TrackingQuality))
def test_missing_frames_of_a_video_are_counted_at_each_tracking_rate(
    workers: WorkerPool, make_video: MakeVideo, quality: TrackingQuality
) -> None:
    ticks = [*range(20), *range(23, 33), *range(34, 44)]
    video = make_video(frames=len(ticks), ticks=ticks).read_bytes()
    ((_, outcome),) = workers.each(worker.extract_bytes, [(0, (video, Labels("gaps"), quality))])
    assert isinstance(outcome, Extracted), outcome
    record = load(outcome.data).record
    assert record.quality is not None
    assert record.quality.dropped_frames == pytest.approx(4 / 44, abs=1e-3)
    assert record.quality.longest_gap == pytest.approx(4 / 25, abs=1e-3)
    assert record.quality.frame_rate == pytest.approx(25, abs=0.1)
    assert (record.quality.pose, record.quality.several_people) == (0, False)
