"""Crops show the region of a picture, upright and scaled."""

import numpy as np

from services.extractor.tracking.pipeline.crops import cut

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
WHOLE = (16.0, 16.0, 32.0, 0.0)


def test_the_whole_picture_is_cut_unchanged() -> None:
    np.testing.assert_array_equal(cut([PICTURE], np.array([WHOLE]), 32), PICTURE[None])


def test_a_part_is_cut_at_its_place() -> None:
    np.testing.assert_array_equal(cut([PICTURE], np.array([[12.0, 20.0, 16.0, 0.0]]), 16)[0], PICTURE[12:28, 4:20])


def test_a_region_turned_clockwise_is_turned_back() -> None:
    """The pixel at the top of the crop is at the right of the picture."""
    (crop,) = cut([PICTURE], np.array([[16.0, 16.0, 32.0, np.pi / 2]]), 32)
    # Pixel (x, y) of the crop is at (32 - y, x): column 32 is outside, so the first row repeats the last column.
    np.testing.assert_array_equal(crop[1:], np.rot90(PICTURE)[:-1])
    np.testing.assert_array_equal(crop[0], crop[1])


def test_outside_the_picture_is_black_or_its_edge() -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    region = np.array([[4.0, 4.0, 16.0, 0.0]])
    assert (cut([white], region, 16) == 255).all()
    black = cut([white], region, 16, black_border=True)[0]
    assert (black[4:12, 4:12] == 255).all()
    assert black.sum() == 255 * 3 * 64


def test_pictures_of_different_sizes_are_cut_together() -> None:
    small = PICTURE[:10, :20]
    crops = cut([PICTURE, small], np.array([WHOLE, (10.0, 5.0, 32.0, 0.0)]), 32)
    np.testing.assert_array_equal(crops[0], PICTURE)
    np.testing.assert_array_equal(crops[1][11:21, 6:26], small)
