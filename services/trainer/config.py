"""What a training run can be told. The one place where flags, defaults and their meaning stand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

# The goal that the project began with: half of the val clips right, where chance is one in twenty.
FIRST_GOAL = 0.5

# What the default model is meant to weigh. More parameters than that have nothing to learn from eight clips a gloss.
PARAMETER_TARGET = 50_000

# An idle GPU in a warm room. A run that waits for it to be cooler waits for ever.
COOLEST_LIMIT = 40.0


class TrainConfig(BaseModel):
    """One run's configuration. Every field is a flag of `signet train` and a field of the gRPC TrainConfig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = Field("wlasl", description="Corpus of landmarks to train on: landmarks/v1/<corpus>/ in the store")
    model_name: str = Field("signet", description="Publish as models/<model-name>/<version>/")
    max_glosses: int = Field(
        20, ge=0, description="Train on the glosses with the most clips, this many; 0 takes all. Fewer is easier"
    )
    samples_per_gloss: int = Field(0, ge=0, description="At most this many training clips of each gloss; 0 takes all")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:<n>; auto takes a GPU if there is one",
    )
    batch_size: int = Field(
        32, ge=1, le=4096, description="Clips in a batch. Lower it if memory runs out; more is faster, not better"
    )
    num_epochs: int = Field(
        300, ge=1, le=100_000, description="Times that every clip is seen. Raise it if val loss still falls"
    )
    hidden_dim: int = Field(
        64,
        ge=1,
        le=4096,
        description="LSTM units in each direction: 32 to debug, 64 for 20 glosses, 128 and more from 100 on",
    )
    num_layers: int = Field(1, ge=1, le=8, description="LSTM layers. A second one pays from some hundred glosses on")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of the LSTM's inputs and outputs left out. Raise it if val loss rises"
    )
    weight_decay: float = Field(0.01, ge=0, description="Pull of the weights towards zero")
    lr: float = Field(
        8e-3,
        gt=0,
        le=10,
        description="Peak learning rate of the one-cycle schedule. Lower it if the loss is not finite or jumps",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="adam, adamw or sgd (momentum 0.9)")
    blank_penalty: float = Field(
        1.0,
        ge=0,
        le=20,
        description="Nats taken from the blank: at the start from its bias, and whenever the model is decoded. "
        "Raise it if clips come out empty (blank collapse), lower it if signs come out twice",
    )
    target_accuracy: float | None = Field(
        None, gt=0, le=1, description="Stop as soon as this share of val clips is recognised; unset trains to the end"
    )
    train_past_target: bool = Field(False, description="Go on to the last epoch when the target is met")
    seed: int = Field(0, ge=0, lt=2**63, description="Of initial weights, order and augmentation")
    max_gpu_temperature: float = Field(
        70.0,
        ge=0,
        le=100,
        description="Pause between batches while the GPU is hotter than this many degrees Celsius, 40 to 100; 0 never "
        "pauses. Raise it if training pauses often on a GPU that is built for more",
    )

    @field_validator("max_gpu_temperature")
    @classmethod
    def _can_be_reached(cls, limit: float) -> float:
        if 0 < limit < COOLEST_LIMIT:
            raise PydanticCustomError(
                "too_cool", f"No GPU in use is that cool. Give 0 to never pause, or at least {COOLEST_LIMIT:g}"
            )
        return limit
