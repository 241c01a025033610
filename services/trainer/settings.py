"""What the trainer process can be told, besides what every service can."""

from pydantic import Field

from services.trainer.training import DEFAULT_THREADS, THREADS_HELP
from signet.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Signet's trainer: landmark tensors in, published checkpoints out.

    Every flag can be given as SIGNET_<NAME> in the environment instead. What a single run is told (epochs, learning
    rate, ...) comes with StartRun; `signet train --help` lists it.
    """

    threads: int = Field(default=DEFAULT_THREADS, ge=0, description=THREADS_HELP)
