"""The complete state of a training as one safetensors file, from which another process continues bit for bit.

The metadata key "signet" holds a JSON record (`_Record`). The tensors are

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

from services.trainer.config.setting_effects import WITHOUT_EFFECT_ON_EPOCHS
from services.trainer.config.train_config import REMOVED_FIELDS, TrainConfig
from services.trainer.features.groups import FEATURE_VERSION
from signet.datasets.snapshot import Dataset
from signet.errors import DataLoss, InvalidInput
from signet.safetensors_header import read_metadata

SCHEMA = "signet.state/3"

_METADATA_KEY = "signet"

# Fields of the progress in older states, which belong to removed features.
_REMOVED_PROGRESS = frozenset({"plateau", "watch", "kept"})


class _StateModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingIdentity(_StateModel):
    """The settings, clips and device of a training. A state can continue a training with an equal identity only."""

    config: dict[str, str | int | float | bool | None]
    dataset_name: str
    dataset_version: str
    train_clips: int
    # Of the ids of the training clips, in their order.
    train_sha256: str
    held_out_clips: int
    held_out_sha256: str
    device: str
    feature_version: int = 1

    @classmethod
    def of(
        cls, config: TrainConfig, dataset: Dataset, train: Sequence[str], held_out: Sequence[str], device_type: str
    ) -> "TrainingIdentity":
        """The identity of a training with these settings, on clips with these ids."""
        return cls(
            config={name: value for name, value in config.model_dump().items() if name not in WITHOUT_EFFECT_ON_EPOCHS},
            dataset_name=dataset.manifest.name,
            dataset_version=dataset.manifest.version,
            train_clips=len(train),
            train_sha256=_hash_ids(train),
            held_out_clips=len(held_out),
            held_out_sha256=_hash_ids(held_out),
            device=device_type,
            feature_version=FEATURE_VERSION,
        )

    def differences(self, other: "TrainingIdentity") -> list[str]:
        """In what the other training differs, such as "lr 0.008 instead of 0.004"."""
        own, others = _comparable(self.config), _comparable(other.config)
        differences = [
            f"{name} {others.get(name)} instead of {own.get(name)}"
            for name in sorted(own.keys() | others.keys())
            if own.get(name) != others.get(name)
        ]
        if (self.dataset_name, self.dataset_version) != (other.dataset_name, other.dataset_version):
            differences.append(
                f"dataset {other.dataset_name}/{other.dataset_version} instead of "
                f"{self.dataset_name}/{self.dataset_version}"
            )
        if (self.train_clips, self.train_sha256) != (other.train_clips, other.train_sha256):
            differences.append(f"other training clips ({other.train_clips} instead of {self.train_clips})")
        if (self.held_out_clips, self.held_out_sha256) != (other.held_out_clips, other.held_out_sha256):
            differences.append(f"other held-out clips ({other.held_out_clips} instead of {self.held_out_clips})")
        if self.device != other.device:
            differences.append(f"device {other.device} instead of {self.device}")
        if self.feature_version != other.feature_version:
            differences.append(f"features of version {other.feature_version} instead of {self.feature_version}")
        return differences


class LoopProgress(_StateModel):
    """How far a training is, as far as its tensors do not say it."""

    epoch: int = 0  # the number of epochs trained
    steps: int = 0  # the number of optimiser steps that the schedule has counted
    most_correct: int = -1  # the largest number of val clips that an epoch recognised; -1 before the first
    best_epoch: int = 0  # the first epoch that recognised so many; 0 before the first
    ended: bool = False  # whether patience ended the training before its last planned epoch
    rate_factor: float = 1.0  # the factor of the learning rate; less than 1 after a loss that was not finite
    recoveries: int = 0  # how often a loss was not finite

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in _REMOVED_PROGRESS}


class _Record(_StateModel):
    schema_version: str = Field(alias="schema")
    identity: TrainingIdentity = Field(alias="subject")
    progress: LoopProgress
    tensors_sha256: str


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training between two epochs."""

    identity: TrainingIdentity
    progress: LoopProgress
    tensors: Mapping[str, Tensor]

    def dump(self) -> bytes:
        """Encode the state."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        record = _Record(
            schema=SCHEMA, subject=self.identity, progress=self.progress, tensors_sha256=_hash_tensors(tensors)
        )
        return save(tensors, {_METADATA_KEY: record.model_dump_json(by_alias=True)})


def load_state(data: bytes) -> TrainingState:
    """Decode what `TrainingState.dump` returned.

    Raises:
        DataLoss: it is damaged, or not a training state.
        InvalidInput: another version of Signet wrote it.
    """
    record = _read_record(data)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise _damaged(str(error)) from error
    if _hash_tensors(tensors) != record.tensors_sha256:
        raise _damaged("its tensors are not those that were written")
    return TrainingState(record.identity, record.progress, tensors)


def _read_record(data: bytes) -> _Record:
    try:
        text = read_metadata(data, _METADATA_KEY) or ""
        schema = json.loads(text)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged("its header cannot be read") from error
    if schema != SCHEMA:
        raise InvalidInput(
            f"a training state has schema {schema!r}, and this version of Signet reads {SCHEMA!r}. Start the run "
            "again, or continue with the version that wrote the state."
        )
    try:
        return _Record.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _damaged(f"its record has {error.error_count()} faults") from error


def _damaged(reason: str) -> DataLoss:
    return DataLoss(f"a training state is damaged: {reason}. Continue from an older one, or start the run again.")


def _comparable(config: Mapping[str, object]) -> Mapping[str, object]:
    """A stored configuration, with the defaults of newer fields and without removed fields that had no effect."""
    defaults = {
        name: field.default for name, field in TrainConfig.model_fields.items() if name not in WITHOUT_EFFECT_ON_EPOCHS
    }
    unused = {name for name, off in REMOVED_FIELDS.items() if config.get(name) == off}
    return defaults | {name: value for name, value in config.items() if name not in unused}


def _hash_ids(clip_ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(clip_ids).encode()).hexdigest()


def _hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
