"""Batches of clips on a device give the landmarks of single clips, and a failed batch loses no clip."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from services.extractor.engines.lockstep_workers import LockstepWorkers, workers_on_device
from services.extractor.jobs import worker
from services.extractor.jobs.extraction import ClipWorkers
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.selection import Usable
from services.extractor.tracking.trackers import Device, TrackingQuality
from services.extractor.video.decode import Segment, Video, read_file
from signet.errors import ClipError, InvalidSetting
from signet.landmarks import load
from tests.services.extractor.conftest import SHORT, MakeVideo

Job = tuple[str, tuple[Any, ...]]


def jobs(wlasl: Path) -> list[Job]:
    """Three clips, and one whose file changed after it was verified."""
    found: list[Job] = []
    for clip_id in SHORT[:3]:
        path = wlasl / "clips" / f"{clip_id}.mp4"
        video = Video(read_file(path), clip_id)
        usable = Usable(video.sha256, Segment(1, len(video.times())))
        found.append((clip_id, (path, usable, Labels(clip_id), TrackingQuality.FAST)))
    changed = Usable("0" * 64, Segment(1, 9))
    return [*found, ("changed", (path, changed, Labels("changed"), TrackingQuality.FAST))]


def extract(workers: ClipWorkers, wlasl: Path) -> dict[str, Extracted | ClipError]:
    return dict(workers.each(worker.extract_file, jobs(wlasl)))


def assert_complete(outcomes: dict[str, Extracted | ClipError], expected: dict[str, Extracted | ClipError]) -> None:
    """Joints may differ by the rounding of a batch."""
    assert sorted(outcomes) == sorted(expected)
    error = outcomes.pop("changed")
    assert isinstance(error, ClipError)
    assert error.reason == "unreadable"
    for clip_id, outcome in outcomes.items():
        alone = expected[clip_id]
        assert isinstance(outcome, Extracted), outcome
        assert isinstance(alone, Extracted), alone
        clip, reference = load(outcome.data), load(alone.data)
        np.testing.assert_array_equal(clip.timestamps, reference.timestamps)
        np.testing.assert_array_equal(clip.presence, reference.presence)
        np.testing.assert_allclose(clip.landmarks, reference.landmarks, atol=2e-3, equal_nan=True)
        assert clip.record.model_copy(update={"quality": None}) == reference.record.model_copy(update={"quality": None})


def test_labels_that_are_too_long_for_a_record_break_only_their_clip(make_video: MakeVideo) -> None:
    path = make_video(frames=10)
    video = Video(read_file(path), path.name)
    usable = Usable(video.sha256, Segment(1, len(video.times())))
    short, long = Labels("short", gloss="book"), Labels("long", gloss="\u5b57" * 700)
    fast = TrackingQuality.FAST
    broken, good = worker.extract_files("cpu", 2, [(path, usable, long, fast), (path, usable, short, fast)])
    assert isinstance(good, Extracted)
    assert isinstance(broken, ClipError)
    with pytest.raises(ClipError, match="Shorten the gloss") as alone:
        worker.extract_file(path, usable, long)
    assert (alone.value.reason, str(alone.value)) == ("too_large", str(broken))


@pytest.mark.clips
def test_batches_give_the_landmarks_of_single_clips(wlasl: Path, workers: WorkerPool) -> None:
    with LockstepWorkers(workers, "cpu", clip_timeout=60, clips=3) as batches:
        assert_complete(extract(batches, wlasl), extract(workers, wlasl))
        # Jobs of other kinds are not batched.
        assert dict(batches.each(len, [("a", ("abc",))])) == {"a": 3}


@pytest.mark.clips
def test_the_clips_of_a_batch_that_takes_too_long_are_worked_on_alone(wlasl: Path, workers: WorkerPool) -> None:
    with LockstepWorkers(workers, "cpu", clip_timeout=0.02, clips=4) as batches:
        assert_complete(extract(batches, wlasl), extract(workers, wlasl))


def test_a_device_tracks_the_quality_fast_only(workers: WorkerPool) -> None:
    with workers_on_device(workers, Device.CPU, TrackingQuality.FULL, 60) as chosen:
        assert chosen is workers
    with (
        pytest.raises(InvalidSetting, match="--quality fast only"),
        workers_on_device(workers, Device.CUDA, TrackingQuality.FULL, 60),
    ):
        pass


@pytest.mark.gpu
@pytest.mark.clips
def test_a_gpu_gives_the_landmarks_of_the_cpu(wlasl: Path, workers: WorkerPool) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("no CUDA in ONNX Runtime here")
    with workers_on_device(workers, Device.CUDA, TrackingQuality.FAST, 60) as batches:
        assert_complete(extract(batches, wlasl), extract(workers, wlasl))
