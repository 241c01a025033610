"""Square regions of pictures, in which networks look for a body or a hand.

A region is a row (x, y, size, angle): its centre and its side in pixels, and its rotation in radians, clockwise. Arrays
of regions have the shape [n, 4]. The geometry is that of MediaPipe's AlignmentPointsRectsCalculator,
HandLandmarksToRectCalculator, RectTransformationCalculator and LandmarkProjectionCalculator.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

X, Y, SIZE, ANGLE = range(4)


def normalize_angle(angle: Any) -> Any:
    """The same angle between -pi and pi."""
    return angle - 2 * np.pi * np.floor((angle + np.pi) / (2 * np.pi))


def angle_to(vector: Array, target: float) -> Array:
    """The rotation [n] that turns the direction `target` (radians, anticlockwise from the x axis) to vectors [n, 2].

    The y axis of vectors points down.
    """
    angle: Array = normalize_angle(target - np.arctan2(-vector[:, 1], vector[:, 0]))
    return angle


def region_from_points(centre: Array, edge: Array, target: float) -> Array:
    """The regions with these centres [n, 2] whose edges are as far away as the points `edge` [n, 2].

    `target` is the direction in which the vector from the centre to the point lies in an upright region.
    """
    vector = edge - centre
    size = 2 * np.hypot(vector[:, 0], vector[:, 1])
    return np.column_stack([centre, size, angle_to(vector, target)])


def change_region(regions: Array, scale: float, shift: float = 0.0) -> Array:
    """Scale regions, and move them along their own y axis by the part `shift` of their size before."""
    changed = regions.copy()
    distance = regions[:, SIZE] * shift
    changed[:, X] -= distance * np.sin(regions[:, ANGLE])
    changed[:, Y] += distance * np.cos(regions[:, ANGLE])
    changed[:, SIZE] *= scale
    return changed


def rotate(points: Array, angle: Array) -> Array:
    """Rotate points [n, j, 2] about the origin by the angles [n], clockwise in the picture."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def to_picture(points: Array, regions: Array) -> Array:
    """Convert points in regions to pixels.

    Args:
        points: [n, j, 2 or 3], 0 to 1 inside the region; z in the same unit.
        regions: [n, 4].
    """
    converted = points.copy()
    size = regions[:, None, SIZE]
    converted[..., :2] = rotate(points[..., :2] - 0.5, regions[:, ANGLE]) * size[..., None] + regions[:, None, :2]
    if points.shape[-1] > 2:
        converted[..., 2] = points[..., 2] * size
    return converted
