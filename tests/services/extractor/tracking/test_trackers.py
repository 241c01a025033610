"""The quality `fast` gives the landmarks of the quality `full` at fewer times, and says so in the record."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality, describe_extractor, fingerprint
from services.extractor.video.decode import read_file
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, Landmarks, load
from tests.services.extractor.conftest import SHORT


def extract(workers: WorkerPool, path: Path, quality: TrackingQuality) -> Landmarks:
    ((_, outcome),) = workers.each(worker.extract_bytes, [(0, (read_file(path), Labels(path.stem), quality))])
    assert isinstance(outcome, Extracted), outcome
    return load(outcome.data)


def test_each_quality_has_its_own_extractor_version() -> None:
    assert fingerprint(TrackingQuality.FULL).startswith("mediapipe-0.10.21/holistic-1/")
    assert fingerprint(TrackingQuality.FAST).startswith("mediapipe-0.10.21/fast-10hz/")
    for quality in TrackingQuality:
        assert describe_extractor(fingerprint(quality)) == f"{fingerprint(quality)} (--quality {quality})"
    assert describe_extractor("import/hands/1/signet-import-1") == "import/hands/1/signet-import-1"


@pytest.mark.clips
@pytest.mark.parametrize("clip_id", [SHORT[0], SHORT[4]])
def test_fast_landmarks_are_where_full_ones_are(wlasl: Path, workers: WorkerPool, clip_id: str) -> None:
    path = wlasl / "clips" / f"{clip_id}.mp4"
    full = extract(workers, path, TrackingQuality.FULL)
    fast = extract(workers, path, TrackingQuality.FAST)
    assert fast.record.extractor == fingerprint(TrackingQuality.FAST)
    for field in ("frame_start", "frame_end", "fps", "width", "height", "source_sha256"):
        assert getattr(fast.record, field) == getattr(full.record, field)
    assert fast.timestamps[-1] == full.timestamps[-1]
    same = np.searchsorted(full.timestamps, fast.timestamps)
    np.testing.assert_array_equal(full.timestamps[same], fast.timestamps)
    assert len(same) <= full.timestamps[-1] * 10 + 2
    agreement = (full.presence[same] == fast.presence).mean(axis=0)
    assert agreement.min() >= 0.7  # of 7 to 10 frames
    for part, index, bar in ((POSE, 0, 0.02), (LEFT_HAND, 1, 0.02), (RIGHT_HAND, 2, 0.02)):
        both = (full.presence[same][:, index] & fast.presence[:, index]).astype(bool)
        difference = (full.landmarks[same][both, part, :2] - fast.landmarks[both, part, :2]).astype(np.float64)
        if both.sum() >= 3:
            assert np.median(np.linalg.norm(difference, axis=-1)) <= bar
