"""The binary layout of .pose files."""

import struct
from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.pose_format.binary import read_header, read_points
from signet.errors import ClipError
from signet.landmarks.tensor import MAX_FRAMES
from tests.services.extractor.foreign_files import HOLISTIC, holistic_pose, pose_bytes, sign

GOLDEN = Path(__file__).parent / "golden"


def test_a_file_that_the_package_pose_format_wrote_is_read() -> None:
    header = read_header(GOLDEN / "reduced.pose")
    assert (header.width, header.height, header.fps, header.frames, header.people) == (640, 480, 25.0, 3, 1)
    assert [(component.name, len(component.points)) for component in header.components] == [
        ("POSE_LANDMARKS", 8),
        ("LEFT_HAND_LANDMARKS", 21),
        ("RIGHT_HAND_LANDMARKS", 21),
    ]
    points, confidence = read_points(GOLDEN / "reduced.pose", header, np.arange(50))
    joints = sign(3, seed=5)
    np.testing.assert_allclose(points[:, 0, :2, :2], joints[:, 11:13, :2] * 480, rtol=1e-6)
    assert confidence[1, 0].tolist() == [1.0] * 8 + [0.0] * 21 + [1.0] * 21


@pytest.mark.parametrize("version", [0.1, 0.2])
def test_both_versions_are_read_and_only_the_chosen_points(tmp_path: Path, version: float) -> None:
    data, confidence = holistic_pose(sign(5))
    (tmp_path / "a.pose").write_bytes(pose_bytes(data, confidence, version=version))
    header = read_header(tmp_path / "a.pose")
    assert (header.frames, header.points, header.dimensions) == (5, 543, 3)
    points, found = read_points(tmp_path / "a.pose", header, np.array([3, 540]))
    np.testing.assert_array_equal(points, data[:, :, [3, 540]])
    np.testing.assert_array_equal(found, confidence[:, :, [3, 540]])


def test_version_1_counts_more_frames_than_its_16_bits_hold(tmp_path: Path) -> None:
    points = (("POSE_LANDMARKS", "XYC", ("LEFT_SHOULDER", "RIGHT_SHOULDER")),)
    data = np.ones((70_000, 1, 2, 2), np.float32)
    (tmp_path / "a.pose").write_bytes(pose_bytes(data, data[..., 0], points, version=0.1))
    with pytest.raises(ClipError, match=f"has 70000 frames; 1 to {MAX_FRAMES} are allowed"):
        read_header(tmp_path / "a.pose")


_HEADER = len(pose_bytes(np.zeros((0, 1, 543, 3), np.float32), np.zeros((0, 1, 543), np.float32))) - 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda data: b"", r"is empty \(0 bytes\)", id="no bytes"),
        pytest.param(lambda data: data[:100], "not a whole .pose file", id="cut in the header"),
        pytest.param(lambda data: data[:-1], "its header announces", id="cut in the values"),
        pytest.param(lambda data: data + b"x", "its header announces", id="more bytes"),
        pytest.param(lambda data: struct.pack("<f", 0.0) + data[4:], "no .pose file of version 0.1 and 0.2", id="0.0"),
        pytest.param(lambda data: b"<html>" + data, "no .pose file of version", id="web page"),
        pytest.param(lambda data: data[:10] + b"\xff\xff" + data[12:], "has 65535 components", id="components"),
        pytest.param(
            lambda data: data[:_HEADER] + struct.pack("<fIH", 25, 2**32 - 1, 1) + data[_HEADER + 10 :],
            "has 4294967295 frames",
            id="frames",
        ),
        pytest.param(
            lambda data: data[:_HEADER] + struct.pack("<fIH", 25, 3, 65_535) + data[_HEADER + 10 :],
            "has 65535 people",
            id="people",
        ),
        pytest.param(
            lambda data: data[:_HEADER] + struct.pack("<fIH", 25, 30_000, 64) + data[_HEADER + 10 :],
            "has 30000 frames of 64 people",
            id="bodies",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "damaged.pose"
    path.write_bytes(change(pose_bytes(*holistic_pose(sign(3)))))  # type: ignore[operator]
    with pytest.raises(ClipError, match=says) as raised:
        read_header(path)
    assert str(path) in str(raised.value)


def test_impossible_points_are_refused(tmp_path: Path) -> None:
    for components, says in (
        ((("A", "C", ("x",)),), "its points have 0 coordinates"),
        ((("A", "XYC", ()),), "has 0 points"),
        ((("A", "XYZABCDEFGC", ("x",)),), "its points have 10 coordinates"),
        ((("A", "XYC", tuple("x" * 5000)),), "has 5000 points; 4096 are possible"),
        ((*HOLISTIC, *((f"B{i}", "XYZC", tuple("x" * 900)) for i in range(5))), "has 5043 points in a frame"),
    ):
        data = np.zeros((1, 1, 1, 1), np.float32)
        (tmp_path / "a.pose").write_bytes(pose_bytes(data, data[..., 0], components))
        with pytest.raises(ClipError, match=says):
            read_header(tmp_path / "a.pose")
