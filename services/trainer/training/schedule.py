"""The learning rate of each step."""

import math

# The share of the steps in which the rate rises, how far below the peak it starts, and how far below the start it ends
# (Smith and Topin 2018; the figures are those of torch's OneCycleLR).
WARM_UP = 0.2
START_DIVISOR = 25.0
END_DIVISOR = 1e4


def one_cycle(peak: float, step: int, steps: int) -> float:
    """The rate of a step, from 0: it rises to the peak and falls to nearly zero, each along half a cosine."""
    start = peak / START_DIVISOR
    top = WARM_UP * steps - 1
    if step <= top:
        return _half_cosine(start, peak, step / top if top else 1.0)
    return _half_cosine(peak, start / END_DIVISOR, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
