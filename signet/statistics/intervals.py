"""Confidence intervals of proportions."""

from math import sqrt

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
