"""People are found once each, at their place."""

import numpy as np

from services.extractor.tracking.pipeline.people import PersonFinder, _anchors, _overlap


def test_anchors_cover_the_picture_in_three_grids() -> None:
    anchors = _anchors()
    assert anchors.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2)
    np.testing.assert_allclose(anchors[:3], [(0.5 / 28, 0.5 / 28), (0.5 / 28, 0.5 / 28), (1.5 / 28, 0.5 / 28)])
    np.testing.assert_allclose(anchors[-1], [6.5 / 7, 6.5 / 7])


def test_overlap_is_intersection_over_union() -> None:
    low = np.array([(0.0, 0.0), (1.0, 0.0), (5.0, 5.0), (0.0, 0.0)])
    high = np.array([(2.0, 2.0), (3.0, 2.0), (6.0, 6.0), (0.0, 0.0)])
    np.testing.assert_allclose(_overlap(low, high, 0), [1, 2 / 6, 0, 0])


def test_boxes_of_one_person_are_averaged_and_another_person_is_apart() -> None:
    """Two boxes overlap and one is far away; the probable ones come first."""
    finder = PersonFinder()
    size = 224
    values, probabilities = np.zeros((2254, 12)), np.zeros(2254)
    anchors = _anchors()

    def place(index: int, x: float, probability: float) -> None:
        """A box of 0.2 about (x, 0.5), with the hips in its centre and the point above the head 0.1 higher."""
        offset = (np.array([x, 0.5]) - anchors[index]) * size
        values[index, :2] = offset
        values[index, 2:4] = 0.2 * size
        values[index, 4:] = np.tile(offset, 4)
        values[index, 7] -= 0.1 * size
        probabilities[index] = probability

    place(100, 0.25, 0.6)
    place(700, 0.75, 0.9)
    place(701, 0.77, 0.6)
    people = finder._people(values, probabilities, np.array([200.0, 100.0, 400.0, 0.0]))
    # In the square of 400 pixels about a picture of 400 x 200. The regions have the radius 0.1 and the margin 1.25.
    np.testing.assert_allclose(people[:, 0], [0.758 * 400, 0.25 * 400])
    np.testing.assert_allclose(people[:, 1:], [(100, 100, 0)] * 2, atol=1e-9)


def test_a_black_picture_shows_no_one() -> None:
    (people,) = PersonFinder().find([np.zeros((120, 160, 3), np.uint8)])
    assert people.shape == (0, 4)
    assert PersonFinder().find([]) == []
