"""The regions of hands: where they are looked for, when they are followed, and how much of them is visible."""

import numpy as np

from services.extractor.tracking.pipeline.hands import (
    _is_inside,
    _is_near,
    _region_of_arm,
    _region_of_hand,
    _share_inside,
)

SIZE = np.array([[100.0, 100.0]])


def test_the_share_of_a_region_inside_the_picture_is_measured() -> None:
    regions = np.array(
        [(50.0, 50.0, 20.0, 0.3), (0.0, 50.0, 20.0, 0.0), (0.0, 0.0, 20.0, 0.0), (-50.0, 50.0, 20.0, 0.0)]
    )
    np.testing.assert_allclose(_share_inside(regions, SIZE.repeat(4, axis=0)), [1, 0.5, 0.25, 0])


def test_a_hand_is_looked_for_beyond_the_wrist() -> None:
    """The wrist is at (50, 80), and both knuckles are 10 pixels above it."""
    region = _region_of_arm(np.array([[(50.0, 80.0), (50.0, 70.0), (50.0, 70.0)]]))
    # The circle about the knuckles has the diameter 20; the region moves up by 0.1 of it, and grows 2.7 times.
    np.testing.assert_allclose(region, [[50, 68, 54, 0]], atol=1e-9)


def test_an_arm_that_points_to_the_right_has_a_region_turned_clockwise() -> None:
    region = _region_of_arm(np.array([[(50.0, 50.0), (60.0, 50.0), (60.0, 50.0)]]))
    np.testing.assert_allclose(region, [[62, 50, 54, np.pi / 2]], atol=1e-9)


def _upright_hand() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A hand [1, 21, 3]: wrist at (50, 90), knuckles at (40 to 60, 50); fingertips do not count."""
    hand = np.full((1, 21, 3), 1000.0)
    hand[0, [0, 1, 2, 3], :2] = (50.0, 90.0)
    hand[0, [5, 6], :2] = (40.0, 50.0)
    hand[0, [9, 10], :2] = (50.0, 50.0)
    hand[0, [13, 14, 17, 18], :2] = (60.0, 50.0)
    return hand


def test_a_hand_is_followed_by_the_box_of_its_palm() -> None:
    # The palm is 20 x 40 pixels with its centre at (50, 70). The region moves up by 4, and is twice as large.
    np.testing.assert_allclose(_region_of_hand(_upright_hand()), [[50, 66, 80, 0]], atol=1e-9)


def test_a_region_is_near_within_its_limits() -> None:
    region = np.array([[50.0, 50.0, 100.0, 0.0]])
    changes = [
        ((0, 0, 0, 0), True),
        ((19, -19, 0, 0), True),
        ((21, 0, 0, 0), False),
        ((0, -21, 0, 0), False),
        ((0, 0, 39, 0), True),
        ((0, 0, -41, 0), False),
        ((0, 0, 0, np.deg2rad(39)), True),
        ((0, 0, 0, np.deg2rad(-41)), False),
        ((0, 0, 0, np.deg2rad(-321)), True),
    ]
    for change, near in changes:
        assert _is_near(region + np.array([change]), region).tolist() == [near], change


def test_a_hand_is_inside_if_all_joints_are_within_the_margin() -> None:
    region = np.array([[50.0, 50.0, 100.0, np.pi / 4]])
    hand = np.full((1, 21, 3), 50.0)
    assert _is_inside(hand, region).tolist() == [True]
    hand[0, 8, 0] = 50 + 44 * np.sqrt(2)  # in the corner of the region
    assert _is_inside(hand, region).tolist() == [True]
    hand[0, 8, 0] = 50 + 46 * np.sqrt(2)
    assert _is_inside(hand, region).tolist() == [False]
