"""A training's whole state as one safetensors file: with it another process goes on as if nothing had happened.

Under the metadata key "signet" stands a JSON record (`Record`); the tensors are

    model.<name>            weights and buffers as they are trained
    average.<name>          their moving average
    optimizer.<i>.<name>    moments of the i-th parameter
    sampler                 uint8, the generator of order and augmentation
    randomness.<name>       uint8, the global generators, from which dropout draws
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from services.trainer.config.train_config import REMOVED_FIELDS, TrainConfig
from signet.datasets.snapshot import Dataset, DatasetClip
from signet.errors import DataLoss, InvalidInput

SCHEMA = "signet.state/3"

_METADATA_KEY = "signet"
_HEADER_LENGTH_BYTES = 8

# What a continued training may be told otherwise: where it runs, when it ends, and what becomes of it.
_FREE = frozenset(
    {
        "device", "model_name", "preset", "publish", "seeds", "folds", "jobs", "max_gpu_temperature", "target_accuracy",
        "train_past_target", "patience",
    }
)  # fmt: skip


# Equal to no value of a configuration.
_ABSENT = object()


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(_Model):
    """What a state is a state of: equal subjects can go on from one another's states."""

    config: dict[str, str | int | float | bool | None]
    dataset_name: str
    dataset_version: str
    train_clips: int
    # Of the ids of the training clips, in their order.
    train_sha256: str
    held_out_clips: int
    held_out_sha256: str
    device: str

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        dataset: Dataset,
        train: Sequence[DatasetClip],
        held_out: Sequence[DatasetClip],
        device_type: str,
    ) -> "Subject":
        """That of a training with these arguments."""
        return cls(
            config={name: value for name, value in config.model_dump().items() if name not in _FREE},
            dataset_name=dataset.manifest.name,
            dataset_version=dataset.manifest.version,
            train_clips=len(train),
            train_sha256=_of_ids(train),
            held_out_clips=len(held_out),
            held_out_sha256=_of_ids(held_out),
            device=device_type,
        )

    def differences(self, other: "Subject") -> list[str]:
        """In what the other one differs, for people: "lr 0.008 instead of 0.004"."""
        mine, theirs = _whole(self.config), _whole(other.config)
        found = [
            f"{name} {theirs.get(name)} instead of {mine.get(name)}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        if (self.dataset_name, self.dataset_version) != (other.dataset_name, other.dataset_version):
            found.append(
                f"dataset {other.dataset_name}/{other.dataset_version} instead of "
                f"{self.dataset_name}/{self.dataset_version}"
            )
        for what, here, there in (
            ("training", (self.train_clips, self.train_sha256), (other.train_clips, other.train_sha256)),
            ("held-out", (self.held_out_clips, self.held_out_sha256), (other.held_out_clips, other.held_out_sha256)),
        ):
            if here != there:
                found.append(f"other {what} clips ({there[0]} instead of {here[0]})")
        if self.device != other.device:
            found.append(f"device {other.device} instead of {self.device}")
        return found


# Fields of older states, which belong to features that were removed.
_REMOVED_PROGRESS = ("plateau", "watch", "kept")


class Progress(_Model):
    """How far a training is, and what it remembers beside its tensors.

    Attributes:
        epoch: epochs trained.
        steps: steps of the optimiser that the schedule has seen.
        most_correct: the most val clips that any epoch recognised; -1 before the first.
        best_epoch: which one that was; 0 before the first.
        ended: whether it ended before its last planned epoch, and the val clips said so.
        rate_factor: by what the learning rate that was asked for is multiplied: less than 1 after a loss that was not
            finite.
        recoveries: how often a loss was not finite.
    """

    epoch: int = 0
    steps: int = 0
    most_correct: int = -1
    best_epoch: int = 0
    ended: bool = False
    rate_factor: float = 1.0
    recoveries: int = 0

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in _REMOVED_PROGRESS}


class _Record(_Model):
    schema_version: str = Field(alias="schema")
    subject: Subject
    progress: Progress
    tensors_sha256: str


@dataclass(frozen=True, eq=False)
class State:
    """A training between two epochs."""

    subject: Subject
    progress: Progress
    tensors: Mapping[str, Tensor]

    def dump(self) -> bytes:
        """Encode."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        record = _Record(
            schema=SCHEMA, subject=self.subject, progress=self.progress, tensors_sha256=_of_tensors(tensors)
        )
        return save(tensors, {_METADATA_KEY: record.model_dump_json(by_alias=True)})


def read(data: bytes) -> State:
    """Decode what `State.dump` made.

    Raises:
        DataLoss: it is damaged, or was never a state.
        InvalidInput: another version of Signet wrote it.
    """
    record = _record(data)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise _damaged(str(error)) from error
    if _of_tensors(tensors) != record.tensors_sha256:
        raise _damaged("its tensors are not those that were written")
    return State(record.subject, record.progress, tensors)


def _record(data: bytes) -> _Record:
    length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    try:
        header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
        text = header["__metadata__"][_METADATA_KEY]
        schema = json.loads(text)["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged("its header cannot be read") from error
    if schema != SCHEMA:
        raise InvalidInput(
            f"a training state of schema {schema!r}, and this version reads {SCHEMA!r}. Begin the run again, or go on "
            "with the version that wrote it."
        )
    try:
        return _Record.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _damaged(f"its record has {error.error_count()} faults") from error


def _damaged(why: str) -> DataLoss:
    return DataLoss(f"a training state is damaged: {why}. Go on from an older one, or begin the run again.")


def _whole(config: Mapping[str, object]) -> Mapping[str, object]:
    """A stored configuration, with the defaults of newer fields and without removed fields that had no effect."""
    stored = {name: value for name, value in config.items() if REMOVED_FIELDS.get(name, _ABSENT) != value}
    return {name: field.default for name, field in TrainConfig.model_fields.items() if name not in _FREE} | stored


def _of_ids(clips: Sequence[DatasetClip]) -> str:
    return hashlib.sha256("\n".join(clip.clip_id for clip in clips).encode()).hexdigest()


def _of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
