"""What the trainer process can be told, besides what every service can."""

from pydantic import Field

from signet.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Signet's trainer: landmark tensors in, published checkpoints out.

    Every flag can be given as SIGNET_<NAME> in the environment instead. What a single run is told (epochs, learning
    rate, ...) comes with StartRun; `signet train --help` lists it.
    """

    threads: int = Field(default=0, ge=0, description="Threads that torch computes with; 0 takes one per core")
