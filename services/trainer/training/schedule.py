"""The learning rate, step by step."""

import math

# One cycle: the share of the steps in which the rate rises, how far below the peak it begins, and how far below the
# beginning it ends (Smith and Topin 2018; the figures are those of torch's OneCycleLR).
WARM_UP = 0.2
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def one_cycle(peak: float, step: int, steps: int) -> float:
    """The rate of a step that rises to the peak and falls to nearly nothing, each along half a cosine.

    Args:
        peak: the highest rate.
        step: 0 for the first.
        steps: how many there will be.
    """
    start = peak / START_DIVISOR
    top = WARM_UP * steps - 1
    if step <= top:
        return _between(start, peak, step / top if top else 1.0)
    return _between(peak, start / END_DIVISOR, (step - top) / (steps - 1 - top))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
