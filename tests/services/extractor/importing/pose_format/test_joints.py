"""Which points of a .pose file are which joints."""

import numpy as np
import pytest

from services.extractor.importing.pose_format.binary import PoseComponent
from services.extractor.importing.pose_format.joints import HAND_NAMES, POSE_NAMES, map_joints


def test_points_are_found_by_name_in_any_order_among_any_components() -> None:
    shuffled = tuple(reversed(HAND_NAMES))
    joint_map = map_joints(
        (
            PoseComponent("OTHER", "XYZC", ("a", "b")),
            PoseComponent("RIGHT_HAND_LANDMARKS", "XYZC", shuffled),
            PoseComponent("POSE_LANDMARKS", "XYZC", ("RIGHT_SHOULDER", "unknown", "LEFT_SHOULDER")),
            PoseComponent("FACE_LANDMARKS", "XYZC", ("61", "13")),
        )
    )
    found = dict(zip(joint_map.joints.tolist(), joint_map.columns.tolist(), strict=True))
    assert found[54] == 2 + 20
    assert found[74] == 2
    assert found[POSE_NAMES.index("RIGHT_SHOULDER")] == 23
    assert found[POSE_NAMES.index("LEFT_SHOULDER")] == 25
    assert found[-1 - 61] == 26
    assert len(found) == 21 + 2 + 2
    assert joint_map.has_all((11, 12, 60))
    assert not joint_map.has_all((11, 0))


def test_openpose_has_its_own_names_and_mediapipes_order_of_hand_joints() -> None:
    body = ("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist")
    hand = tuple(f"{finger}_{joint}" for finger in "TIMRP" for joint in range(4))
    joint_map = map_joints(
        (
            PoseComponent("pose_keypoints_2d", "XYC", body),
            PoseComponent("hand_left_keypoints_2d", "XYC", ("BASE", *hand)),
        )
    )
    assert joint_map.openpose
    found = dict(zip(joint_map.joints.tolist(), joint_map.columns.tolist(), strict=True))
    assert [found[joint] for joint in (0, 12, 14, 16, 11, 13, 15)] == [0, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal([found[33 + joint] for joint in range(21)], np.arange(8, 29))


def test_components_of_other_trackers_are_refused_with_advice() -> None:
    with pytest.raises(ValueError, match=r"its components are BODY_135 \(2 points\).*pose_converter"):
        map_joints((PoseComponent("BODY_135", "XYC", ("Nose", "LShoulder")),))
    with pytest.raises(ValueError, match="POSE_LANDMARKS"):
        map_joints((PoseComponent("POSE_LANDMARKS", "XYZC", ("NOSE",)),))
