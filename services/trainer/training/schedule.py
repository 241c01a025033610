"""The learning rate, step by step."""

import math

from pydantic import BaseModel, ConfigDict

# One cycle: the share of the steps in which the rate rises, how far below the peak it begins, and how far below the
# beginning it ends (Smith and Topin 2018; the figures are those of torch's OneCycleLR).
WARM_UP = 0.2
START_DIVISOR = 25.0
END_DIVISOR = 1e4

# Plateau: the rate rises over the first share of the steps, since Adam's first estimates are of few gradients; then it
# is halved whenever the training loss has not fallen by a hundredth within ten epochs.
PLATEAU_WARM_UP = 0.02
PLATEAU_FACTOR = 0.5
PLATEAU_EPOCHS = 10
PLATEAU_GAIN = 0.01


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


class Plateau(BaseModel):
    """What a plateau schedule remembers. It looks at the training loss, since val must have no say in a training.

    Attributes:
        factor: of the peak rate, now.
        best: the lowest training loss since losses can be compared; None before the first.
        waited: epochs since then.
    """

    model_config = ConfigDict(frozen=True)

    factor: float = 1.0
    best: float | None = None
    waited: int = 0

    def rate(self, peak: float, step: int, steps: int) -> float:
        """The rate of a step; the arguments are those of `one_cycle`."""
        return peak * self.factor * min(1.0, (step + 1) / max(1.0, PLATEAU_WARM_UP * steps))

    def after(self, loss: float, *, comparable: bool) -> "Plateau":
        """What it remembers after one more epoch.

        Args:
            loss: the epoch's training loss, nats per sign.
            comparable: whether it is the same quantity as the epoch's before: a loss changes its meaning while frame
                labels fade into CTC.
        """
        if not comparable or self.best is None or loss < self.best - PLATEAU_GAIN * abs(self.best):
            return Plateau(factor=self.factor, best=loss)
        if self.waited + 1 < PLATEAU_EPOCHS:
            return self.model_copy(update={"waited": self.waited + 1})
        return Plateau(factor=self.factor * PLATEAU_FACTOR, best=self.best)
