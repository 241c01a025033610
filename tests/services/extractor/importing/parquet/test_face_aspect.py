"""The aspect of a video, from faces."""

from fractions import Fraction

import numpy as np
import pytest

from services.extractor.importing.parquet.face_aspect import estimate_aspect


@pytest.mark.parametrize("aspect", [9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9])
def test_the_aspect_of_turned_and_tilted_faces_is_found(aspect: float) -> None:
    face = np.array([[-0.0812, 0, 0], [0.0812, 0, 0], [0, -0.1, 0], [0, 0.1, 0]])
    turned = []
    for yaw, roll in ((0, 0), (0.4, 0.1), (-0.3, -0.3), (0.1, 0.2), (0.2, 0), (-0.5, 0)):
        around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        around_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        turned.append(face @ around_y.T @ around_z.T)
    faces = (np.stack(turned) / [aspect, 1, aspect]).astype(np.float32)
    found = estimate_aspect([faces[:3], np.full((5, 4, 3), np.nan, np.float32), faces[3:]])
    assert found is not None
    assert float(found) == pytest.approx(aspect)
    assert isinstance(found, Fraction)


def test_few_or_impossible_faces_give_no_aspect() -> None:
    assert estimate_aspect([]) is None
    assert estimate_aspect([np.full((3, 4, 3), np.nan, np.float32)]) is None
    assert estimate_aspect([np.zeros((9, 4, 3), np.float32)]) is None
    wide = np.array([[-1, 0, 0], [1, 0, 0], [0, -0.1, 0], [0, 0.1, 0]], np.float32)
    assert estimate_aspect([np.repeat(wide[None], 9, 0)]) is None
