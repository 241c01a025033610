"""Joints are moved to the centres of their heatmaps."""

import numpy as np
import pytest

from services.extractor.tracking.pipeline.body import refine

COLD, WARM = -30.0, 30.0


def heat(cells: dict[tuple[int, int], float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A heatmap [1, 1, 16, 16] with these logits at (row, column)."""
    values = np.full((1, 1, 16, 16), COLD, np.float32)
    for (row, column), logit in cells.items():
        values[0, 0, row, column] = logit
    return values


def moved(x: float, y: float, cells: dict[tuple[int, int], float]) -> list[float]:
    return [float(value) for value in refine(np.array([[[x, y, 0.3]]]), heat(cells))[0, 0]]


def test_a_joint_moves_to_the_only_warm_cell() -> None:
    assert moved(0.5, 0.5, {(9, 7): WARM}) == pytest.approx([7 / 16, 9 / 16, 0.3])


def test_a_joint_moves_to_the_mean_of_two_equally_warm_cells() -> None:
    assert moved(0.5, 0.5, {(8, 6): 2.0, (8, 9): 2.0}) == pytest.approx([7.5 / 16, 0.5, 0.3])


@pytest.mark.parametrize("cells", [{}, {(8, 8): -0.1}, {(8, 13): WARM}, {(3, 8): WARM}])
def test_a_joint_stays_if_no_cell_near_it_is_probable(cells: dict[tuple[int, int], float]) -> None:
    assert moved(0.5, 0.5, cells) == [0.5, 0.5, 0.3]


@pytest.mark.parametrize("place", [(-0.2, 0.5), (0.5, 1.0), (1.3, 1.3)])
def test_a_joint_outside_the_crop_stays(place: tuple[float, float]) -> None:
    assert moved(*place, {(8, 0): WARM, (15, 8): WARM, (15, 15): WARM}) == [*place, 0.3]


def test_the_window_ends_at_the_edge_of_the_heatmap() -> None:
    assert moved(0.0, 0.0, {(0, 0): WARM, (0, 2): WARM}) == pytest.approx([1 / 16, 0.0, 0.3])
