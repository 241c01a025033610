"""The own pipeline gives the landmarks of MediaPipe's graph, on real clips at their full frame rate."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.extractor.tracking.lockstep import LockstepTracker
from services.extractor.video.decode import Frame, Video, read_file
from signet.landmarks import JOINTS, POSE, POSE_JOINTS
from tests.services.extractor.conftest import SHORT

pytestmark = pytest.mark.clips

HANDS = slice(POSE_JOINTS, JOINTS)
# In frame heights. Measured in the median: 0.0002 for hands.
MAX_MEDIAN_DISTANCE = 0.002
MIN_AGREEMENT = 0.99

# In a process of its own: MediaPipe's imports are not free of warnings.
MEDIAPIPE_GRAPH = """
import sys
from pathlib import Path

import numpy as np

from services.extractor.tracking.holistic import HolisticGraph
from services.extractor.video.decode import Video, read_file

graph = HolisticGraph()
clips = [Path(name) for name in sys.argv[2:]]
tracks = [graph.track(Video(read_file(path), path.name).frames()) for path in clips]
np.savez(sys.argv[1], landmarks=np.concatenate([one.landmarks for one in tracks]),
         presence=np.concatenate([one.presence for one in tracks]))
"""


def frames_at_30_hz(path: Path) -> Iterator[Frame]:
    """The frames with the times that MediaPipe's graph assumes, 1/30 s apart, whatever the rate of the video."""
    for index, frame in enumerate(Video(read_file(path), path.name).frames()):
        yield replace(frame, seconds=index / 30)


def test_joints_and_found_parts_are_those_of_mediapipes_graph(wlasl: Path, tmp_path: Path) -> None:
    clips = [wlasl / "clips" / f"{clip_id}.mp4" for clip_id in SHORT]
    command = [sys.executable, "-c", MEDIAPIPE_GRAPH, str(tmp_path / "expected.npz"), *map(str, clips)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    tracker = LockstepTracker(rate=0)
    tracks = [tracker.track(frames_at_30_hz(path)) for path in clips]
    presence = np.concatenate([one.presence for one in tracks])
    landmarks = np.concatenate([one.landmarks for one in tracks]).astype(np.float64)
    with np.load(tmp_path / "expected.npz") as expected:
        assert presence.shape == expected["presence"].shape
        assert len(presence) > 100
        assert (presence == expected["presence"]).mean(axis=0).min() >= MIN_AGREEMENT
        distances = np.linalg.norm((landmarks - expected["landmarks"])[..., :2], axis=-1)
    for part in (POSE, HANDS):
        found = distances[:, part][np.isfinite(distances[:, part])]
        assert len(found) > 1000
        assert np.median(found) <= MAX_MEDIAN_DISTANCE
