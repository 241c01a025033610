"""What a run's models say of clips that they were not trained on: the trainer leaves it, the evaluator reports on it.

A published model can be asked again; the models of cross-validation and the further seeds of a run cannot, since they
are not published. So a run leaves what they said of their held-out clips, whole, and every figure of a report can be
counted from it: the trainer need not know the figures, nor the evaluator the training.

One safetensors file, `runs/<run_id>/heldout.safetensors`; under the metadata key "signet" a JSON record (`_Header`);
for member i, in the order of the record, the tensors

    i.labels        int32   [n]         classes 1..C
    i.scores        float32 [n, C]      log p([c] | x)
    i.frames        int32   [n]
    i.blank_ratio   float32 [n]
    i.continuous    int32   [sum of lengths]    classes of all hypotheses, one after the other
    i.continuous.lengths    int32 [n]
    i.greedy, i.greedy.lengths          the same of best-path decoding
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from signet.errors import DataLoss, InvalidInput, NotFound
from signet.store import ObjectStore, keys

SCHEMA = "signet.heldout/1"

OFFICIAL: Literal["official"] = "official"
CROSS_VALIDATION: Literal["cross-validation"] = "cross-validation"

Protocol = Literal["official", "cross-validation"]
Scalar = str | int | float | bool | None
Hypotheses = tuple[tuple[str, ...], ...]

_METADATA_KEY = "signet"
_HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True)
class GlossErrorCount:
    """Continuous recognition of concatenated held-out clips: edit errors in all, and signs that were there in all."""

    errors: int
    signs: int


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """One trained model on its n held-out clips. All arrays and tuples are in the order of `clip_ids`.

    Attributes:
        fold: the fold that was held out, 0..folds-1; 0 in the official protocol.
        seed: the seed that it was trained with.
        clip_ids: the clips.
        labels: int32 [n]; classes 1..C, as `signet.datasets.snapshot.Dataset.label` gives them.
        scores: float32 [n, C]; log p([c] | x), the exact CTC score of the hypothesis that the clip is this gloss alone,
            with the model's blank penalty taken off, up to a constant for each clip: readers normalise it over c, so
            that it may be normalised or not.
        continuous: what the run's one fixed continuous decoder reads in each clip.
        greedy: what best-path decoding reads.
        blank_ratio: float32 [n]; share of a clip's frames whose best class is the blank.
        frames: int32 [n]; frames that the model saw.
        gloss_errors: on concatenations of held-out clips, if that was measured.
    """

    fold: int
    seed: int
    clip_ids: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    continuous: Hypotheses
    greedy: Hypotheses
    blank_ratio: npt.NDArray[np.float32]
    frames: npt.NDArray[np.int32]
    gloss_errors: GlossErrorCount | None = None


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """What all models of a run say of their held-out clips.

    Attributes:
        run_id: the run.
        model_name: the model that it trains.
        dataset_name: its snapshot, which knows the clips' signers and twins.
        dataset_version: and its version.
        protocol: "official" (trained on train, held out is val) or "cross-validation" (over train and val).
        folds: of cross-validation; 0 in the official protocol.
        vocabulary: class c is vocabulary[c - 1].
        parameters: of one member.
        config: how the members were trained.
        selected_on: what these clips decided, in words, such as "val" where a checkpoint was chosen by them; empty if
            nothing was. The report says it.
        decoder: the settings of the continuous decoder, and how they were fixed.
        members: the models. Members of one seed hold each clip at most once.
    """

    run_id: str
    model_name: str
    dataset_name: str
    dataset_version: str
    protocol: Protocol
    folds: int
    vocabulary: tuple[str, ...]
    parameters: int
    members: tuple[MemberPredictions, ...]
    config: dict[str, Scalar] = field(default_factory=dict)
    selected_on: str = ""
    decoder: dict[str, Scalar] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(sorted({member.seed for member in self.members}))


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class _MemberHeader(_Model):
    fold: int
    seed: int
    clip_ids: tuple[str, ...]
    gloss_errors: tuple[int, int] | None


class _Header(_Model):
    schema_version: Literal["signet.heldout/1"] = Field(default="signet.heldout/1", alias="schema")
    run_id: str
    model_name: str
    dataset_name: str
    dataset_version: str
    protocol: Protocol
    folds: int
    vocabulary: tuple[str, ...]
    parameters: int
    config: dict[str, Scalar]
    selected_on: str
    decoder: dict[str, Scalar]
    members: tuple[_MemberHeader, ...]


def dump_predictions(heldout: HeldOutPredictions) -> bytes:
    """Encode. Equal contents give equal bytes.

    Raises:
        InvalidInput: its parts do not fit together.
    """
    _check(heldout)
    header = _Header(
        run_id=heldout.run_id,
        model_name=heldout.model_name,
        dataset_name=heldout.dataset_name,
        dataset_version=heldout.dataset_version,
        protocol=heldout.protocol,
        folds=heldout.folds,
        vocabulary=heldout.vocabulary,
        parameters=heldout.parameters,
        config=heldout.config,
        selected_on=heldout.selected_on,
        decoder=heldout.decoder,
        members=tuple(
            _MemberHeader(
                fold=member.fold,
                seed=member.seed,
                clip_ids=member.clip_ids,
                gloss_errors=(member.gloss_errors.errors, member.gloss_errors.signs) if member.gloss_errors else None,
            )
            for member in heldout.members
        ),
    )
    classes = {gloss: index + 1 for index, gloss in enumerate(heldout.vocabulary)}
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    for index, member in enumerate(heldout.members):
        tensors[f"{index}.labels"] = member.labels.astype(np.int32)
        tensors[f"{index}.scores"] = np.ascontiguousarray(member.scores, np.float32)
        tensors[f"{index}.frames"] = member.frames.astype(np.int32)
        tensors[f"{index}.blank_ratio"] = member.blank_ratio.astype(np.float32)
        for name, hypotheses in (("continuous", member.continuous), ("greedy", member.greedy)):
            tensors[f"{index}.{name}"] = np.array([classes[gloss] for one in hypotheses for gloss in one], np.int32)
            tensors[f"{index}.{name}.lengths"] = np.array([len(one) for one in hypotheses], np.int32)
    record = json.dumps(header.model_dump(by_alias=True), sort_keys=True, separators=(",", ":"))
    return save_safetensors(tensors, {_METADATA_KEY: record})


def load_predictions(data: bytes, name: str = "held-out predictions") -> HeldOutPredictions:
    """Decode and check.

    Args:
        data: what `dump_predictions` made.
        name: what to call the input in an error.

    Raises:
        DataLoss: the bytes are not that.
    """
    try:
        length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
        head = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
        header = _Header.model_validate_json(head["__metadata__"][_METADATA_KEY])
        tensors = load_safetensors(data)
        heldout = HeldOutPredictions(
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
        _check(heldout)
    except ValidationError as error:
        fault = error.errors()[0]
        raise _damaged(name, f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error
    except InvalidInput as error:
        raise _damaged(name, str(error)) from error
    return heldout


def write_predictions(store: ObjectStore, heldout: HeldOutPredictions) -> None:
    """Store it with its run; what a finished run left there is replaced, since the same run says the same."""
    store.put(keys.held_out(heldout.run_id), dump_predictions(heldout))


def read_predictions(store: ObjectStore, run_id: str) -> HeldOutPredictions:
    """What a run left.

    Raises:
        NotFound: it left nothing, or there is no such run.
        DataLoss: what it left is damaged.
    """
    key = keys.held_out(run_id)
    try:
        data = store.get(key)
    except NotFound:
        raise NotFound(
            f"{store.url}: run {run_id!r} has left no held-out predictions. A run writes them at its end: let "
            "`signet train` finish it; `signet runs` lists them."
        ) from None
    return load_predictions(data, f"{store.url}/{key}")


def _hypotheses(tensors: dict[str, npt.NDArray[np.generic]], name: str, vocabulary: Sequence[str]) -> Hypotheses:
    classes, lengths = tensors[name].tolist(), tensors[f"{name}.lengths"].tolist()
    if sum(lengths) != len(classes) or any(not 1 <= c <= len(vocabulary) for c in classes):
        raise ValueError(f"{name}: its lengths or classes do not fit")
    ends = np.cumsum(lengths, dtype=int).tolist()
    glosses = [vocabulary[c - 1] for c in classes]
    return tuple(tuple(glosses[end - length : end]) for end, length in zip(ends, lengths, strict=True))


def _check(heldout: HeldOutPredictions) -> None:
    """Refuse parts that do not fit together, naming the first fault."""
    glosses = len(heldout.vocabulary)
    known = set(heldout.vocabulary)
    if not heldout.members:
        raise _refused(heldout, "it has no members")
    if not glosses or len(known) != glosses:
        raise _refused(heldout, "its vocabulary is empty or names a gloss twice")
    if (heldout.protocol == CROSS_VALIDATION) != (heldout.folds >= 2):
        raise _refused(heldout, f"{heldout.folds} folds do not go with the protocol {heldout.protocol!r}")
    held: dict[int, set[str]] = {}
    for member in heldout.members:
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
        for name, (found, due) in shapes.items():
            if found != due:
                raise _refused(heldout, f"{which} has {name} of shape {list(found)}; {list(due)} is due")
        if not n:
            raise _refused(heldout, f"{which} holds no clip")
        if member.labels.min() < 1 or member.labels.max() > glosses:
            raise _refused(heldout, f"{which} has labels outside 1..{glosses}")
        if not np.isfinite(member.scores).all():
            raise _refused(heldout, f"{which} has scores that are not finite")
        if any(gloss not in known for one in (*member.continuous, *member.greedy) for gloss in one):
            raise _refused(heldout, f"{which} reads glosses that are not in the vocabulary")
        before = held.setdefault(member.seed, set())
        if len(set(member.clip_ids)) < n or before & set(member.clip_ids):
            raise _refused(heldout, f"{which} holds a clip twice, or one that another fold of this seed holds")
        before.update(member.clip_ids)


def _refused(heldout: HeldOutPredictions, fault: str) -> InvalidInput:
    return InvalidInput(f"held-out predictions of run {heldout.run_id!r}: {fault}.")


def _damaged(name: str, fault: str) -> DataLoss:
    return DataLoss(
        f"{name}: not held-out predictions ({fault}). Delete it and let `signet train` finish the run again."
    )
