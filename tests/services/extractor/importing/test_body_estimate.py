"""Joints of a pose that a file does not have."""

import numpy as np

from services.extractor.importing.body_estimate import complete_pose
from tests.services.extractor.foreign_files import sign

_SEEN = [11, 12, 13, 14, 15, 16, 23, 24]


def _parts(frames: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    joints = sign(frames)
    return joints[:, :33].copy(), np.full((frames, 33), 0.9, np.float32), joints[:, 33:].reshape(frames, 2, 21, 3)


def test_a_whole_pose_is_not_changed() -> None:
    pose, visibility, hands = _parts()
    completed, seen = complete_pose(pose, visibility, hands)
    np.testing.assert_array_equal(completed, pose)
    np.testing.assert_array_equal(seen, visibility)


def test_estimated_joints_are_near_the_real_ones_and_invisible() -> None:
    pose, visibility, hands = _parts()
    reduced = np.full_like(pose, np.nan)
    reduced[:, _SEEN] = pose[:, _SEEN]
    completed, seen = complete_pose(reduced, visibility, hands)
    assert np.isfinite(completed).all()
    np.testing.assert_array_equal(completed[:, _SEEN], pose[:, _SEEN])
    shoulders = np.linalg.norm(pose[0, 11, :2] - pose[0, 12, :2])
    for joint in range(11):
        distance = np.linalg.norm((completed - pose)[:, joint, :2], axis=1) / shoulders
        assert distance.max() < 0.25, joint
    assert set(np.flatnonzero(seen[0] == 0)) == set(range(33)) - set(_SEEN)


def test_the_face_gives_a_better_nose_than_the_shoulders() -> None:
    pose, visibility, hands = _parts(1)
    pose[0, 0] = np.nan
    points = {133: (0.62, 0.25), 362: (0.7, 0.25), 13: (0.66, 0.33)}
    face = {point: np.array([[*place, 5.0]], np.float32) for point, place in points.items()}
    completed, _ = complete_pose(pose, visibility, hands, face)
    np.testing.assert_allclose(completed[0, 0, :2], (0.66, 0.29), atol=1e-6)
    # The depth of a face has another origin.
    np.testing.assert_allclose(completed[0, 0, 2], pose[0, 11:13, 2].mean(), atol=1e-6)


def test_a_wrist_is_that_of_the_hand_or_below_the_elbow() -> None:
    pose, visibility, hands = _parts(2)
    pose[:, 15] = np.nan
    hands = hands.copy()
    hands[1, 0] = np.nan
    completed, _ = complete_pose(pose, visibility, hands)
    np.testing.assert_array_equal(completed[0, 15, :2], hands[0, 0, 0, :2])
    assert completed[1, 15, 1] > pose[1, 13, 1]


def test_without_both_shoulders_a_frame_has_no_pose() -> None:
    pose, visibility, hands = _parts(3)
    pose[1, 12] = np.nan
    completed, seen = complete_pose(pose, visibility, hands)
    assert np.isnan(completed[1]).all()
    assert np.isnan(seen[1]).all()
    assert np.isfinite(completed[[0, 2]]).all()
    nothing, _ = complete_pose(np.full_like(pose, np.nan), visibility, hands)
    assert np.isnan(nothing).all()
