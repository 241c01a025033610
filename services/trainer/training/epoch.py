"""What one epoch of a training came to: what its history holds, and its curves show."""

import math
from dataclasses import dataclass

from services.trainer.training.validate import Score


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        number: 1 for the first.
        train_loss: mean over the batches, nats per sign.
        val: how the averaged weights do on the held-out clips.
        seconds: how long it took, validation and pauses included.
        best: no epoch before it recognised as many val clips.
        train: how the averaged weights do on training clips, where that was asked.
        last: the training ends with it: all planned epochs are trained, or its patience is at an end.
        learning_rate: of its last step.
        actions: what the training did by itself and a person should know of, a sentence each.
    """

    number: int
    train_loss: float
    val: Score
    seconds: float
    best: bool
    train: Score | None = None
    last: bool = False
    learning_rate: float = math.nan
    actions: tuple[str, ...] = ()
