"""The landmarks equal those of stock MediaPipe, and do not depend on earlier clips."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.landmarks import MAX_MEDIAN_DISTANCE, MIN_FOUND_SHARE, compare, read_reference
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.trackers import TrackingQuality, fingerprint
from services.extractor.tracking.tracks import mask_absent_parts
from services.extractor.video.decode import Segment, Video, read_file
from signet.errors import ClipError
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, Landmarks, load
from tests.services.extractor.conftest import SHORT

pytestmark = pytest.mark.clips


def extract(workers: WorkerPool, folder: Path, *clip_ids: str) -> dict[str, Landmarks]:
    """Extract real clips, whole, with MediaPipe's graph."""
    jobs = []
    for clip_id in clip_ids:
        path = folder / "clips" / f"{clip_id}.mp4"
        jobs.append((clip_id, (read_file(path), Labels(clip_id), TrackingQuality.FULL)))
    results: dict[str, Landmarks] = {}
    for clip_id, outcome in workers.each(worker.extract_bytes, jobs):
        assert isinstance(outcome, Extracted), outcome
        results[clip_id] = load(outcome.data)
    return results


def test_hands_are_where_stock_mediapipe_finds_them(wlasl: Path, workers: WorkerPool) -> None:
    reference = read_reference(wlasl / "holistic")
    clips = extract(workers, wlasl, "24639", "62250", "63207")
    parts = [part for clip in clips.values() for part in compare(clip, reference).values()]
    frames = sum(part.reference_frames for part in parts)
    assert frames > 60
    assert np.median(np.concatenate([part.distances for part in parts])) <= MAX_MEDIAN_DISTANCE
    assert sum(part.found_frames for part in parts) >= MIN_FOUND_SHARE * frames


# In a process of its own: MediaPipe's imports are not free of warnings.
BOTH_GRAPHS = """
import sys
from pathlib import Path

import numpy as np
from mediapipe.python.solutions.holistic import Holistic

from services.extractor.tracking.holistic import HolisticGraph, _joints
from services.extractor.video.decode import Video, read_file

path = Path(sys.argv[1])
ours = HolisticGraph().track(Video(read_file(path), path.name).frames()).landmarks
stock = Holistic(static_image_mode=False, model_complexity=1)
frames = list(Video(read_file(path), path.name).frames())
aspect = frames[0].rgb.shape[1] / frames[0].rgb.shape[0]
theirs = np.stack([_joints(stock.process(frame.rgb), aspect) for frame in frames]).astype(np.float16)
assert np.isfinite(theirs).any()
np.testing.assert_array_equal(ours, theirs)
"""


def test_leaving_out_the_face_changes_no_bit_of_pose_and_hands(wlasl: Path) -> None:
    clip = wlasl / "clips" / f"{SHORT[0]}.mp4"
    done = subprocess.run(
        [sys.executable, "-c", BOTH_GRAPHS, str(clip)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_used_graph_gives_the_same_landmarks_as_a_new_one(wlasl: Path, workers: WorkerPool) -> None:
    with WorkerPool(1) as alone:
        fresh = extract(alone, wlasl, SHORT[0])[SHORT[0]]
        after_others = extract(alone, wlasl, SHORT[3], SHORT[0])[SHORT[0]]
    for name in ("landmarks", "presence", "visibility", "timestamps"):
        np.testing.assert_array_equal(getattr(fresh, name), getattr(after_others, name))


def test_the_record_names_the_source_and_the_extractor(wlasl: Path, workers: WorkerPool) -> None:
    path = wlasl / "clips" / f"{SHORT[1]}.mp4"
    source = read_wlasl(wlasl)
    instance = next(found for found in source.instances if found.clip_id == SHORT[1])
    ((_, usable),) = workers.each(worker.verify, [(0, (path, instance))])
    assert not isinstance(usable, ClipError)
    assert usable.segment == Segment(1, 20)
    labels = Labels(SHORT[1], "wlasl", instance.gloss, instance.split, instance.signer)
    ((_, extracted),) = workers.each(worker.extract_file, [(0, (path, usable, labels, TrackingQuality.FULL))])
    assert isinstance(extracted, Extracted)
    clip = load(extracted.data)
    record = clip.record
    assert (record.clip_id, record.corpus, record.gloss, record.split) == (SHORT[1], "wlasl", "thanksgiving", "train")
    assert record.source_sha256 == Video(read_file(path), path.name).sha256
    assert (record.width, record.height, record.frame_start, record.frame_end) == (854, 480, 1, 20)
    assert record.fps == pytest.approx(23.976, abs=1e-3)
    assert record.extractor == fingerprint(TrackingQuality.FULL)
    assert record.extractor.startswith("mediapipe-0.10.21/holistic-1/")
    assert extracted.landmark_seconds > 0 < extracted.decode_seconds


def test_units_are_frame_heights_in_all_three_directions(wlasl: Path, workers: WorkerPool) -> None:
    clip = extract(workers, wlasl, SHORT[0])[SHORT[0]]
    pose = clip.landmarks[:, POSE].astype(np.float32)
    assert clip.presence[:, 0].all()
    nose, left_shoulder, right_shoulder = pose[:, 0], pose[:, 11], pose[:, 12]
    middle = 854 / 480 / 2
    assert np.abs(nose[:, 0] - middle).max() < 0.3  # the signer stands in the middle of a wide frame
    assert (left_shoulder[:, 0] > right_shoulder[:, 0]).all()  # the signer's own left is at the viewer's right
    assert (nose[:, 2] < 0).all()  # nearer to the camera than the hips
    for part, index in ((LEFT_HAND, 1), (RIGHT_HAND, 2)):
        absent = clip.presence[:, index] == 0
        assert np.isnan(clip.landmarks[absent, part].astype(np.float32)).all()
    wrist = clip.landmarks[clip.presence[:, 2] == 1, RIGHT_HAND][:, 0].astype(np.float32)
    assert np.abs(wrist[:, 2]).max() < 0.01  # a hand's depth counts from its wrist


def test_a_part_with_one_missing_value_is_absent_in_that_frame() -> None:
    joints = np.full((3, 75, 3), 0.5, np.float32)
    joints[0, 32, 2] = np.nan  # the last pose joint
    joints[1, 33, 0] = np.nan  # the first joint of the left hand
    landmarks, presence, visibility = mask_absent_parts(joints, np.full((3, 33), 0.25, np.float32))
    assert presence.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert np.isnan(landmarks[0, :33]).all()
    assert np.isnan(landmarks[1, 33:54]).all()
    assert np.isfinite(landmarks).sum() == (3 * 75 - 33 - 21) * 3
    assert np.isnan(visibility[0]).all()
    assert (visibility[1:] == 0.25).all()
    assert [array.dtype.name for array in (landmarks, presence, visibility)] == ["float16", "uint8", "float16"]
