"""Shows a decoded picture as a player does: upright, not mirrored, and with square pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type

# The numbers of a display matrix, in the order a b u, c d v, x y w. A stored point (p, q) is shown at
# (a p + c q + x, b p + d q + y); x grows to the right, y downwards.
_MATRIX_NUMBERS = 9


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to show a stored picture: exchange rows and columns, then mirror.

    Attributes:
        transposed: whether rows become columns.
        mirrored: whether left and right are exchanged.
        flipped: whether top and bottom are exchanged.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False


def find_orientation(picture: Any) -> Orientation | None:
    """The orientation that the display matrix of a decoded picture requests; None if it has no matrix.

    Containers and video streams can both carry a matrix; FFmpeg attaches it to the picture. It combines a rotation, a
    reflection and a scale. Players show the nearest quarter turn. They ignore a matrix that maps the picture to a line.
    """
    data = picture.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    matrix = np.frombuffer(data, np.int32)
    if len(matrix) != _MATRIX_NUMBERS:
        return None
    a, b, _, c, d = (int(number) for number in matrix[:5])
    if a * d == b * c:
        return Orientation()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrored=a < 0, flipped=d < 0)
    return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)


def to_rgb(picture: Any, pixel_aspect: float, orientation: Orientation) -> npt.NDArray[np.uint8]:
    """Convert a decoded picture to an upright RGB image with square pixels: uint8 [height, width, 3].

    Args:
        picture: the decoded picture.
        pixel_aspect: width of a stored pixel divided by its height.
        orientation: how the stored picture is shown.
    """
    width = max(1, round(picture.width * pixel_aspect))
    rgb = picture.to_ndarray(format="rgb24", width=width, height=picture.height)
    if orientation.transposed:
        rgb = rgb.swapaxes(0, 1)
    if orientation.mirrored:
        rgb = rgb[:, ::-1]
    if orientation.flipped:
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)
