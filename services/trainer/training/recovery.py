"""The recovery from a loss that is not finite: the epoch is repeated from its start with half the learning rate."""

import logging

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.state import LoopProgress
from signet.errors import SignetError

_log = logging.getLogger(__name__)

# How often a training may halve its learning rate. If three halvings do not help, the rate is not the cause.
_MOST_RECOVERIES = 3


def lower_learning_rate(
    progress: LoopProgress, loss: float, config: TrainConfig, callbacks: TrainingCallbacks
) -> tuple[LoopProgress, str]:
    """Halve the learning rate for an epoch that must be repeated, because its loss is not finite.

    Returns:
        The progress with the lower rate, and the recovery action as a sentence.

    Raises:
        SignetError: the rate was halved three times before; the message says what to change.
    """
    number, factor, recoveries = progress.epoch + 1, progress.rate_factor, progress.recoveries
    if recoveries == _MOST_RECOVERIES:
        callbacks.on_nonfinite_loss()
        raise SignetError(
            f"the training loss is not finite ({loss}) in epoch {number}, although the learning rate was lowered to "
            f"{factor:g} times --lr. Give a lower --lr than {config.lr:g}."
        )
    callbacks.on_recovery_action("recovery")
    action = (
        f"the loss of epoch {number} was not finite: went back to the end of epoch {progress.epoch}, and continued "
        f"with {factor / 2:g} times the learning rate (--lr {config.lr:g})"
    )
    _log.warning("%s", action)
    return progress.model_copy(update={"rate_factor": factor / 2, "recoveries": recoveries + 1}), action
