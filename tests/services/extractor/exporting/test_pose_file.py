"""Written .pose files."""

from pathlib import Path

import numpy as np

from services.extractor.exporting.pose_file import PoseWriter
from services.extractor.importing.pose_format.binary import read_header
from services.extractor.importing.pose_format.reader import read_pose_file
from services.extractor.importing.unlabelled.raw import to_joints
from signet.landmarks import Landmarks
from tests.conftest import MakeClip
from tests.reference_landmarks import make_landmarks
from tests.services.extractor.foreign_files import sign

# A file that `PoseWriter` wrote, and that pose-format 0.15.0 reads: its places and confidences were compared there.
GOLDEN = Path(__file__).parent / "golden.pose"


def _clip() -> Landmarks:
    joints = sign(3, seed=2)
    joints[1, 33:54] = np.nan
    joints[2, :33] = np.nan
    return make_landmarks("c1", joints, 25.0, 640, 480)


def test_the_bytes_are_those_that_the_package_pose_format_was_checked_to_read() -> None:
    assert PoseWriter().encode(_clip()) == GOLDEN.read_bytes()


def test_a_written_file_gives_the_same_landmarks(tmp_path: Path) -> None:
    clip = _clip()
    (tmp_path / "c1.pose").write_bytes(PoseWriter().encode(clip))
    raw, remarks = read_pose_file(tmp_path / "c1.pose")
    assert remarks == []
    np.testing.assert_array_equal(to_joints(raw, 640 / 480).astype(np.float16), clip.landmarks)
    assert raw.fps == 25.0


def test_frames_at_uneven_times_leave_empty_frames_between_them(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(fps=25.0, timestamps=[0, 0.04, 0.12, 0.2])
    (tmp_path / "c1.pose").write_bytes(PoseWriter().encode(clip))
    assert read_header(tmp_path / "c1.pose").frames == 6
    raw, _ = read_pose_file(tmp_path / "c1.pose")
    assert np.isfinite(raw.hands[:, 0, 0, 0]).tolist() == [True, True, False, True, False, True]


def test_frames_at_another_even_rate_are_written_one_after_the_other(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(fps=30.0, timestamps=np.arange(10) / 10)
    (tmp_path / "c1.pose").write_bytes(PoseWriter().encode(clip))
    header = read_header(tmp_path / "c1.pose")
    assert (header.frames, round(header.fps, 4)) == (10, 10.0)
