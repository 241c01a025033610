"""The signer among several people is found by movement, wherever the person stands and however small."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from services.extractor.tracking.pipeline.crops import Picture
from services.extractor.tracking.pipeline.people import PersonFinder
from services.extractor.tracking.pipeline.regions import X
from services.extractor.tracking.pipeline.signer_search import SignerSearch
from services.extractor.video.decode import Video, read_file
from tests.services.extractor.conftest import SHORT

pytestmark = pytest.mark.clips

_SIDE = 400


def _person(path: Path) -> list[Picture]:
    """The middle of each picture, ten a second."""
    squares = []
    for frame in Video(read_file(path), path.name).frames(None, 10.0):
        height, width = frame.rgb.shape[:2]
        left = (width - height) // 2
        squares.append(np.asarray(cv2.resize(frame.rgb[:, left : left + height], (_SIDE, _SIDE)), np.uint8))
    return squares


def _smaller(picture: Picture, scale: float) -> Picture:
    side, left = round(_SIDE * scale), round(_SIDE * (1 - scale) / 2)
    ground = np.full_like(picture, picture[2, 2])
    ground[_SIDE - side :, left : left + side] = cv2.resize(picture, (side, side))
    return ground


@pytest.mark.parametrize("signer_is_right", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_one_who_moves_is_the_signer(wlasl: Path, signer_is_right: bool, scale: float) -> None:
    signing, other = (_person(wlasl / "clips" / f"{clip_id}.mp4") for clip_id in SHORT[:2])
    search = SignerSearch(PersonFinder())
    for picture in signing:
        pair = [_smaller(picture, scale), other[0]]
        search.see(np.hstack(pair[::-1] if signer_is_right else pair))
    region = search.choose()
    assert region is not None
    assert (region[X] > _SIDE) == signer_is_right


def test_one_person_needs_no_search(wlasl: Path) -> None:
    search = SignerSearch(PersonFinder())
    assert search.choose() is None
    for picture in _person(wlasl / "clips" / f"{SHORT[0]}.mp4"):
        search.see(picture)
    assert search.choose() is None
