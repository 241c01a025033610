"""The landmarks of .pose files."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.pose_format.binary import read_header
from services.extractor.importing.pose_format.joints import HAND_NAMES, POSE_NAMES
from services.extractor.importing.pose_format.reader import read_pose_file
from services.extractor.importing.source import FrameSize
from services.extractor.importing.unlabelled.raw import to_joints
from signet.errors import ClipError
from tests.services.extractor.foreign_files import HOLISTIC, REDUCED_BODY, holistic_pose, pose_bytes, sign, write_pose

GOLDEN = Path(__file__).parent / "golden"


def test_a_whole_file_gives_the_joints_in_frame_heights(tmp_path: Path) -> None:
    joints = sign(6)
    joints[2, 33:54] = np.nan
    joints[4, :33] = np.nan
    raw, remarks = read_pose_file(write_pose(tmp_path / "a.pose", joints))
    np.testing.assert_allclose(to_joints(raw, 640 / 480), joints, atol=1e-5)
    assert (raw.fps, raw.size, raw.has_pose) == (25.0, FrameSize(640, 480), True)
    assert remarks == []
    np.testing.assert_array_equal(raw.visibility[0], 1)
    assert np.isnan(raw.visibility[4]).all()


def test_joints_that_a_reduced_file_lacks_are_estimated_and_invisible() -> None:
    raw, remarks = read_pose_file(GOLDEN / "reduced.pose")
    joints, expected = to_joints(raw, 640 / 480), sign(3, seed=5)
    given = [POSE_NAMES.index(name) for name in REDUCED_BODY]
    np.testing.assert_allclose(joints[:, given], expected[:, given], atol=1e-5)
    assert np.isfinite(joints[:, :33]).all()
    np.testing.assert_array_equal(raw.visibility[:, 0], 0)
    np.testing.assert_array_equal(raw.visibility[:, given], 1)
    # The mean signer's nose is 0.57 shoulder widths above the shoulders.
    np.testing.assert_allclose(joints[:, 0, 1], expected[:, 11:13, 1].mean(axis=1) - 0.57 * 0.3, atol=0.01)
    assert "25 of the pose's 33 joints" in remarks[0]
    assert "The model uses NOSE, MOUTH_LEFT, MOUTH_RIGHT of them" in remarks[0]


def test_a_file_that_was_normalised_in_size_gets_its_depth_back_by_estimate() -> None:
    plain, _ = read_pose_file(GOLDEN / "reduced.pose")
    raw, remarks = read_pose_file(GOLDEN / "normalised.pose")
    assert raw.size == FrameSize(512, 512)
    assert "normalised in size" in remarks[1]
    before, after = plain.hands[:, 1] * [640 / 480, 1, 640 / 480], raw.hands[:, 1]
    scale = np.ptp(after[0, :, 1]) / np.ptp(before[0, :, 1])
    np.testing.assert_array_equal(after[:, 0, 2], 0)  # the wrist
    # The hand of this test is half as deep as hands are on average; its depths keep their proportions.
    ratio = after[0, 5:, 2] / (before[0, 5:, 2] * scale)
    assert ratio.std() / abs(ratio.mean()) < 0.02
    flat = after[0, :, :2] - after[0, :, :2].mean(axis=0)
    assert after[0, :, 2].std() / np.sqrt((flat**2).sum(axis=1).mean()) == pytest.approx(0.24, rel=0.05)


def test_depth_in_pixels_is_recognised(tmp_path: Path) -> None:
    joints = sign(4)
    data, confidence = holistic_pose(joints)
    data[..., 2] *= 640
    (tmp_path / "a.pose").write_bytes(pose_bytes(data, confidence))
    raw, _ = read_pose_file(tmp_path / "a.pose")
    np.testing.assert_allclose(to_joints(raw, 640 / 480), joints, atol=1e-5)


def test_the_person_whose_hands_are_seen_most_is_taken(tmp_path: Path) -> None:
    signer, passer = sign(6), sign(6) * 1.2
    passer[3:, 33:] = np.nan
    both = [holistic_pose(joints) for joints in (passer, signer)]
    data, confidence = (np.concatenate(parts, axis=1) for parts in zip(*both, strict=True))
    (tmp_path / "a.pose").write_bytes(pose_bytes(data, confidence))
    raw, _ = read_pose_file(tmp_path / "a.pose")
    np.testing.assert_allclose(to_joints(raw, 640 / 480), signer, atol=1e-5)
    assert raw.faults == ("the file has 2 people; person 2 is taken, whose hands are seen most",)


def test_openpose_gives_pose_and_hands_without_depth(tmp_path: Path) -> None:
    joints = sign(3)
    names = ("Nose", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist")
    chosen = [0, 12, 14, 16, 11, 13, 15]
    components = [
        ("pose_keypoints_2d", "XYC", names),
        ("hand_left_keypoints_2d", "XYC", HAND_NAMES),
        ("hand_right_keypoints_2d", "XYC", HAND_NAMES),
    ]
    data = (joints[:, [*chosen, *range(33, 75)], :2] * 480)[:, None]
    (tmp_path / "a.pose").write_bytes(pose_bytes(data, np.ones(data.shape[:3], np.float32), components))
    raw, remarks = read_pose_file(tmp_path / "a.pose")
    found = to_joints(raw, 640 / 480)
    np.testing.assert_allclose(found[:, 33:, :2], joints[:, 33:, :2], atol=1e-5)
    np.testing.assert_allclose(found[:, chosen, :2], joints[:, chosen, :2], atol=1e-5)
    assert not found[:, 33:, 2].any()
    assert remarks[0].startswith("OpenPose made the file")
    assert remarks[-1] == "the points have no depth (z is 0)"


def test_hands_alone_are_read_without_a_pose(tmp_path: Path) -> None:
    joints = sign(3)
    data, confidence = holistic_pose(joints)
    (tmp_path / "a.pose").write_bytes(pose_bytes(data[:, :, 501:], confidence[:, :, 501:], HOLISTIC[2:]))
    raw, _ = read_pose_file(tmp_path / "a.pose")
    assert not raw.has_pose
    assert np.isnan(raw.pose).all()
    np.testing.assert_allclose(to_joints(raw, 640 / 480)[:, 33:], joints[:, 33:], atol=1e-5)


def test_unusable_points_are_refused_with_advice(tmp_path: Path) -> None:
    data, confidence = holistic_pose(sign(3))
    path = tmp_path / "a.pose"
    path.write_bytes(pose_bytes(data, confidence * 0))
    with pytest.raises(ClipError, match="no frame has a pose or a hand"):
        read_pose_file(path)
    path.write_bytes(pose_bytes(data / 480, confidence))
    with pytest.raises(ClipError, match=r"must be pixels.*normalize_pose_size"):
        read_pose_file(path)
    path.write_bytes(pose_bytes(data * np.nan, confidence))
    with pytest.raises(ClipError, match="no frame has a pose or a hand"):
        read_pose_file(path)
    path.write_bytes(pose_bytes(data, confidence, size=(0, 0)))
    with pytest.raises(ClipError, match="--width and --height"):
        read_pose_file(path)
    assert read_pose_file(path, FrameSize(640, 480))[0].size == FrameSize(640, 480)


def test_real_files_have_their_parts_or_are_refused_by_name(pose_samples: list[Path]) -> None:
    points = {}
    for path in pose_samples:
        if not path.stat().st_size:
            with pytest.raises(ClipError, match=r"is empty \(0 bytes\)"):
                read_pose_file(path)
            continue
        raw, remarks = read_pose_file(path)
        header = read_header(path)
        points[path.name] = header.points
        assert raw.frames == header.frames
        assert raw.fps == 25.0
        assert np.isfinite(raw.pose).all(axis=(1, 2)).mean() > 0.8
        assert np.isfinite(raw.hands).all(axis=(2, 3)).any(axis=1).mean() > 0.5
        # The signer faces the camera: the left shoulder is to the right in the picture, and the nose between and above.
        nose, left, right = (np.nanmedian(raw.pose[:, joint, :2], axis=0) for joint in (0, 11, 12))
        assert right[0] < nose[0] < left[0]
        assert nose[1] < min(left[1], right[1])
        assert any("normalised in size" in remark for remark in remarks)
        assert any("33 joints" in remark for remark in remarks) == (header.points == 178)
    assert set(points.values()) <= {178, 586}
