"""Shows a decoded picture as a player does: upright, not mirrored, and with square pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

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


class OrientationReader:
    """Reads the orientation of each picture of a video from the display matrices of its pictures.

    Containers and video streams can both carry a matrix; FFmpeg attaches it to the pictures. Some streams have it at
    key frames only: it holds until the next one.
    """

    def __init__(self) -> None:
        self._orientation = Orientation()
        self._rotation: int | None = None
        self._is_key = False

    def read(self, picture: Any) -> Orientation:
        """The orientation of the next picture, in display order."""
        rotation, is_key = picture.rotation, bool(picture.key_frame)
        # A picture whose side data were read is freed by the garbage collector only, so few pictures are read. The
        # rotation, which is read without them, is not the whole orientation, but it tells most changes.
        if rotation != self._rotation or (is_key and not self._is_key):
            self._orientation = _find_orientation(picture) or self._orientation
        self._rotation, self._is_key = rotation, is_key
        return self._orientation


def _find_orientation(picture: Any) -> Orientation | None:
    """The orientation that the display matrix of a picture requests; None if it has no matrix.

    The matrix combines a rotation, a reflection and a scale. Players show the nearest quarter turn. They ignore a
    matrix that maps the picture to a line.
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


class RgbConverter:
    """Converts the decoded pictures of one video to upright RGB images with square pixels.

    FFmpeg keeps the tables of the conversion from picture to picture. It uses one thread: by default it would start
    threads for each picture, and each thread reserves memory for its stack.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def convert(self, picture: Any, pixel_aspect: float, orientation: Orientation) -> npt.NDArray[np.uint8]:
        """Convert a picture: uint8 [height, width, 3].

        Args:
            picture: the decoded picture.
            pixel_aspect: width of a stored pixel divided by its height.
            orientation: how the stored picture is shown.
        """
        width = max(1, round(picture.width * pixel_aspect))
        converted = self._reformatter.reformat(picture, width, picture.height, "rgb24", threads=1)
        rgb = converted.to_ndarray()
        if orientation.transposed:
            rgb = rgb.swapaxes(0, 1)
        if orientation.mirrored:
            rgb = rgb[:, ::-1]
        if orientation.flipped:
            rgb = rgb[::-1]
        return np.ascontiguousarray(rgb)
