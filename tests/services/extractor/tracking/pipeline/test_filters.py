"""Filters follow their formulas, and the clips in one filter do not change each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.extractor.tracking.pipeline.filters import LowPassFilter, OneEuroFilter

ONE = np.array([0])
UNIT, STEP = np.ones(1), np.full(1, 0.1)


def test_a_moving_average_weights_the_newest_value() -> None:
    low_pass = LowPassFilter(1, (1,), share=0.1)
    values = [low_pass.filter(ONE, np.array([[value]])).item() for value in (1.0, 2.0, 2.0)]
    assert values == pytest.approx([1.0, 1.1, 1.19])
    low_pass.forget(ONE)
    assert low_pass.filter(ONE, np.array([[5.0]])).item() == 5.0


def test_the_one_euro_filter_follows_its_formulas() -> None:
    """At 10 Hz, with min_cutoff 1, beta 0.5, derivative_cutoff 1, from 0 to 1 for an object of the size 2."""
    one_euro = OneEuroFilter(1, (1,), min_cutoff=1.0, beta=0.5)
    scale = 2 * UNIT
    assert one_euro.filter(ONE, np.array([[0.0]]), scale, STEP).item() == 0.0
    share = 1 / (1 + 10 / (2 * np.pi))
    speed = share * (1.0 / 0.1 / 2)
    cutoff = 1.0 + 0.5 * speed
    expected = 1 / (1 + 10 / (2 * np.pi * cutoff))
    assert one_euro.filter(ONE, np.array([[1.0]]), scale, STEP).item() == pytest.approx(expected)


def test_a_value_at_rest_stays() -> None:
    one_euro = OneEuroFilter(1, (2, 3), min_cutoff=0.05, beta=80.0)
    for _ in range(3):
        np.testing.assert_array_equal(one_euro.filter(ONE, np.full((1, 2, 3), 7.0), UNIT, STEP), np.full((1, 2, 3), 7))


@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_clips_in_lockstep_are_filtered_as_alone(steps: list[tuple[float, bool, bool]]) -> None:
    """Clip 1 of three sees all values; the other clips come, go and are forgotten."""
    alone, together = OneEuroFilter(1, (1,), 1.0, 0.5), OneEuroFilter(3, (1,), 1.0, 0.5)
    for value, with_first, with_last in steps:
        clips = np.array([0] * with_first + [1] + [2] * with_last)
        values = np.where(clips == 1, value, -3.0 * value + 1)[:, None]
        many = together.filter(clips, values, np.ones(len(clips)), np.full(len(clips), 0.1))
        (expected,) = alone.filter(ONE, np.array([[value]]), UNIT, STEP)
        np.testing.assert_array_equal(many[clips == 1][0], expected)
        if with_last:
            together.forget(np.array([2]))
