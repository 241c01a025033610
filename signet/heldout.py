"""The predictions of a run's models for the clips that they were not trained on.

The trainer writes them at the end of a run; the evaluator and the analysis make their figures from them. A published
model can be asked again, but the models of cross-validation folds and of further seeds are not published.

The file is `runs/<run_id>/heldout.safetensors`. Its metadata key "signet" holds a JSON record (`_Header`). For member
i, in the order of the record, it has these tensors:

    i.labels        int32   [n]         classes 1..C
    i.scores        float32 [n, C]      log p([c] | x)
    i.frames        int32   [n]
    i.blank_ratio   float32 [n]
    i.continuous    int32   [sum of lengths]    the classes of all hypotheses, one hypothesis after the other
    i.continuous.lengths    int32 [n]
    i.greedy, i.greedy.lengths          the same of best-path decoding
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet.errors import DataLoss, InvalidInput, NotFound, quote
from signet.field_types import Gloss, Label, describe_first_fault
from signet.safetensors_header import read_metadata
from signet.store import ObjectStore, keys

OFFICIAL: Literal["official"] = "official"
CROSS_VALIDATION: Literal["cross-validation"] = "cross-validation"

Protocol = Literal["official", "cross-validation"]
Scalar = str | int | float | bool | None
Hypotheses = tuple[tuple[str, ...], ...]

_METADATA_KEY = "signet"


class GlossErrorCount(NamedTuple):
    """Edit errors on concatenated held-out clips, and the number of signs in these clips."""

    errors: int
    signs: int


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """The predictions of one trained model for its n held-out clips. All arrays are in the order of `clip_ids`."""

    fold: int  # the fold that was held out, 0..folds-1; 0 in the official protocol
    seed: int  # the seed that it was trained with
    clip_ids: tuple[str, ...]
    labels: npt.NDArray[np.int32]  # int32 [n]; classes 1..C, as `signet.datasets.snapshot.Dataset.label` gives them
    # float32 [n, C]; log p([c] | x), the exact CTC score of the hypothesis that the clip holds this gloss only, after
    # the blank penalty. Each row is exact up to a constant: readers must normalise it over c.
    scores: npt.NDArray[np.float32]
    continuous: Hypotheses  # the glosses that the run's one fixed continuous decoder finds in each clip
    greedy: Hypotheses  # the glosses that best-path decoding finds
    blank_ratio: npt.NDArray[np.float32]  # float32 [n]; share of a clip's frames whose best class is the blank
    frames: npt.NDArray[np.int32]  # int32 [n]; frames that the model saw
    gloss_errors: GlossErrorCount | None = None  # on concatenations of held-out clips; None if this was not measured


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """The predictions of all models of a run for their held-out clips."""

    run_id: str
    model_name: str  # the model that it trains
    dataset_name: str  # its snapshot, which knows the clips' signers and duplicates
    dataset_version: str  # the version of the snapshot
    protocol: Protocol  # "official" (trained on train, held out is val) or "cross-validation" (over train and val)
    folds: int  # of cross-validation; 0 in the official protocol
    vocabulary: tuple[str, ...]  # class c is vocabulary[c - 1]
    parameters: int  # of one member
    members: tuple[MemberPredictions, ...]  # the models. Members of one seed hold each clip at most once.
    config: dict[str, Scalar] = field(default_factory=dict)  # how the members were trained
    # What these clips were used to choose, such as "val" if a checkpoint was chosen by them; empty if nothing was. The
    # report says it.
    selected_on: str = ""
    # The settings of the continuous decoder, and how they were fixed.
    decoder: dict[str, Scalar] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(sorted({member.seed for member in self.members}))


class _MemberHeader(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)

    fold: int
    seed: int
    clip_ids: tuple[Label, ...]
    gloss_errors: tuple[int, int] | None


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)

    schema_version: Literal["signet.heldout/1"] = Field(default="signet.heldout/1", alias="schema")
    run_id: Label
    model_name: Label
    dataset_name: Label
    dataset_version: Label
    protocol: Protocol
    folds: int
    vocabulary: tuple[Gloss, ...]
    parameters: int
    config: dict[str, Scalar]
    selected_on: str
    decoder: dict[str, Scalar]
    members: tuple[_MemberHeader, ...]


def dump_predictions(predictions: HeldOutPredictions) -> bytes:
    """Encode the predictions of a run. Equal predictions give equal bytes.

    Raises:
        InvalidInput: their parts do not fit together.
    """
    _check(predictions)
    classes = {gloss: index + 1 for index, gloss in enumerate(predictions.vocabulary)}
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    for index, member in enumerate(predictions.members):
        tensors[f"{index}.labels"] = member.labels.astype(np.int32)
        tensors[f"{index}.scores"] = np.ascontiguousarray(member.scores, np.float32)
        tensors[f"{index}.frames"] = member.frames.astype(np.int32)
        tensors[f"{index}.blank_ratio"] = member.blank_ratio.astype(np.float32)
        for name, hypotheses in (("continuous", member.continuous), ("greedy", member.greedy)):
            signs = [classes[gloss] for hypothesis in hypotheses for gloss in hypothesis]
            tensors[f"{index}.{name}"] = np.array(signs, np.int32)
            tensors[f"{index}.{name}.lengths"] = np.array([len(hypothesis) for hypothesis in hypotheses], np.int32)
    header = _Header.model_validate(predictions).model_dump(by_alias=True)
    record = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return save_safetensors(tensors, {_METADATA_KEY: record})


def load_predictions(data: bytes, name: str = "held-out predictions") -> HeldOutPredictions:
    """Decode and check the predictions of a run; `name` is the name of the input in an error.

    Raises:
        DataLoss: `dump_predictions` did not make these bytes.
    """
    try:
        header = _Header.model_validate_json(read_metadata(data, _METADATA_KEY) or "")
        tensors = load_safetensors(data)
        predictions = HeldOutPredictions(
            **header.model_dump(exclude={"schema_version", "members"}),
            members=tuple(
                MemberPredictions(
                    fold=member.fold,
                    seed=member.seed,
                    clip_ids=member.clip_ids,
                    labels=tensors[f"{index}.labels"],
                    scores=tensors[f"{index}.scores"],
                    continuous=_hypotheses(tensors, f"{index}.continuous", header.vocabulary),
                    greedy=_hypotheses(tensors, f"{index}.greedy", header.vocabulary),
                    blank_ratio=tensors[f"{index}.blank_ratio"],
                    frames=tensors[f"{index}.frames"],
                    gloss_errors=GlossErrorCount(*member.gloss_errors) if member.gloss_errors else None,
                )
                for index, member in enumerate(header.members)
            ),
        )
        _check(predictions)
    except ValidationError as error:
        raise _damaged(name, describe_first_fault(error)) from error
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error
    except InvalidInput as error:
        raise _damaged(name, str(error)) from error
    return predictions


def write_predictions(store: ObjectStore, predictions: HeldOutPredictions) -> None:
    """Store the predictions with their run. They replace older ones: the same run gives the same predictions."""
    store.put(keys.held_out(predictions.run_id), dump_predictions(predictions))


def read_predictions(store: ObjectStore, run_id: str) -> HeldOutPredictions:
    """Read the predictions that a run has stored.

    Raises:
        NotFound: the run has stored none, or there is no such run.
        DataLoss: what it has stored is damaged.
    """
    key = keys.held_out(run_id)
    try:
        data = store.get(key)
    except NotFound:
        raise NotFound(
            f"{store.url}: run {quote(run_id)} has left no held-out predictions. A run writes them at its end: let "
            "`signet train` finish it; `signet runs` lists the runs."
        ) from None
    return load_predictions(data, f"{store.url}/{key}")


def _hypotheses(tensors: dict[str, npt.NDArray[np.generic]], name: str, vocabulary: Sequence[str]) -> Hypotheses:
    classes, lengths = tensors[name].tolist(), tensors[f"{name}.lengths"].tolist()
    if sum(lengths) != len(classes) or any(not 1 <= c <= len(vocabulary) for c in classes):
        raise ValueError(f"{name}: its lengths or classes do not fit")
    ends = np.cumsum(lengths, dtype=int).tolist()
    glosses = [vocabulary[c - 1] for c in classes]
    return tuple(tuple(glosses[end - length : end]) for end, length in zip(ends, lengths, strict=True))


def _check(predictions: HeldOutPredictions) -> None:
    """Refuse parts that do not fit together; the error names the first fault."""

    def refused(fault: str) -> InvalidInput:
        return InvalidInput(f"held-out predictions of run {quote(predictions.run_id)}: {fault}.")

    glosses = len(predictions.vocabulary)
    known = set(predictions.vocabulary)
    if not predictions.members:
        raise refused("it has no members")
    if not glosses or len(known) != glosses:
        raise refused("its vocabulary is empty or names a gloss twice")
    if (predictions.protocol == CROSS_VALIDATION) != (predictions.folds >= 2):
        raise refused(f"{predictions.folds} folds do not go with the protocol {predictions.protocol!r}")
    clips_of_seed: dict[int, set[str]] = {}
    for member in predictions.members:
        which = f"the member of fold {member.fold} and seed {member.seed}"
        n = len(member.clip_ids)
        shapes = {
            "labels": (member.labels.shape, (n,)),
            "scores": (member.scores.shape, (n, glosses)),
            "blank_ratio": (member.blank_ratio.shape, (n,)),
            "frames": (member.frames.shape, (n,)),
            "continuous": ((len(member.continuous),), (n,)),
            "greedy": ((len(member.greedy),), (n,)),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise refused(f"{which} has {name} of shape {list(shape)} instead of {list(expected)}")
        if not n:
            raise refused(f"{which} holds no clip")
        if member.labels.min() < 1 or member.labels.max() > glosses:
            raise refused(f"{which} has labels outside 1..{glosses}")
        if not np.isfinite(member.scores).all():
            raise refused(f"{which} has scores that are not finite")
        if any(gloss not in known for hypothesis in (*member.continuous, *member.greedy) for gloss in hypothesis):
            raise refused(f"{which} has hypotheses with glosses that are not in the vocabulary")
        seen = clips_of_seed.setdefault(member.seed, set())
        if len(set(member.clip_ids)) < n or seen & set(member.clip_ids):
            raise refused(f"{which} holds a clip twice, or one that another fold of this seed holds")
        seen.update(member.clip_ids)


def _damaged(name: str, fault: str) -> DataLoss:
    return DataLoss(
        f"{name}: not held-out predictions ({fault}). Delete it and let `signet train` finish the run again."
    )
