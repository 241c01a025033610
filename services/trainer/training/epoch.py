"""The result of one epoch of a training, as history and curves show it."""

import math
from dataclasses import dataclass

from services.trainer.training.validate import Score


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch."""

    number: int  # 1 for the first
    train_loss: float  # the mean over the steps, nats per sign
    val: Score  # the averaged weights' result on the held-out clips
    seconds: float  # its duration, with validation and pauses
    best: bool  # no earlier epoch recognised as many held-out clips
    train: Score | None = None  # the averaged weights' result on training clips, in epochs that evaluated them
    last: bool = False  # the training ends with it: it is the last planned epoch, or patience is over
    learning_rate: float = math.nan  # of its last step
    actions: tuple[str, ...] = ()  # what the training did by itself to recover, a sentence each
