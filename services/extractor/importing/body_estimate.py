"""Estimates the pose joints that a file does not have.

A pose of the landmark tensor has all 33 joints of MediaPipe (docs/landmarks-v1.md, 5.2). Some files have fewer: a
popular reduced set has shoulders, elbows, wrists and hips only. The others are estimated here, and get the visibility
0, which MediaPipe gives to no joint that it sees. The features use nose, mouth, shoulders, elbows and wrists.

The constants are medians over 690 frames of 45 WLASL clips, in shoulder widths (docs/experiments.md).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from signet.landmarks import POSE_JOINTS

NOSE, SHOULDERS, ELBOWS, WRISTS, HIPS = 0, (11, 12), (13, 14), (15, 16), (23, 24)

# Joints of the head, and the points of MediaPipe's face mesh whose mean is nearest to them. The tip of the nose is half
# way between the inner corners of the eyes and the upper lip.
_FROM_FACE: Mapping[int, tuple[tuple[int, float], ...]] = {
    0: ((133, 0.25), (362, 0.25), (13, 0.5)),
    1: ((362, 1.0),), 2: ((362, 0.5), (263, 0.5)), 3: ((263, 1.0),),
    4: ((133, 1.0),), 5: ((133, 0.5), (33, 0.5)), 6: ((33, 1.0),),
    7: ((454, 1.0),), 8: ((234, 1.0),), 9: ((291, 1.0),), 10: ((61, 1.0),),
}  # fmt: skip
# Joints of the head relative to the midpoint of the shoulders, in shoulder widths. The left side has positive x.
_HEAD = {
    0: (0.0, -0.57), 1: (0.07, -0.67), 2: (0.11, -0.67), 3: (0.15, -0.67), 4: (-0.07, -0.67), 5: (-0.11, -0.67),
    6: (-0.15, -0.67), 7: (0.2, -0.6), 8: (-0.2, -0.6), 9: (0.08, -0.45), 10: (-0.08, -0.45),
}  # fmt: skip
# Joints of the hand that are nearest to the pose's little finger, index finger and thumb (17 to 22).
_FINGERS = {17: 17, 18: 17, 19: 5, 20: 5, 21: 3, 22: 3}
# An arm that hangs: elbow from shoulder, wrist from elbow. The hips from the midpoint of the shoulders.
_ELBOW, _WRIST, _HIP = (0.15, 0.75), (0.0, 0.65), (0.3, 1.6)

Floats = npt.NDArray[np.float32]


def complete_pose(
    pose: Floats, visibility: Floats, hands: Floats, face: Mapping[int, Floats] | None = None
) -> tuple[Floats, Floats]:
    """Estimate the joints that are NaN in frames where both shoulders are known.

    Args:
        pose: float32 [T, 33, 3], x right and y down in any unit, NaN where a joint is unknown.
        visibility: float32 [T, 33].
        hands: float32 [T, 2, 21, 3]: left and right hand, NaN where absent.
        face: float32 [T, 3] for each known point of MediaPipe's face mesh, by its number, NaN where absent.

    Returns:
        The pose, all NaN in frames without both shoulders, and its visibility, 0 for the estimated joints.
    """
    pose, visibility = pose.copy(), visibility.copy()
    has_body = np.isfinite(pose[:, SHOULDERS]).all(axis=(1, 2))
    pose[~has_body] = np.nan
    visibility[~has_body] = np.nan
    unknown = ~np.isfinite(pose).all(axis=2)
    visibility[unknown & has_body[:, None]] = 0.0
    if not has_body.any() or not unknown[has_body].any():
        return pose, visibility
    width = float(np.median(np.linalg.norm(np.diff(pose[has_body][:, SHOULDERS, :2], axis=1)[:, 0], axis=1)))
    middle = pose[:, SHOULDERS].mean(axis=1)

    def fill(joint: int, estimate: Floats) -> None:
        rows = ~np.isfinite(pose[:, joint]).all(axis=1) & np.isfinite(estimate).all(axis=1) & has_body
        pose[rows, joint] = estimate[rows]

    def near(place: Floats, offset: tuple[float, float], side: int = 1) -> Floats:
        return place + np.array([side * offset[0] * width, offset[1] * width, 0.0], np.float32)

    for joint, weights in _FROM_FACE.items():
        if face is not None and all(point in face for point, _ in weights):
            # The face's depth has another origin than the pose's.
            estimate = sum((weight * face[point] for point, weight in weights), np.zeros_like(middle))
            fill(joint, np.concatenate([estimate[:, :2], middle[:, 2:]], axis=1))
    for joint, offset in _HEAD.items():
        fill(joint, near(middle, offset))
    for side, sign in ((0, 1), (1, -1)):
        fill(ELBOWS[side], near(pose[:, SHOULDERS[side]], _ELBOW, sign))
        # The hand's depth is relative to its own wrist.
        wrist = np.concatenate([hands[:, side, 0, :2], pose[:, ELBOWS[side], 2:]], axis=1)
        fill(WRISTS[side], wrist)
        fill(WRISTS[side], near(pose[:, ELBOWS[side]], _WRIST, sign))
        for joint in (joint for joint in _FINGERS if joint % 2 != side):
            finger = hands[:, side, _FINGERS[joint], :2]
            fill(joint, np.concatenate([finger, pose[:, WRISTS[side], 2:]], axis=1))
            fill(joint, pose[:, WRISTS[side]])
        fill(HIPS[side], near(middle, _HIP, sign))
        # Legs are no part of any feature. The hip stands for them.
        for joint in range(HIPS[side] + 2, POSE_JOINTS, 2):
            fill(joint, pose[:, HIPS[side]])
    return pose, visibility
