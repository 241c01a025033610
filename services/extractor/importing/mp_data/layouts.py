"""The orders in which recorders write the numbers of a frame, and their conversion to pose and hands.

    1662   pose 33 x 4 (x, y, z, visibility), face 468 x 3, left hand 21 x 3, right hand 21 x 3: the tutorial
    1692   the same with the refined face, 478 x 3
    1530   face 468 x 3, left hand, right hand
    258    pose 33 x 4, left hand, right hand
    225    pose 33 x 3, left hand, right hand
    126    left hand, right hand; also as 42 x 3 or 2 x 21 x 3
    63     one hand, 21 x 3, whose side is not known

Zeros mean that a part was not found.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks import POSE_JOINTS
from signet.landmarks.tensor import HAND_JOINTS

_HAND = HAND_JOINTS * 3
_REST = {"pose4": POSE_JOINTS * 4, "pose3": POSE_JOINTS * 3, "face": 468 * 3, "refined face": 478 * 3, "": 0}

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrameLayout:
    """The parts before the hands, in order, and the number of hands."""

    parts: tuple[str, ...]
    hands: int = 2

    @property
    def width(self) -> int:
        """How many numbers a frame has."""
        return sum(_REST[part] for part in self.parts) + self.hands * _HAND

    @property
    def has_pose(self) -> bool:
        """Whether a frame has a pose."""
        return any(part.startswith("pose") for part in self.parts)


LAYOUTS = {
    layout.width: layout
    for layout in (
        FrameLayout(("pose4", "face")),
        FrameLayout(("pose4", "refined face")),
        FrameLayout(("face",)),
        FrameLayout(("pose4",)),
        FrameLayout(("pose3",)),
        FrameLayout(()),
        FrameLayout((), hands=1),
    )
}
# Shapes of one frame that are not one row of numbers.
_SHAPES = {(HAND_JOINTS, 3), (2 * HAND_JOINTS, 3), (2, HAND_JOINTS, 3), (POSE_JOINTS + 2 * HAND_JOINTS, 3)}


def frame_width(shape: tuple[int, ...]) -> int:
    """How many numbers a frame of this shape has, if it is one frame of a known layout; otherwise 0."""
    squeezed = tuple(axis for axis in shape if axis != 1)
    if squeezed in _SHAPES or len(squeezed) == 1:
        width = int(np.prod(squeezed))
        return width if width in LAYOUTS else 0
    return 0


def sequence_width(shape: tuple[int, ...]) -> int:
    """How many numbers a frame has, if the shape is that of several frames of a known layout; otherwise 0."""
    return frame_width(shape[1:]) if len(shape) >= 2 and shape[0] >= 1 and not frame_width(shape) else 0


def split_parts(rows: Numbers, layout: FrameLayout) -> tuple[Numbers, Numbers, Numbers]:
    """Pose [T, 33, 3], its visibility [T, 33] and hands [T, 2, 21, 3] of rows [T, width]; absent parts are NaN."""
    frames = len(rows)
    pose = np.full((frames, POSE_JOINTS, 3), np.nan, np.float32)
    visibility = np.full((frames, POSE_JOINTS), np.nan, np.float32)
    start = 0
    for part in layout.parts:
        block = rows[:, start : start + _REST[part]]
        start += _REST[part]
        if part.startswith("pose"):
            joints = block.reshape(frames, POSE_JOINTS, -1)
            found = joints[..., :3].any(axis=(1, 2)) & np.isfinite(joints[..., :3]).all(axis=(1, 2))
            pose[found] = joints[found, :, :3]
            if joints.shape[-1] == 4:
                visibility[found] = joints[found, :, 3]
    hands = np.full((frames, 2, HAND_JOINTS, 3), np.nan, np.float32)
    given = rows[:, start:].reshape(frames, layout.hands, HAND_JOINTS, 3)
    found = given.any(axis=(2, 3)) & np.isfinite(given).all(axis=(2, 3))
    for slot in range(layout.hands):
        # The side of a single hand is not known; most people sign with the right hand.
        side = slot if layout.hands == 2 else 1
        hands[found[:, slot], side] = given[found[:, slot], slot]
    return pose, visibility, hands
