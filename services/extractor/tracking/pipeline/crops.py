"""Cuts regions out of pictures, as networks want them."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from services.extractor.tracking.pipeline.regions import ANGLE, SIZE, X, Y

Picture = npt.NDArray[np.uint8]


def cut(
    pictures: Sequence[Picture], regions: npt.NDArray[np.float64], size: int, *, black_border: bool = False
) -> Picture:
    """Cut one region out of each picture, turn it upright, and scale it.

    Args:
        pictures: n pictures, uint8 [height, width, 3].
        regions: [n, 4].
        size: height and width of the crops.
        black_border: whether the crop is black outside the picture. Otherwise the edge of the picture is repeated.

    Returns:
        uint8 [n, size, size, 3].
    """
    border = cv2.BORDER_CONSTANT if black_border else cv2.BORDER_REPLICATE
    crops = np.empty((len(pictures), size, size, 3), np.uint8)
    for picture, region, crop in zip(pictures, regions, crops, strict=True):
        scale = region[SIZE] / size
        cos, sin = scale * np.cos(region[ANGLE]), scale * np.sin(region[ANGLE])
        half = size / 2
        matrix = np.array([[cos, -sin, region[X] - half * (cos - sin)], [sin, cos, region[Y] - half * (sin + cos)]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(picture, matrix, (size, size), crop, flags, border)
    return crops
