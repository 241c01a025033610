"""The configuration of a training run. Flags, environment, defaults and their meaning are declared only here."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.trainer.config.presets import PRESETS
from services.trainer.features.groups import GROUPS, HAND_GROUPS, SHAPE_GROUPS
from signet.decoding import ContinuousDecoder
from signet.store import keys

# The first goal of the project: half of the val clips, where chance is one in twenty.
FIRST_GOAL = 0.5

# The glosses of that goal, and the largest model for them: eight clips a gloss do not fill more parameters.
DEFAULT_GLOSSES = 20
PARAMETER_TARGET = 50_000

# The largest model by its LSTMs: 2 GB of weights. A model of all glosses of WLASL has a hundredth of it.
_MAX_LSTM_WEIGHTS = 500_000_000

# The most clips of a gloss, and the most glosses, that a run can ask for. More exist in no corpus.
_MAX_CLIPS = 1_000_000

# The share of the epochs before CTC is used. A linear head needs long to find the moment of each sign. The other heads
# only need to know the signs a little first.
_FLAT_START, _SHORT_START = 0.4, 0.1

# The temperature of an idle GPU in a warm room. A run that waits for a lower one never continues.
COOLEST_LIMIT = 40.0

# Fields of removed features, each with the value that switched the feature off. `TrainConfig.stored` drops them, so
# that an old run can still be listed and shown.
REMOVED_FIELDS: Mapping[str, Any] = {
    "schedule": "one-cycle", "average_last": 0, "keep_best": 0, "supplement": "", "auxiliary_glosses": 0,
}  # fmt: skip

# The key of the validation context that marks values as read from a store.
_STORED = "stored"


class TrainConfig(BaseModel):
    """One run's configuration. Every field is a flag of `signet train` and a field of the gRPC TrainConfig.

    The docstring of a field is its description in --help.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: str = Field(
        "",
        description="A recipe whose values replace the defaults shown here: "
        + ", ".join(f"{name} ({preset.about})" for name, preset in PRESETS.items()),
    )
    corpus: str = "wlasl"
    """The corpus of landmarks to train on: landmarks/v1/<corpus>/ in the store"""
    model_name: str = "signet"
    """Publish as models/<model-name>/<version>/"""
    pretrain: bool = False
    """Train only the encoder, without labels: it reconstructs hidden spans of clips. Nothing is published; --start-from
    RUN continues with its weights"""
    start_from: str = ""
    """Start from the weights of this run or model (name, name@alias or name@version) instead of random ones: its
    encoder and, unless it was pre-trained, its timing and the glosses that both vocabularies share. Refused if it was
    trained on a clip that is held out here"""
    max_glosses: int = Field(DEFAULT_GLOSSES, ge=0, le=_MAX_CLIPS)
    """Train on this many glosses, those with the most clips; 0 takes all. Fewer are easier"""
    samples_per_gloss: int = Field(0, ge=0, le=_MAX_CLIPS)
    """Use at most this many training clips of each gloss; 0 uses all"""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")
    """auto, cpu, cuda or cuda:<n>; auto uses a GPU if there is one"""
    batch_size: int = Field(32, ge=1, le=4096)
    """Clips in a batch. Lower it if memory runs out. A higher one is faster, not better"""
    num_epochs: int = Field(100, ge=1, le=100_000)
    """How often every clip is used. Raise it if val loss still falls at the end"""
    branches: int = Field(4, ge=1, le=64)
    """Branches of the model, each with its own LSTMs of --hidden-dim, projection of --hand-dim and loss. They recognise
    together: several narrow ones are better than a wide one of as many parameters, and take longer"""
    hidden_dim: int = Field(24, ge=1, le=4096)
    """LSTM units in each direction, of each branch: 24 for 20 glosses, 96 from 100 glosses on"""
    hand_dim: int = Field(12, ge=1, le=1024)
    """The size of the projection of each hand's features: 12 for 20 glosses, 32 from 100 glosses on"""
    head: Literal["competition", "attention", "linear"] = "competition"
    """How the model decides when a sign happens. competition: the frames of half a second compete for it, so that the
    blank cannot win all of them; attention: the same, and all these frames decide which sign it is; linear: each frame
    decides alone, as in plain CTC, which can collapse"""
    sign_dim: int = Field(0, ge=0, le=4096)
    """The size to which a frame is reduced before it is compared with each sign; 0 does not reduce. 128 is several
    times as fast with thousands of signs. A linear head ignores it"""
    without: str = Field(
        "",
        description=f"Feature groups to leave out, separated by commas: {', '.join(GROUPS)}. This measures what each "
        "is worth",
    )
    num_layers: int = Field(1, ge=1, le=8)
    """LSTM layers. A second one helps from some hundred glosses on"""
    dropout: float = Field(0.1, ge=0, lt=1)
    """The share of the LSTM's inputs and outputs that training leaves out. Raise it if val loss rises"""
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)
    """How strongly weights are pulled towards zero"""
    lr: float = Field(8e-3, gt=0, le=10)
    """The peak of the learning rate, which rises in a fifth of the steps and then falls to nearly zero. Lower it if the
    loss jumps or is not finite"""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    """adam, adamw or sgd (momentum 0.9)"""
    gradient_norm: float = Field(1.0, ge=0, le=1e6)
    """The largest length of a step's gradient; a longer one is shortened. 0 sets no limit. Lower it if the loss jumps
    now and then"""
    accumulate: int = Field(1, ge=1, le=1024)
    """Batches whose mean gradient makes one step: as with a --batch-size so many times larger, in the memory of one
    batch"""
    precision: Literal["auto", "float32", "bf16"] = "float32"
    """bf16 computes the model, not its loss, with half the bits. This is faster on a GPU from some hundred LSTM units
    on. auto uses bf16 on a GPU that supports it"""
    ema_decay: float = Field(0.995, ge=0, lt=1)
    """Publish the moving average of the weights over about the last 1/(1 - this) steps, 200 for 0.995; 0 publishes the
    weights of the last step. Lower it if a training is short and its average lags behind"""
    patience: int = Field(0, ge=0, le=100_000)
    """Stop when this many epochs since the flat start have not recognised more val clips; 0 never stops. Such a model
    is selected on val, and its card says so"""
    flat_start: float | None = Field(None, ge=0, lt=1)
    """The share of the epochs before CTC is used, in which a frame's label is decided by its place in the clip. Unset,
    it is 0.4 with a linear head and 0.1 with the others; 0 with a linear head is plain CTC"""
    blank_penalty: float = Field(1.0, ge=0, le=20)
    """Nats subtracted from the blank: from its bias at the start, and whenever the model is decoded. Raise it if clips
    have no sign (blank collapse), lower it if signs are found twice"""
    insertion_penalty: float = Field(1.0, ge=0, le=20)
    """The cost of each sign in nats when continuous signing is decoded. Raise it if signs are found twice, lower it if
    clips have no sign"""
    repetition_penalty: float = Field(5.0, ge=0, le=20)
    """The further cost in nats of a sign that follows itself when continuous signing is decoded, since many signs
    repeat their movement. Lower it where people do sign one twice in a row"""
    signing: bool = False
    """Train for continuous signing: join clips without the rests between signs, with the hands moving from one sign to
    the next. Fewer errors in streams with --hidden-dim 48 and more; smaller models lose accuracy on single clips"""
    recombination: float = Field(0.0, ge=0, le=100)
    """The weight of a loss on made-up signs, which have the handshape of one clip with the place and movement of
    another: the model learns that they show none of its signs. It then checks every part of a sign, and doubts signs
    that it does not know. 0 makes none. A training takes nearly twice as long"""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Stop as soon as this share of val clips is recognised; unset trains to the end"""
    train_past_target: bool = False
    """Continue to the last epoch when the target is met"""
    seed: int = Field(0, ge=0, lt=2**63)
    """The seed of the initial weights, the order of clips and the augmentation"""
    seeds: int = Field(1, ge=1, le=100)
    """Train this many members, with the seeds --seed, --seed + 1 and so on. Three and more show how much of a result is
    chance, and together they recognise better than one"""
    folds: int = Field(0, ge=0, le=20)
    """Measure the recipe by cross-validation over train and val: hold out each of this many groups of signers once, and
    publish nothing. 0 trains on train and holds out val"""
    publish: Literal["ensemble", "first", "none"] = "ensemble"
    """What is published: all members as one model, the first member, or nothing"""
    jobs: int = Field(1, ge=1, le=64)
    """Members that are trained at the same time, each in its own process with its own --threads. One per core is
    best"""
    max_gpu_temperature: float = Field(70.0, ge=0, le=100)
    """Pause between batches while the GPU is hotter than this many degrees Celsius, 40 to 100; 0 never pauses. Raise it
    if training pauses often on a GPU that may be hotter"""

    @classmethod
    def stored(cls, stored: bytes | Mapping[str, Any]) -> "TrainConfig":
        """A configuration from a store, as JSON or as values.

        A field that is missing did not exist when it was written. Such a field gets its default, not the value of the
        preset. Fields of removed features are dropped.

        Raises:
            ValidationError: it has a value or a field that this version of Signet does not know.
        """
        context = {_STORED: True}
        if isinstance(stored, bytes):
            return cls.model_validate_json(stored, context=context)
        return cls.model_validate(stored, context=context)

    @property
    def start(self) -> float:
        """The share of the epochs before CTC is used; 0 in pre-training, which never uses it."""
        if self.pretrain:
            return 0.0
        if self.flat_start is not None:
            return self.flat_start
        return _FLAT_START if self.head == "linear" else _SHORT_START

    @property
    def decoder(self) -> ContinuousDecoder:
        """The decoder for continuous signing."""
        return ContinuousDecoder(
            blank_penalty=self.blank_penalty,
            insertion_penalty=self.insertion_penalty,
            repetition_penalty=self.repetition_penalty,
            undoubted=True,
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The feature groups that are computed."""
        left_out = self.without.split(",")
        return tuple(group for group in GROUPS if group not in left_out)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(values, dict):
            return values
        if _is_stored(info):
            return {name: value for name, value in values.items() if name not in REMOVED_FIELDS}
        preset = PRESETS.get(str(values.get("preset")))
        return {**preset.values, **values} if preset else values

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, name: str) -> str:
        if name and name not in PRESETS:
            raise PydanticCustomError("unknown_preset", "There is no such preset. There are " + ", ".join(PRESETS))
        return name

    @field_validator("corpus", "model_name")
    @classmethod
    def _check_name(cls, name: str, info: ValidationInfo) -> str:
        if not _is_stored(info) and not keys.is_name(name):
            raise PydanticCustomError("no_name", f"There can be no such name: {keys.NAME_RULE}")
        return name

    @field_validator("start_from")
    @classmethod
    def _check_source(cls, name: str, info: ValidationInfo) -> str:
        source, at, version = name.partition("@")
        if name and not _is_stored(info) and not (keys.is_name(source) and (keys.is_name(version) or not at)):
            raise PydanticCustomError("no_name", f"Give run, name, name@alias or name@version: {keys.NAME_RULE}")
        return name

    @field_validator("folds")
    @classmethod
    def _check_folds(cls, folds: int) -> int:
        if folds == 1:
            raise PydanticCustomError("one_fold", "One fold holds out everything. Give 0, or at least 2; 5 is usual")
        return folds

    @field_validator("without")
    @classmethod
    def _check_groups(cls, names: str) -> str:
        left_out = [name.strip() for name in names.split(",") if name.strip()]
        if not set(left_out) <= set(GROUPS):
            raise PydanticCustomError("unknown_group", "There are " + ", ".join(GROUPS))
        if set(HAND_GROUPS) <= set(left_out):
            raise PydanticCustomError("no_group", "No group of the hands is left. Keep at least one of them")
        return ",".join(left_out)

    @model_validator(mode="after")
    def _check_recombination(self, info: ValidationInfo) -> "TrainConfig":
        kinds = {group in SHAPE_GROUPS for group in HAND_GROUPS if group in self.groups and group != "presence"}
        if self.recombination and len(kinds) < 2 and not _is_stored(info):
            raise PydanticCustomError(
                "nothing_to_recombine",
                "--recombination needs a hand's shape and its place or movement, and --without leaves one of them out",
            )
        return self

    @field_validator("max_gpu_temperature")
    @classmethod
    def _check_temperature(cls, limit: float) -> float:
        if 0 < limit < COOLEST_LIMIT:
            raise PydanticCustomError(
                "too_cool", f"No GPU in use is that cool. Give 0 to never pause, or at least {COOLEST_LIMIT:g}"
            )
        return limit

    @model_validator(mode="after")
    def _check_size(self, info: ValidationInfo) -> "TrainConfig":
        # Two directions of four gates. The input of a layer is at most as wide as both directions of the layer before.
        weights = 2 * 4 * self.hidden_dim * 3 * self.hidden_dim * self.num_layers * self.branches
        if not _is_stored(info) and weights > _MAX_LSTM_WEIGHTS:
            raise PydanticCustomError(
                "too_large",
                "A model with --hidden-dim {hidden}, --num-layers {layers} and --branches {branches} has about "
                "{weights} weights; at most {most} are allowed. Lower one of them",
                {
                    "hidden": self.hidden_dim,
                    "layers": self.num_layers,
                    "branches": self.branches,
                    "weights": weights,
                    "most": _MAX_LSTM_WEIGHTS,
                },
            )
        return self

    @model_validator(mode="after")
    def _check_folds_with_others(self, info: ValidationInfo) -> "TrainConfig":
        if _is_stored(info) or not self.folds:
            return self
        if self.start_from:
            raise PydanticCustomError(
                "start_with_folds",
                "--folds with --start-from would measure each fold on clips that the source may have been trained on. "
                "Leave one of them out",
            )
        stops_at_target = self.target_accuracy is not None and not self.train_past_target
        for flag, selects in (("--target-accuracy", stops_at_target), ("--patience", self.patience)):
            if selects:
                raise PydanticCustomError(
                    "selection_with_folds",
                    "--folds with {flag} would select each model by the clips that it is measured on. Leave one of "
                    "them out",
                    {"flag": flag},
                )
        return self

    @model_validator(mode="after")
    def _check_pretraining(self, info: ValidationInfo) -> "TrainConfig":
        if _is_stored(info) or not self.pretrain:
            return self
        for flag, given in (
            ("--folds", self.folds > 0),
            ("--target-accuracy", self.target_accuracy is not None),
            ("--train-past-target", self.train_past_target),
            ("--patience", self.patience),
            ("--publish", self.publish != "ensemble"),
        ):
            if given:
                raise PydanticCustomError(
                    "pretrain_alone",
                    "--pretrain with {flag} makes no sense: a pre-training recognises nothing and publishes nothing. "
                    "Leave one of them out",
                    {"flag": flag},
                )
        return self


def removed_settings(stored: bytes) -> list[str]:
    """The removed features that a stored configuration (JSON) uses, each as "name value"."""
    values = json.loads(stored)
    return [f"{name} {values[name]}" for name, off in REMOVED_FIELDS.items() if name in values and values[name] != off]


def _is_stored(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get(_STORED))
