"""Regions are placed, changed and converted as MediaPipe's calculators do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.extractor.tracking.pipeline.regions import (
    angle_to,
    change_region,
    normalize_angle,
    region_from_points,
    rotate,
    to_picture,
)

ANGLES = st.floats(-50, 50)


@given(ANGLES)
def test_a_normalized_angle_is_the_same_direction(angle: float) -> None:
    normal = normalize_angle(angle)
    assert -np.pi <= normal <= np.pi
    assert np.cos(normal) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(normal) == pytest.approx(np.sin(angle), abs=1e-9)


def test_a_person_who_stands_upright_has_a_region_without_rotation() -> None:
    """The hips are at (100, 200); the point at the edge is 50 pixels above them."""
    region = region_from_points(np.array([[100.0, 200.0]]), np.array([[100.0, 150.0]]), np.pi / 2)
    np.testing.assert_allclose(region, [[100, 200, 100, 0]], atol=1e-12)


def test_a_person_who_lies_to_the_right_has_a_region_turned_clockwise() -> None:
    region = region_from_points(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), np.pi / 2)
    np.testing.assert_allclose(region, [[0, 0, 10, np.pi / 2 + np.arctan2(4, 3)]], atol=1e-12)
    np.testing.assert_allclose(angle_to(np.array([[1.0, 0.0]]), np.pi / 2), [np.pi / 2])


def test_a_region_moves_along_its_own_axis_by_its_size_before() -> None:
    regions = np.array([[10.0, 20.0, 100.0, 0.0], [10.0, 20.0, 100.0, np.pi / 2]])
    expected = np.array([[10.0, 10.0, 200.0, 0.0], [20.0, 20.0, 200.0, np.pi / 2]])
    np.testing.assert_allclose(change_region(regions, 2.0, -0.1), expected, atol=1e-12)


def test_points_rotate_clockwise_in_the_picture() -> None:
    turned = rotate(np.array([[[1.0, 0.0]]]), np.array([np.pi / 2]))
    np.testing.assert_allclose(turned, [[[0, 1]]], atol=1e-12)  # y points down


def test_points_in_a_region_are_converted_to_pixels() -> None:
    points = np.array([[[0.5, 0.5, 0.1], [1.0, 0.5, -0.2]]])
    region = np.array([[100.0, 50.0, 20.0, np.pi / 2]])
    np.testing.assert_allclose(to_picture(points, region), [[[100, 50, 2], [100, 60, -4]]], atol=1e-9)


@given(x=st.floats(-1, 2), y=st.floats(-1, 2), size=st.floats(1, 1000), angle=ANGLES)
def test_conversion_to_pixels_keeps_distances(x: float, y: float, size: float, angle: float) -> None:
    region = np.array([[7.0, -3.0, size, angle]])
    placed = to_picture(np.array([[[0.5, 0.5], [x, y]]]), region)[0]
    np.testing.assert_allclose(placed[0], [7, -3], atol=1e-6)
    assert np.hypot(*(placed[1] - placed[0])) == pytest.approx(size * np.hypot(x - 0.5, y - 0.5), abs=1e-6)
