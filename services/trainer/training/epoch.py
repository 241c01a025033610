"""The result of one epoch of a training, as history and curves show it."""

import math
from dataclasses import dataclass

from services.trainer.training.validate import Score


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    Attributes:
        number: 1 for the first.
        train_loss: the mean over the steps, nats per sign.
        val: the averaged weights' result on the held-out clips.
        seconds: its duration, with validation and pauses.
        best: no earlier epoch recognised as many held-out clips.
        train: the averaged weights' result on training clips, in epochs that evaluated them.
        last: the training ends with it: it is the last planned epoch, or patience is over.
        learning_rate: of its last step.
        actions: what the training did by itself to recover, a sentence each.
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
