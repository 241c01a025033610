"""Which points of a `.pose` file are which joints of a landmark tensor.

Points are found by the names of their component and their own name. Files with fewer points, in any order, are
therefore read by the same rule as whole ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.extractor.importing.pose_format.binary import PoseComponent
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND
from signet.landmarks.tensor import HAND_JOINTS

# MediaPipe's names, in the order of the landmark tensor.
POSE_NAMES = (
    "NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER",
    "LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW",
    "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY", "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX",
    "LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE", "LEFT_ANKLE", "RIGHT_ANKLE",
    "LEFT_HEEL", "RIGHT_HEEL", "LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX",
)  # fmt: skip
HAND_NAMES = (
    "WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP", "INDEX_FINGER_MCP", "INDEX_FINGER_PIP",
    "INDEX_FINGER_DIP", "INDEX_FINGER_TIP", "MIDDLE_FINGER_MCP", "MIDDLE_FINGER_PIP", "MIDDLE_FINGER_DIP",
    "MIDDLE_FINGER_TIP", "RING_FINGER_MCP", "RING_FINGER_PIP", "RING_FINGER_DIP", "RING_FINGER_TIP", "PINKY_MCP",
    "PINKY_PIP", "PINKY_DIP", "PINKY_TIP",
)  # fmt: skip
POSE_COMPONENT, FACE_COMPONENT = "POSE_LANDMARKS", "FACE_LANDMARKS"
LEFT_COMPONENT, RIGHT_COMPONENT = "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS"

# Points of MediaPipe's face mesh that lie near joints of the pose: inner and outer corners of the eyes, sides of the
# face, corners of the mouth, and the upper lip.
FACE_POINTS = (362, 263, 133, 33, 454, 234, 291, 61, 13)

# OpenPose's body points by name, as joints of the pose. Its hands have MediaPipe's order.
_OPENPOSE_BODY = {
    "Nose": "NOSE", "REye": "RIGHT_EYE", "LEye": "LEFT_EYE", "REar": "RIGHT_EAR", "LEar": "LEFT_EAR",
    "RShoulder": "RIGHT_SHOULDER", "LShoulder": "LEFT_SHOULDER", "RElbow": "RIGHT_ELBOW", "LElbow": "LEFT_ELBOW",
    "RWrist": "RIGHT_WRIST", "LWrist": "LEFT_WRIST", "RHip": "RIGHT_HIP", "LHip": "LEFT_HIP", "RKnee": "RIGHT_KNEE",
    "LKnee": "LEFT_KNEE", "RAnkle": "RIGHT_ANKLE", "LAnkle": "LEFT_ANKLE",
}  # fmt: skip
_OPENPOSE_COMPONENT = "pose_keypoints_2d"
_OPENPOSE_HANDS = {"hand_left_keypoints_2d": LEFT_HAND, "hand_right_keypoints_2d": RIGHT_HAND}


@dataclass(frozen=True, eq=False)
class JointMap:
    """The used points of a file.

    Attributes:
        columns: position of each used point among all points of the file, [n].
        joints: the joint of the landmark tensor that each point is, [n]; -1 - f for point f of the face mesh.
        openpose: whether OpenPose made the file; its points have no depth.
    """

    columns: npt.NDArray[np.intp]
    joints: npt.NDArray[np.intp]
    openpose: bool = False

    def has_all(self, joints: tuple[int, ...]) -> bool:
        """Whether the file has these joints; -1 - f is point f of the face."""
        return bool(np.isin(joints, self.joints).all())


def map_joints(components: tuple[PoseComponent, ...]) -> JointMap:
    """Find the joints of a landmark tensor among the points of a file.

    Raises:
        ValueError: the file has neither a whole hand nor both shoulders under a known name. The message says what to
            do.
    """
    found: dict[int, int] = {}
    start = 0
    for component in components:
        for position, joint in _known_points(component).items():
            found.setdefault(joint, start + position)
        start += len(component.points)
    shoulders = {POSE_NAMES.index("LEFT_SHOULDER"), POSE_NAMES.index("RIGHT_SHOULDER")}
    whole = [hand for hand in (LEFT_HAND, RIGHT_HAND) if {*range(hand.start, hand.stop)} <= found.keys()]
    if not whole and not shoulders <= found.keys():
        names = ", ".join(f"{component.name[:40]} ({len(component.points)} points)" for component in components[:8])
        raise ValueError(
            f"its components are {names}. Landmarks of MediaPipe ({POSE_COMPONENT}, {LEFT_COMPONENT}, "
            f"{RIGHT_COMPONENT}) and of OpenPose ({_OPENPOSE_COMPONENT}) can be imported. Convert the file, for "
            "example with pose_format.utils.pose_converter, or extract the video with `signet extract`."
        )
    joints = sorted(found)
    return JointMap(
        np.array([found[joint] for joint in joints]),
        np.array(joints),
        any(component.name == _OPENPOSE_COMPONENT for component in components),
    )


def _known_points(component: PoseComponent) -> Mapping[int, int]:
    """The joint of each point of a component that has one."""
    if component.name == POSE_COMPONENT:
        return _by_name(component, {name: POSE.start + index for index, name in enumerate(POSE_NAMES)})
    if component.name in (LEFT_COMPONENT, RIGHT_COMPONENT):
        hand = LEFT_HAND if component.name == LEFT_COMPONENT else RIGHT_HAND
        return _by_name(component, {name: hand.start + index for index, name in enumerate(HAND_NAMES)})
    if component.name == FACE_COMPONENT:
        return _by_name(component, {str(point): -1 - point for point in FACE_POINTS})
    if component.name == _OPENPOSE_COMPONENT:
        return _by_name(component, {name: POSE_NAMES.index(joint) for name, joint in _OPENPOSE_BODY.items()})
    if component.name in _OPENPOSE_HANDS and len(component.points) == HAND_JOINTS:
        return {index: _OPENPOSE_HANDS[component.name].start + index for index in range(HAND_JOINTS)}
    return {}


def _by_name(component: PoseComponent, joints: Mapping[str, int]) -> Mapping[int, int]:
    return {position: joints[name] for position, name in enumerate(component.points) if name in joints}
