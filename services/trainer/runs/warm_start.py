"""A warm start: a run begins with the weights of another run or of a published model (`--start-from`).

The encoder is taken over. Unless the source was pre-trained, the timing of its head and the directions of the glosses
that both vocabularies share are taken over too. A source that was trained on a clip which the new run holds out is
refused, because the figures of the run would not measure unseen clips.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WEIGHTS, load_first_member
from services.trainer.model.masked import MaskedModel
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.checkpoints import WEIGHTS as MEMBER_WEIGHTS
from services.trainer.runs.checkpoints import member_file_name
from services.trainer.runs.progress import load_progress
from signet import registry
from signet.datasets.groups import with_duplicates
from signet.datasets.snapshot import TRAINING_SPLITS, VAL, DatasetClip, Manifest, read_snapshot_manifest
from signet.errors import DataLoss, InvalidInput, InvalidSetting, NotFound, NotReady
from signet.store import ObjectStore, keys

# Settings that must agree, or the weights do not fit. With a trained head, those of the head must agree too.
_ENCODER_SETTINGS = ("branches", "hidden_dim", "hand_dim", "num_layers", "without")
_HEAD_SETTINGS = ("head", "sign_dim")

# A tensor that every model of this layout has. Models of earlier layouts lack it.
_LAYOUT_TENSOR = "encoders.0.forwards.0.0.weight_ih_l0"

# The tensors of a head. The group names those that have a row for each gloss.
_HEAD_TENSOR = re.compile(r"encoders\.\d+\.head\.((signs|logits)\.)?")

# Mean and deviation of the features. They stay those of the new run's clips: in hands that were imported without a
# body the deviation of elbow features is zero, and any real elbow would be out of bounds.
_STANDARDISATION_TENSOR = re.compile(r"encoders\.\d+\.(mean|deviation)")


@dataclass(frozen=True)
class SourceWeights:
    """The weights that a run starts from, and what they were trained on."""

    name: str  # the value of --start-from, with a model's version in place of an alias
    config: TrainConfig  # of the source
    vocabulary: tuple[str, ...]  # of the source; class c is vocabulary[c - 1]
    data: bytes  # a safetensors file, from `services.trainer.model.build.serialise_weights`
    # The clips that the source and its own sources were trained on or selected by, and the groups of clip ids that
    # their snapshots know to show the same recording.
    seen_clips: tuple[DatasetClip, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()

    def initialise(self, model: SignModel, vocabulary: Sequence[str]) -> None:
        """Copy the weights into a new model of the same sizes; see `transfer_tensors`."""
        with_head = not self.config.pretrain and not isinstance(model, MaskedModel)
        own = model.state_dict()
        taken = transfer_tensors(self.load_tensors(), own, self.vocabulary, vocabulary, with_head=with_head)
        model.load_state_dict({**own, **dict(taken)})

    def load_tensors(self) -> dict[str, Tensor]:
        """The tensors of the source's first member, by name.

        Raises:
            DataLoss: they cannot be read.
            NotReady: another version of Signet wrote them, with another layout.
        """
        try:
            tensors = load_first_member(self.data)
        except SafetensorError as error:
            raise DataLoss(f"--start-from {self.name}: its weights cannot be read ({error}).") from error
        if _LAYOUT_TENSOR not in tensors:
            raise _other_version(self.name)
        return tensors

    def check(self, config: TrainConfig, held_out: Sequence[DatasetClip], duplicates: Iterable[Sequence[str]]) -> None:
        """Refuse a run that these weights do not fit, or that holds out a clip which they have seen.

        `duplicates` are the groups of clip ids that the run's snapshot knows to show the same recording.

        Raises:
            InvalidSetting: the sizes of the two models differ; the message names the flag.
            InvalidInput: the source has seen a held-out clip; the message names one.
        """
        with_head = not self.config.pretrain and not config.pretrain
        for name in (*_ENCODER_SETTINGS, *(_HEAD_SETTINGS if with_head else ())):
            given, own = getattr(self.config, name), getattr(config, name)
            if given != own:
                flag = f"--{name.replace('_', '-')}"
                raise InvalidSetting(
                    f"--start-from {self.name} was trained with {flag} {given!r}, and this run has {own!r}: the "
                    f"weights do not fit. Give {flag} {given!r}, or start from another model."
                )
        seen = _find_seen(self.seen_clips, held_out, (*self.duplicates, *duplicates))
        if seen:
            raise InvalidInput(
                f"--start-from {self.name} was trained on {len(seen)} of the {len(held_out)} clips that this run holds "
                f"out, such as {min(seen)}, or was selected by them. The run's figures would not measure unseen clips. "
                "Start from a model that was trained on other clips, without --patience and --target-accuracy."
            )


def _find_seen(
    seen_clips: Sequence[DatasetClip], held_out: Sequence[DatasetClip], duplicates: Sequence[Sequence[str]]
) -> frozenset[str]:
    """The ids of the held-out clips whose recording is among the seen clips: by id, by video hash, as a duplicate."""
    videos = {clip.source_sha256 for clip in seen_clips} - {""}
    ids = {clip.clip_id for clip in seen_clips}
    ids |= {clip.clip_id for clip in held_out if clip.source_sha256 in videos}
    return with_duplicates(ids, duplicates) & {clip.clip_id for clip in held_out}


def transfer_tensors(
    source: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source_glosses: Sequence[str],
    own_glosses: Sequence[str],
    *,
    with_head: bool,
) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a new model takes over from a source, by name.

    These are the projection of the hands and the LSTMs. With the head, also the timing and the rows of the glosses that
    both vocabularies share. The standardisation of the features is not taken over. The tensors of both models must have
    the same sizes, apart from the number of glosses.
    """
    source_index = {gloss: index for index, gloss in enumerate(source_glosses)}
    shared = [(source_index[gloss], index) for index, gloss in enumerate(own_glosses) if gloss in source_index]
    source_rows = torch.tensor([row for row, _ in shared], dtype=torch.long)
    own_rows = torch.tensor([row for _, row in shared], dtype=torch.long)
    for name, tensor in own.items():
        of_head = _HEAD_TENSOR.match(name)
        if (
            not name.startswith("encoders.")
            or name not in source
            or _STANDARDISATION_TENSOR.match(name)
            or (of_head and not with_head)
        ):
            continue
        given = source[name].to(tensor)
        if of_head and of_head[2]:
            # Tensors are [branches, rows, ...]. Row 0 of "logits" is the blank, which all vocabularies share.
            blank = int(of_head[2] == "logits")
            merged = tensor.clone()
            merged[:, :blank] = given[:, :blank]
            merged[:, own_rows + blank] = given[:, source_rows + blank]
            given = merged
        yield name, given


def resolve_start_from(store: ObjectStore, name: str) -> str:
    """The value of --start-from with a model's version in place of an alias; "" stays "".

    Raises:
        NotFound: there is no such run or model.
    """
    if not name or ("@" not in name and store.stat(keys.run(name, "config.json"))):
        return name
    model, _, version = name.partition("@")
    try:
        return f"{model}@{registry.resolve(store, model, version or registry.LATEST)}"
    except NotFound as error:
        raise NotFound(
            f"--start-from {name}: {store.url} has no such run and no such model. `signet runs` lists the runs; a "
            "model is named as name, name@alias or name@version."
        ) from error


def load_source_weights(store: ObjectStore, name: str) -> SourceWeights | None:
    """The weights that a run starts from, by a name from `resolve_start_from`; None for "".

    Raises:
        NotFound: there is no such run or model.
        NotReady: it is a run whose first member is not trained, or of another version of Signet.
        InvalidInput: it is a cross-validation.
        DataLoss: its weights are damaged.
    """
    if not name:
        return None
    config, manifest, selected_on, data = _load_model(store, name) if "@" in name else _load_run(store, name)
    if config.folds:
        raise InvalidInput(
            f"--start-from {name} is a cross-validation: none of its models was trained on all training clips. Train "
            "it again without --folds, and start from that run."
        )
    earlier = load_source_weights(store, config.start_from)
    seen = [clip for clip in manifest.clips if clip.split in TRAINING_SPLITS or (selected_on and clip.split == VAL)]
    return SourceWeights(
        name,
        config,
        manifest.vocabulary,
        data,
        seen_clips=(*seen, *(earlier.seen_clips if earlier else ())),
        duplicates=(*manifest.audit.all_duplicates, *(earlier.duplicates if earlier else ())),
    )


def _load_model(store: ObjectStore, name: str) -> tuple[TrainConfig, Manifest, str, bytes]:
    """A published model: its configuration, its snapshot, the split that it was selected on, and its weights."""
    model, _, version = name.partition("@")
    card = registry.read_card(store, model, version)
    manifest = read_snapshot_manifest(store, card.dataset_name, card.dataset_version)
    config = _read_config(card.config, f"model {name}")
    return config, manifest, card.selected_on, registry.read_file(store, card, WEIGHTS)


def _load_run(store: ObjectStore, run_id: str) -> tuple[TrainConfig, Manifest, str, bytes]:
    """The first member of a run: its configuration, its snapshot, the split that it was selected on, and its weights.

    A pre-training that was stopped has left the weights of its last epoch, which count too.
    """
    config = _read_config(store.get(keys.run(run_id, "config.json")), f"run {run_id}")
    progress = load_progress(store, run_id)
    ended = store.stat(keys.run(run_id, "result.json")) is not None
    if progress is not None and (progress.members[0].done or ended):
        member = progress.members[0]
        key = keys.run(run_id, member_file_name(len(progress.members), (member.fold, member.seed), MEMBER_WEIGHTS))
        if store.stat(key):
            data = store.get(key)
            if member.done and hashlib.sha256(data).hexdigest() != member.sha256:
                raise DataLoss(f"{store.url}/{key} is damaged: it has another sha256. Start from another run.")
            manifest = read_snapshot_manifest(store, progress.dataset_name, progress.dataset_version)
            return config, manifest, member.selected_on, data
    way_out = f"Finish it first: `signet train --resume {run_id}`."
    if ended:
        published = "" if config.pretrain else ", or name the model that it published"
        way_out = f"The run was stopped: train it again{published}."
    raise NotReady(
        f"--start-from {run_id}: the run has no weights, because its first member was not trained to its end. {way_out}"
    )


def _read_config(stored: bytes | Mapping[str, object], owner: str) -> TrainConfig:
    try:
        return TrainConfig.stored(stored)
    except ValidationError as error:
        raise _other_version(owner) from error


def _other_version(owner: str) -> NotReady:
    return NotReady(f"--start-from: {owner} was made by another version of Signet, whose models have another layout.")
