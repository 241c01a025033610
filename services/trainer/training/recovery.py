"""What a training does by itself when its loss is not finite: it repeats the epoch with a lower learning rate."""

import logging

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.state import Progress
from signet.errors import SignetError

_log = logging.getLogger(__name__)

# How often the learning rate is halved since a loss is not finite. After three halvings the rate is not what is wrong.
_MOST_RECOVERIES = 3


def slowed(progress: Progress, loss: float, config: TrainConfig, callbacks: TrainingCallbacks) -> tuple[Progress, str]:
    """Halve the learning rate, for an epoch that is trained again since its loss was not finite.

    Args:
        progress: how far the training is, without that epoch.
        loss: of that epoch.
        config: of the training.
        callbacks: told of it.

    Returns:
        how far it is now, and what was done, for people.

    Raises:
        SignetError: that was done often enough; the message says what to change.
    """
    number, factor, recoveries = progress.epoch + 1, progress.rate_factor, progress.recoveries
    if recoveries == _MOST_RECOVERIES:
        callbacks.on_nonfinite_loss()
        raise SignetError(
            f"the training loss is not finite ({loss}) in epoch {number}, and was not with a learning rate of "
            f"{factor:g} times what was asked. Lower --lr (now {config.lr:g})."
        )
    callbacks.on_recovery_action("recovery")
    action = (
        f"the loss of epoch {number} was not finite: went back to the end of epoch {progress.epoch}, and on with a "
        f"learning rate of {factor / 2:g} times what was asked (--lr {config.lr:g})"
    )
    _log.warning("%s", action)
    return progress.model_copy(update={"rate_factor": factor / 2, "recoveries": recoveries + 1}), action
