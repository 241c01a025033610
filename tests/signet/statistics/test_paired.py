"""The paired comparison of two models: the exact test, and the interval of the difference."""

from itertools import product

import numpy as np
import pytest

from signet.statistics.paired import PairedCounts, mcnemar_p_value


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 1), (0, 5), (5, 0), (1, 8), (3, 4), (6, 6)])
def test_the_p_value_is_that_of_all_throws_of_coins(one: int, other: int) -> None:
    least = min(one, other)
    throws = list(product((0, 1), repeat=one + other))
    as_uneven = [throw for throw in throws if min(sum(throw), len(throw) - sum(throw)) <= least]
    assert mcnemar_p_value(one, other) == pytest.approx(len(as_uneven) / len(throws))


def test_the_p_value_of_many_clips_is_finite() -> None:
    assert mcnemar_p_value(600, 700) == pytest.approx(0.006, abs=0.001)
    assert 0 < mcnemar_p_value(0, 1000) < 1e-200


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 1), (5, 0), (0, 5), (1, 8), (6, 6)])
def test_the_one_sided_p_value_is_that_of_all_throws_of_coins(one: int, other: int) -> None:
    throws = list(product((0, 1), repeat=one + other))
    at_most = [throw for throw in throws if sum(throw) <= other]
    assert PairedCounts(10, one, other, 3).p_second_is_worse == pytest.approx(len(at_most) / len(throws))


def test_gains_and_counts_are_those_of_the_second_model() -> None:
    counts = PairedCounts(both=50, only_first=12, only_second=8, neither=30)
    assert counts.clips == 100
    assert counts.gain == pytest.approx(-0.04)
    assert counts.p == mcnemar_p_value(12, 8)
    assert counts.gain_interval == pytest.approx((-0.1269, 0.0485), abs=1e-4)


def test_no_clips_say_nothing() -> None:
    nothing = PairedCounts(0, 0, 0, 0)
    assert (nothing.gain, nothing.gain_interval, nothing.p, nothing.p_second_is_worse) == (0.0, (-1.0, 1.0), 1.0, 1.0)


@pytest.mark.parametrize("cells", [(0.6, 0.1, 0.1, 0.2), (0.7, 0.12, 0.04, 0.14), (0.3, 0.02, 0.01, 0.67)])
@pytest.mark.parametrize("n", [30, 130, 1000])
def test_the_interval_covers_the_true_gain_in_about_95_of_100_samples_or_more(cells: tuple[float, ...], n: int) -> None:
    samples = np.random.default_rng(0).multinomial(n, cells, 3000)
    gain = cells[2] - cells[1]
    covered = 0
    for both, first, second, neither in samples.tolist():
        low, high = PairedCounts(both, first, second, neither).gain_interval
        covered += low <= gain <= high
    assert covered / len(samples) >= 0.935
