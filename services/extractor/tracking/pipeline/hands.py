"""Tracks the joints of hands."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.networks.network import HAND, HAND_REGION, Network
from services.extractor.tracking.pipeline.crops import Picture, cut
from services.extractor.tracking.pipeline.regions import (
    ANGLE,
    SIZE,
    angle_to,
    change_region,
    normalize_angle,
    region_from_points,
    rotate,
    to_picture,
)
from signet.landmarks.tensor import HAND_JOINTS

Array = npt.NDArray[np.float64]
Clips = npt.NDArray[np.intp]

# Joints of the pose: wrist, knuckles of the little finger and of the index finger; of the left and the right hand.
_POSE_JOINTS = np.array([[15, 17, 19], [16, 18, 20]])
# A hand is looked for if the visibility of its wrist is greater.
_MIN_VISIBILITY = 0.1
_MIN_PROBABILITY = 0.5
# A hand is not looked for if less of its region is inside the picture. In 21,180 regions of 177 clips of WLASL, 44 %
# have less, and 6 of these showed one of the 10,117 hands that were found.
_MIN_INSIDE = 0.4
# Points at which a region is compared with the picture: a grid over the region, with its centre at 0.
_GRID = np.stack(np.meshgrid(*[(np.arange(12) + 0.5) / 12 - 0.5] * 2), axis=-1).reshape(-1, 2)
# The joints of a palm, and those of them that give its direction: wrist, and knuckles of three fingers.
_PALM = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])
_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13
# Regions are larger than what they are made from, and nearer to the fingertips.
_POSE_SCALE, _PALM_SCALE, _SHIFT = 2.7, 2.0, -0.1
# The network for hands was trained with z in this unit.
_Z_UNIT = 0.4
# The region of the frame before is kept if it is as near to the new one as this: its angle in radians, its centre and
# its size in parts of the new size. The joints before must be inside the new region without a margin of this part.
_MAX_ANGLE, _MAX_SHIFT, _MAX_SCALE, _MARGIN = np.deg2rad(40.0), 0.2, 0.4, 0.1


class HandTracker:
    """Tracks both hands in each of several clips, as MediaPipe's HandLandmarksLeftAndRightCpu does.

    The pose gives a region for each hand. A network finds a better region in it. If a hand was found in the frame
    before, and its region there is near to the new one, that one is used, because it is more stable.

    Args:
        clips: number of clips.
        device: "cpu" or "cuda".
    """

    def __init__(self, clips: int, device: str = "cpu") -> None:
        self._regions = Network(HAND_REGION, device)
        self._network = Network(HAND, device)
        self._before = np.full((clips, 2, HAND_JOINTS, 3), np.nan)

    def forget(self, clips: Clips) -> None:
        """Begin these clips anew."""
        self._before[clips] = np.nan

    def track(self, clips: Clips, pictures: Sequence[Picture], pose: Array, visibility: Array) -> Array:
        """Track the hands in the next picture of each of these clips.

        Args:
            clips: [n], the numbers of the clips.
            pictures: n pictures.
            pose: [n, 33, 3] in pixels; NaN where no body was found.
            visibility: [n, 33].

        Returns:
            The joints [n, 2, 21, 3] of the left and the right hand in pixels; NaN where the hand was not found.
        """
        hands = np.full((len(clips), 2, HAND_JOINTS, 3), np.nan)
        # NaN is not greater.
        row, side = np.nonzero(visibility[:, _POSE_JOINTS[:, 0]] > _MIN_VISIBILITY)
        search = _region_of_arm(pose[row[:, None], _POSE_JOINTS[side], :2])
        sizes = np.array([picture.shape[1::-1] for picture in pictures], np.float64).reshape(-1, 2)
        likely = _share_inside(search, sizes[row]) >= _MIN_INSIDE
        row, side, search = row[likely], side[likely], search[likely]
        if len(row):
            before = self._before[clips[row], side]
            hands[row, side] = self._find([pictures[index] for index in row], search, before)
        self._before[clips] = hands
        return hands

    def _find(self, pictures: Sequence[Picture], search: Array, before: Array) -> Array:
        """Find hands.

        Args:
            pictures: n pictures.
            search: [n, 4], the regions in which the hands are looked for.
            before: [n, 21, 3], joints of the hand in the picture before, or NaN.

        Returns:
            The joints [n, 21, 3]; NaN where the hand was not found.
        """
        (corners,) = self._regions.run(cut(pictures, search, self._regions.size))
        points = to_picture(corners.reshape(-1, 2, 2).astype(np.float64) / self._regions.size, search)
        regions = change_region(region_from_points(points[:, 0], points[:, 1], -np.pi / 2), 1.0, _SHIFT)
        (tracked,) = np.nonzero(~np.isnan(before[:, 0, 0]))
        earlier = _region_of_hand(before[tracked])
        kept = _is_near(earlier, regions[tracked]) & _is_inside(before[tracked], regions[tracked])
        regions[tracked[kept]] = earlier[kept]
        joints, probability = self._network.run(cut(pictures, regions, self._network.size))
        placed = joints.reshape(-1, HAND_JOINTS, 3).astype(np.float64) / self._network.size
        placed[..., 2] /= _Z_UNIT
        hands = to_picture(placed, regions)
        hands[~(probability[:, 0] > _MIN_PROBABILITY)] = np.nan
        return hands


def _region_of_arm(arms: Array) -> Array:
    """The regions [n, 4] in which hands are looked for, from wrists and knuckles of the pose, [n, 3, 2]."""
    wrist, little, index = arms[:, 0], arms[:, 1], arms[:, 2]
    middle = (2 * index + little) / 3
    vector = middle - wrist
    size = 2 * np.hypot(vector[:, 0], vector[:, 1])
    return change_region(np.column_stack([middle, size, angle_to(vector, np.pi / 2)]), _POSE_SCALE, _SHIFT)


def _share_inside(regions: Array, sizes: Array) -> Array:
    """The share [n] of each region that is inside its picture; `sizes` are widths and heights [n, 2]."""
    places = rotate(_GRID * regions[:, None, SIZE, None], regions[:, ANGLE]) + regions[:, None, :2]
    share: Array = ((places >= 0) & (places < sizes[:, None])).all(axis=-1).mean(axis=-1)
    return share


def _region_of_hand(hands: Array) -> Array:
    """The regions [n, 4] about the palms of hands, [n, 21, 3]."""
    joints = hands[..., :2]
    fingers = ((joints[:, _INDEX] + joints[:, _RING]) / 2 + joints[:, _MIDDLE]) / 2
    angle = angle_to(fingers - joints[:, _WRIST], np.pi / 2)
    palm = joints[:, _PALM]
    centre = (palm.min(axis=1) + palm.max(axis=1)) / 2
    upright = rotate(palm - centre[:, None], -angle)
    low, high = upright.min(axis=1), upright.max(axis=1)
    centre = centre + rotate((low + high)[:, None] / 2, angle)[:, 0]
    sides = high - low
    regions = change_region(np.column_stack([centre, sides[:, 1], angle]), 1.0, _SHIFT)
    regions[:, SIZE] = sides.max(axis=1) * _PALM_SCALE
    return regions


def _is_near(earlier: Array, regions: Array) -> npt.NDArray[np.bool_]:
    """Whether regions are near to those of the frame before, as MediaPipe's RoiTrackingCalculator judges it."""
    size = regions[:, SIZE]
    shift = rotate((earlier - regions)[:, None, :2], -regions[:, ANGLE])[:, 0]
    near: npt.NDArray[np.bool_] = (
        (np.abs(normalize_angle(earlier[:, ANGLE] - regions[:, ANGLE])) <= _MAX_ANGLE)
        & (np.abs(shift) <= _MAX_SHIFT * size[:, None]).all(axis=1)
        & (np.abs(earlier[:, SIZE] - size) <= _MAX_SCALE * size)
    )
    return near


def _is_inside(hands: Array, regions: Array) -> npt.NDArray[np.bool_]:
    """Whether all joints of hands [n, 21, 3] are inside regions."""
    places = rotate(hands[..., :2] - regions[:, None, :2], -regions[:, ANGLE])
    limit = regions[:, SIZE] * (1 - _MARGIN) / 2
    inside: npt.NDArray[np.bool_] = (np.abs(places) < limit[:, None, None]).all(axis=(1, 2))
    return inside
