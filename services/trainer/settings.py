"""The settings of the trainer process, beside those of every service."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.trainer.config.train_config import TrainConfig
from services.trainer.runtime.threads import DEFAULT_THREADS, THREADS_HELP
from signet.rpc.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Signet's trainer: it trains models on landmark tensors and publishes them.

    Every flag can also be set in the environment, as SIGNET_<NAME>, and the fields of --train as SIGNET_TRAIN__<NAME>.
    """

    service: ClassVar[str] = "trainer"

    # This adds to the settings of every service. An empty variable counts as not set: Compose passes a variable on even
    # if nobody has set it, and the preset's value must hold then.
    model_config = SettingsConfigDict(env_nested_delimiter="__", env_ignore_empty=True)

    threads: int = Field(default=DEFAULT_THREADS, ge=0, description=THREADS_HELP)
    auto_train: bool = Field(
        default=False,
        description="Train by itself, as soon as a corpus is complete that no run was trained on",
    )
    train: TrainConfig = Field(default=TrainConfig(), description="The configuration for --auto-train")
    poll_seconds: float = Field(default=5.0, gt=0, description="Seconds between two looks for a new corpus")
