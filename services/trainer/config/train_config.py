"""What a training run can be told. The one place where flags, defaults and their meaning stand."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.trainer.config.presets import LISTED, PRESETS
from services.trainer.features.groups import GROUPS, HAND_GROUPS
from signet.decoding import ContinuousDecoder

# The goal that the project began with: half of the val clips right, where chance is one in twenty.
FIRST_GOAL = 0.5

# The goal's glosses, and what a model of them is meant to weigh. More parameters than that have nothing to learn from
# eight clips a gloss.
DEFAULT_GLOSSES = 20
PARAMETER_TARGET = 50_000

# Share of the epochs before CTC speaks. A linear head needs long to give each sign its moment; one whose frames compete
# needs only to know the signs a little first.
_FLAT_START, _SHORT_START = 0.4, 0.1

# An idle GPU in a warm room. A run that waits for it to be cooler waits for ever.
COOLEST_LIMIT = 40.0

# Fields of removed features, each with the value that switched the feature off. `TrainConfig.stored` drops them, so
# that an old run can still be listed and shown.
REMOVED_FIELDS: Mapping[str, Any] = {
    "schedule": "one-cycle", "average_last": 0, "keep_best": 0, "supplement": "", "auxiliary_glosses": 0,
}  # fmt: skip

# The key of the validation context that marks values as read from a store.
_STORED = "stored"


class TrainConfig(BaseModel):
    """One run's configuration. Every field is a flag of `signet train` and a field of the gRPC TrainConfig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field(
        "", description=f"Take what is not given from a recipe: {LISTED}. Without one, the defaults shown here hold"
    )
    corpus: str = Field("wlasl", description="Corpus of landmarks to train on: landmarks/v1/<corpus>/ in the store")
    model_name: str = Field("signet", description="Publish as models/<model-name>/<version>/")
    pretrain: bool = Field(
        False,
        description="Train the encoder alone, without labels, to tell what hidden spans of a clip were, and publish "
        "nothing; --start-from RUN then begins with it",
    )
    start_from: str = Field(
        "",
        description="Start from the weights of this run or model (name, name@alias or name@version) instead of random "
        "ones: its encoder and, unless it was pre-trained, its timing and the glosses that both vocabularies share. "
        "Refused if it was trained on a clip that is held out here",
    )
    max_glosses: int = Field(
        DEFAULT_GLOSSES,
        ge=0,
        description="Train on the glosses with the most clips, this many; 0 takes all. Fewer is easier",
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
        100, ge=1, le=100_000, description="Times that every clip is seen. Raise it if val loss still falls"
    )
    branches: int = Field(
        4,
        ge=1,
        le=64,
        description="Branches of the model, side by side, each of --hidden-dim and --hand-dim and trained by a loss of "
        "its own, that recognise together: several narrow ones are worth more than a wide one of as many parameters, "
        "and take longer",
    )
    hidden_dim: int = Field(
        24,
        ge=1,
        le=4096,
        description="LSTM units in each direction, of each branch: 24 for 20 glosses, 96 from 100 on",
    )
    hand_dim: int = Field(
        12,
        ge=1,
        le=1024,
        description="Numbers that each hand's features are reduced to: 12 for 20 glosses, 32 from 100 on",
    )
    head: Literal["competition", "attention", "linear"] = Field(
        "competition",
        description="How it is decided when a sign happens. competition: the frames of half a second compete for it, "
        "so that the blank cannot swallow it; attention: as well, and all of them say which sign it is; linear: "
        "each frame by itself, as in plain CTC, which is what collapses",
    )
    sign_dim: int = Field(
        0,
        ge=0,
        le=4096,
        description="Numbers that a frame is reduced to before it is compared with each sign: 0 reduces nothing, 128 "
        "is several times as fast with thousands of signs. A linear head does without",
    )
    without: str = Field(
        "",
        description="Feature groups to leave out, with commas: " + ", ".join(GROUPS) + ". To learn what each is worth",
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
    gradient_norm: float = Field(
        1.0,
        ge=0,
        le=1e6,
        description="Longest gradient of a step; a longer one is shortened to it. 0 never does. Lower it if the loss "
        "jumps now and then",
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1024,
        description="Batches whose mean gradient makes one step: --batch-size times this many clips, in the memory of "
        "one batch",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "float32",
        description="bf16 computes the model, not its loss, in half the bits: it pays on a GPU from some hundred "
        "LSTM units on. auto takes it on a GPU that has it",
    )
    ema_decay: float = Field(
        0.995,
        ge=0,
        lt=1,
        description="Publish the moving average of the weights over about the last 1/(1 - this) steps, 200 at 0.995; 0 "
        "publishes those of the last step. Lower it if a training is short and its average lags behind",
    )
    patience: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Stop when so many epochs since the flat start have recognised no more val clips than before; 0 "
        "never does. A model that ends so was selected on val, and its card says so",
    )
    flat_start: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of the epochs before CTC speaks, in which frames are told their sign by where they lie in "
        "the clip. Unset, it is 0.4 with a linear head and 0.1 with the others; 0 with a linear head is plain CTC",
    )
    blank_penalty: float = Field(
        1.0,
        ge=0,
        le=20,
        description="Nats taken from the blank: at the start from its bias, and whenever the model is decoded. "
        "Raise it if clips come out empty (blank collapse), lower it if signs come out twice",
    )
    insertion_penalty: float = Field(
        1.0,
        ge=0,
        le=20,
        description="Nats that each sign of a sequence costs when continuous signing is decoded. Raise it if signs "
        "come out twice, lower it if clips come out empty",
    )
    repetition_penalty: float = Field(
        5.0,
        ge=0,
        le=20,
        description="Nats more that a sign costs which follows itself, when continuous signing is decoded: many signs "
        "repeat their movement. Lower it where people do sign one twice in a row",
    )
    target_accuracy: float | None = Field(
        None, gt=0, le=1, description="Stop as soon as this share of val clips is recognised; unset trains to the end"
    )
    train_past_target: bool = Field(False, description="Go on to the last epoch when the target is met")
    seed: int = Field(0, ge=0, lt=2**63, description="Of initial weights, order and augmentation")
    seeds: int = Field(
        1,
        ge=1,
        le=100,
        description="Train so many members, from seeds --seed, --seed + 1 and so on. Three and more say how much of a "
        "result is luck, and together they recognise better than one",
    )
    folds: int = Field(
        0,
        ge=0,
        le=20,
        description="Measure the recipe by cross-validation: hold out each of so many groups of signers once, over "
        "train and val, and publish nothing. 0 trains on train and holds out val",
    )
    publish: Literal["ensemble", "first", "none"] = Field(
        "ensemble",
        description="What becomes a model: the members' geometric mean, the first member, or nothing at all",
    )
    jobs: int = Field(
        1,
        ge=1,
        le=64,
        description="Members trained at a time, each in a process and on --threads of its own. One per core is best",
    )
    max_gpu_temperature: float = Field(
        70.0,
        ge=0,
        le=100,
        description="Pause between batches while the GPU is hotter than this many degrees Celsius, 40 to 100; 0 never "
        "pauses. Raise it if training pauses often on a GPU that is built for more",
    )

    @classmethod
    def stored(cls, told: bytes | Mapping[str, Any]) -> "TrainConfig":
        """A configuration from a store, as JSON or as values.

        A field that is missing did not exist when it was written. Such a field gets its default, not the value of the
        preset. Fields of removed features are dropped.

        Raises:
            ValidationError: it has a value or a field that this version of Signet does not know.
        """
        context = {_STORED: True}
        if isinstance(told, bytes):
            return cls.model_validate_json(told, context=context)
        return cls.model_validate(told, context=context)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(values, dict):
            return values
        if info.context and info.context.get(_STORED):
            return {name: value for name, value in values.items() if name not in REMOVED_FIELDS}
        preset = PRESETS.get(str(values.get("preset")))
        return {**preset.values, **values} if preset else values

    @field_validator("preset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name and name not in PRESETS:
            raise PydanticCustomError("unknown_preset", "There is no such preset. There are " + ", ".join(PRESETS))
        return name

    @field_validator("folds")
    @classmethod
    def _divides(cls, folds: int) -> int:
        if folds == 1:
            raise PydanticCustomError("one_fold", "One fold holds out everything. Give 0, or at least 2; 5 is usual")
        return folds

    @model_validator(mode="after")
    def _measures_honestly(self, info: ValidationInfo) -> "TrainConfig":
        if info.context and info.context.get(_STORED):
            return self
        if self.folds and self.start_from:
            raise PydanticCustomError(
                "start_with_folds",
                "--folds with --start-from would measure each fold on clips that the source may have been trained on. "
                "Leave one of them out",
            )
        stops_at_target = self.target_accuracy is not None and not self.train_past_target
        for flag, selects in (
            ("--target-accuracy", stops_at_target),
            ("--patience", self.patience),
        ):
            if self.folds and selects:
                raise PydanticCustomError(
                    "selection_with_folds",
                    "--folds with {flag} would choose each model by the very clips that it is measured on. Leave one "
                    "of them out",
                    {"flag": flag},
                )
        return self

    @model_validator(mode="after")
    def _pretrains_alone(self, info: ValidationInfo) -> "TrainConfig":
        if info.context and info.context.get(_STORED):
            return self
        for flag, given in (
            ("--folds", self.folds > 0),
            ("--target-accuracy", self.target_accuracy is not None),
            ("--train-past-target", self.train_past_target),
            ("--patience", self.patience),
            ("--publish", self.publish != "ensemble"),
        ):
            if self.pretrain and given:
                raise PydanticCustomError(
                    "pretrain_alone",
                    "--pretrain with {flag} makes no sense: a pre-training recognises nothing and publishes nothing. "
                    "Leave one of them out",
                    {"flag": flag},
                )
        return self

    @property
    def start(self) -> float:
        """The share of the epochs before CTC speaks; 0 in pre-training, where it never does."""
        if self.pretrain:
            return 0.0
        if self.flat_start is not None:
            return self.flat_start
        return _FLAT_START if self.head == "linear" else _SHORT_START

    @property
    def decoder(self) -> ContinuousDecoder:
        """The one decoder for continuous signing."""
        return ContinuousDecoder(
            blank_penalty=self.blank_penalty,
            insertion_penalty=self.insertion_penalty,
            repetition_penalty=self.repetition_penalty,
            undoubted=True,
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The feature groups that are measured."""
        left_out = set(filter(None, self.without.split(",")))
        return tuple(group for group in GROUPS if group not in left_out)

    @field_validator("without")
    @classmethod
    def _names_groups(cls, names: str) -> str:
        left_out = [name.strip() for name in names.split(",") if name.strip()]
        if not set(left_out) <= set(GROUPS):
            raise PydanticCustomError("unknown_group", "There are " + ", ".join(GROUPS))
        if set(HAND_GROUPS) <= set(left_out):
            raise PydanticCustomError("no_group", "Nothing is left of the hands. Leave at least one of their groups in")
        return ",".join(left_out)

    @field_validator("max_gpu_temperature")
    @classmethod
    def _can_be_reached(cls, limit: float) -> float:
        if 0 < limit < COOLEST_LIMIT:
            raise PydanticCustomError(
                "too_cool", f"No GPU in use is that cool. Give 0 to never pause, or at least {COOLEST_LIMIT:g}"
            )
        return limit


def removed_settings(stored: bytes) -> list[str]:
    """The removed features that a stored configuration (JSON) uses, each as "name value"."""
    values = json.loads(stored)
    return [f"{name} {values[name]}" for name, off in REMOVED_FIELDS.items() if name in values and values[name] != off]
