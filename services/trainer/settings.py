"""What the trainer process can be told, besides what every service can."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.trainer.config.train_config import TrainConfig
from services.trainer.runtime.threads import DEFAULT_THREADS, THREADS_HELP
from signet.rpc.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Signet's trainer: landmark tensors in, published checkpoints out.

    Every flag can be given as SIGNET_<NAME> in the environment instead, and those of --train as SIGNET_TRAIN__<NAME>.
    """

    # Added to what the environment prefix and the flags of every service are. A variable that is empty says nothing: so
    # Compose can hand one on that nobody has set, and the preset's value holds.
    model_config = SettingsConfigDict(env_nested_delimiter="__", env_ignore_empty=True)

    threads: int = Field(default=DEFAULT_THREADS, ge=0, description=THREADS_HELP)
    auto_train: bool = Field(
        default=False,
        description="Train without being asked, whenever a corpus is complete that was not trained on yet",
    )
    train: TrainConfig = Field(default=TrainConfig(), description="What a training without request is told")
    poll_seconds: float = Field(default=5.0, gt=0, description="How often to look for a new corpus")
