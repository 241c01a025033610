"""Confidence intervals of proportions and of counts."""

from collections.abc import Callable
from math import exp, lgamma, log, sqrt

# The two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (Wilson 1927). (0, 1) for no trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    square = Z95 * Z95
    centre = share + square / (2 * trials)
    spread = Z95 * sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    scale = 1 + square / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def poisson_interval(count: int) -> tuple[float, float]:
    """95 % interval of the mean of a Poisson distribution, for an observed count (Garwood 1936)."""
    high = _root(lambda mean: _poisson_cdf(count, mean) - 0.025, count)
    low = _root(lambda mean: _poisson_cdf(count - 1, mean) - 0.975, count) if count else 0.0
    return low, high


def _poisson_cdf(count: int, mean: float) -> float:
    """The probability of at most `count` events; `mean` is more than 0."""
    return sum(exp(number * log(mean) - mean - lgamma(number + 1)) for number in range(count + 1))


def _root(decreasing: Callable[[float], float], count: int) -> float:
    """Where a decreasing function of the mean is 0, by bisection."""
    low, high = 0.0, count + 10 * sqrt(count + 1) + 10
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if decreasing(middle) > 0 else (low, middle)
    return (low + high) / 2
