"""Where a run begins when it begins with what another one has learnt (`--start-from`), and what it may begin with.

A start is refused if it learnt from a clip that the new run judges by, or was selected by one: what was seen is not
held out. A start that was cross-validated itself has a member for each fold, and each fold begins with its own.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WEIGHTS, load_first_member
from services.trainer.model.masked import MaskedModel
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs.checkpoints import WEIGHTS as KEPT
from services.trainer.runs.checkpoints import member_file_name
from services.trainer.runs.members import Member, plan_of
from services.trainer.runs.progress import MemberProgress, load_progress
from signet import registry
from signet.datasets.groups import with_duplicates
from signet.datasets.snapshot import DatasetClip, Manifest, read_snapshot_manifest
from signet.errors import DataLoss, InvalidInput, InvalidSetting, NotFound, NotReady
from signet.store import ObjectStore, keys

# Fields in which both must agree, or the weights do not fit; the head too, where the start has one that was trained.
_SHAPES = ("branches", "hidden_dim", "hand_dim", "num_layers", "without")

_ENCODERS = "encoders."

# A tensor that every model has, and none did that was built otherwise.
_OF_THIS_LAYOUT = "encoders.0.forwards.0.0.weight_ih_l0"

# Which tensors of an encoder are its head's, and of these, which say something of each gloss.
_HEAD = re.compile(r"encoders\.\d+\.head\.((signs|logits)\.)?")

# What a model measures of its own training frames. A start's would say nothing of what its clips lacked: hands that
# were imported without a body have elbows of mean and deviation zero, beside which every elbow is out of bounds.
_MEASURED = re.compile(r"encoders\.\d+\.(mean|deviation)")


@dataclass(frozen=True)
class Taught:
    """One member of a start.

    Attributes:
        weights: as `services.trainer.model.build.serialise_weights` gives them.
        learnt: the clips that it and its own starts learnt from, and those that had a say in which weights these are.
    """

    weights: bytes
    learnt: tuple[DatasetClip, ...]


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
        name: as --start-from names it, a model by its version.
        config: how it was trained.
        vocabulary: its glosses; class c is vocabulary[c - 1].
        members: one for each fold of the run; a single one is for all of them.
        twins: groups of clip ids that its data sets know to show the same recording, clips that they left out included.
    """

    name: str
    config: TrainConfig
    vocabulary: tuple[str, ...]
    members: tuple[Taught, ...]
    twins: tuple[tuple[str, ...], ...]

    def of(self, fold: int) -> Taught:
        """What a fold begins with."""
        return self.members[fold if len(self.members) > 1 else 0]

    def check(self, config: TrainConfig, members: Sequence[Member], twins: Iterable[Sequence[str]]) -> None:
        """See that a run may begin with this.

        Args:
            config: the run's configuration.
            members: its members.
            twins: groups of clip ids that its data set knows to show the same recording.

        Raises:
            InvalidSetting: the two are of different sizes; the message names the flag.
            InvalidInput: a held-out clip was learnt from, or had a say, or a fold's signer; the message names a clip.
        """
        names = _SHAPES if self.config.pretrain or config.pretrain else (*_SHAPES, "head", "sign_dim")
        for name in names:
            theirs, mine = getattr(self.config, name), getattr(config, name)
            if theirs != mine:
                flag = f"--{name.replace('_', '-')}"
                raise InvalidSetting(
                    f"--start-from {self.name} was trained with {flag} {theirs!r}, and this run is told {mine!r}: the "
                    f"weights do not fit. Give {flag} {theirs!r}, or begin with another."
                )
        known = (*self.twins, *twins)
        # Seeds of a fold hold out the same.
        held_out = {member.fold: member.held_out for member in members}
        seen = {
            one.clip_id
            for fold, clips in held_out.items()
            for one in _seen(self.of(fold).learnt, clips, known, signers=config.folds > 0)
        }
        if seen:
            raise InvalidInput(
                f"--start-from {self.name} has learnt from {len(seen)} of the {sum(map(len, held_out.values()))} clips "
                f"that this run is judged by{', or from others by their signers' if config.folds else ''}, such as "
                f"{min(seen)}, or was selected by them: its figures would be no measure. {self._way_out(config)}"
            )

    def _way_out(self, config: TrainConfig) -> str:
        """What a run may begin with instead of this."""
        mine, theirs = config.folds, self.config.folds
        if theirs and not mine:
            return f"It was trained with --folds {theirs}: give --folds {theirs} too."
        if mine and mine == theirs:
            return "Its folds were others: train it on the same clips (--corpus, --max-glosses, --samples-per-gloss)."
        if mine:
            return f"Train one with --folds {mine}, of the same glosses{'' if theirs else ', or leave --folds out'}."
        return (
            "Begin with a run that learnt from a corpus' train split and was not selected on val (--patience, "
            "--target-accuracy)."
        )

    def forgetful(self) -> "Start":
        """The same, but for what it was made of: all that a process needs that only begins with it."""
        return replace(self, members=tuple(replace(one, learnt=()) for one in self.members), twins=())

    def begin(self, fold: int, model: Recogniser, vocabulary: Sequence[str]) -> None:
        """Give a fold's model, of sizes that fit, these weights: see `transferred`."""
        own, theirs = model.state_dict(), self.tensors(fold)
        head = not self.config.pretrain and not isinstance(model, MaskedModel)
        model.load_state_dict({**own, **dict(transferred(theirs, own, self.vocabulary, vocabulary, head=head))})

    def tensors(self, fold: int) -> dict[str, Tensor]:
        """The weights that a fold begins with, by name.

        Raises:
            DataLoss: they cannot be read.
            NotReady: they are of a version of Signet whose models are built otherwise.
        """
        try:
            tensors = load_first_member(self.of(fold).weights)
        except SafetensorError as error:
            raise DataLoss(f"--start-from {self.name}: its weights cannot be read ({error}).") from error
        if _OF_THIS_LAYOUT not in tensors:
            raise _of_another_version(self.name)
        return tensors


def _seen(
    learnt: Sequence[DatasetClip],
    held_out: Sequence[DatasetClip],
    twins: Sequence[Sequence[str]],
    *,
    signers: bool,
) -> Iterator[DatasetClip]:
    """Those held-out clips that were learnt from, in whatever recording of them, or the known signers of which were."""
    videos = {clip.source_sha256 for clip in learnt} - {""}
    people = {clip.signer for clip in learnt} - {""} if signers else set()
    ids = {clip.clip_id for clip in learnt}
    ids |= {clip.clip_id for clip in held_out if clip.source_sha256 in videos}
    shown = with_duplicates(ids, twins)
    return (clip for clip in held_out if clip.clip_id in shown or clip.signer in people)


def transferred(
    theirs: dict[str, Tensor],
    mine: dict[str, Tensor],
    their_glosses: Sequence[str],
    my_glosses: Sequence[str],
    *,
    head: bool,
) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a model begins with, by name.

    Those are the projection of the hands and the LSTMs; with the head, also all of it that says when a sign happens,
    and what belongs to each gloss that both know. Features are standardised as the new model's own clips have them.

    Args:
        theirs: the start's tensors.
        mine: the new model's, of the same sizes but for its glosses.
        their_glosses: the start's vocabulary.
        my_glosses: the new model's.
        head: whether that of the start was trained, and that of the new model is to be.
    """
    of_gloss = {gloss: index for index, gloss in enumerate(their_glosses)}
    pairs = [(of_gloss[gloss], index) for index, gloss in enumerate(my_glosses) if gloss in of_gloss]
    source = torch.tensor([pair[0] for pair in pairs], dtype=torch.long)
    target = torch.tensor([pair[1] for pair in pairs], dtype=torch.long)
    for name, own in mine.items():
        of_head = _HEAD.match(name)
        if not name.startswith(_ENCODERS) or name not in theirs or _MEASURED.match(name) or (of_head and not head):
            continue
        found = theirs[name].to(own)
        if of_head and of_head[2] == "signs":
            rows = own.clone()
            rows[:, target] = found[:, source]
            yield name, rows
        elif of_head and of_head[2] == "logits":
            # The blank comes first, and is common to all.
            rows = own.clone()
            rows[:, 0] = found[:, 0]
            rows[:, target + 1] = found[:, source + 1]
            yield name, rows
        else:
            yield name, found


def pinned(store: ObjectStore, name: str) -> str:
    """What --start-from names, a model by its version in place of an alias; "" names nothing.

    Raises:
        NotFound: there is neither such a run nor such a model.
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


def read(store: ObjectStore, name: str, folds: int) -> Start | None:
    """What a run begins with; None for "".

    Args:
        store: where runs and models are.
        name: from `pinned`.
        folds: of the run that begins. A start with as many has a member for each; of any other the first is taken.

    Raises:
        NotFound: there is none.
        NotReady: it is a run whose first members are not trained, or of another version of Signet.
        DataLoss: it is damaged.
    """
    if not name:
        return None
    return _of_model(store, name) if "@" in name else _of_run(store, name, folds)


def _of_run(store: ObjectStore, run_id: str, folds: int) -> Start:
    config = _config(store.get(keys.run(run_id, "config.json")), f"run {run_id}")
    progress = load_progress(store, run_id)
    count = folds if folds and config.folds == folds else 1
    members = progress.members if progress else ()
    # All folds of the first seed come first.
    kept = [
        (data, member.selected_on)
        for member in members[:count]
        if (data := _weights(store, run_id, member, len(members)))
    ]
    if progress is None or len(kept) < count:
        all_folds = ", in all folds" if count > 1 else ""
        ended = store.stat(keys.run(run_id, "result.json"))
        published = "" if config.pretrain or config.folds else ", or name the model that it published"
        raise NotReady(
            f"--start-from {run_id}: the run has kept no weights, since its first member is not trained to its end"
            f"{all_folds}. "
            + (
                f"It was stopped: begin it again{published}."
                if ended
                else f"Go on with it (`signet train --resume {run_id}`)."
            )
        )
    manifest = read_snapshot_manifest(store, progress.dataset_name, progress.dataset_version)
    return _start(store, run_id, config, manifest, kept)


def _weights(store: ObjectStore, run_id: str, member: MemberProgress, members: int) -> bytes:
    """What a member has learnt; nothing where it has not been trained to its end."""
    if not (member.done or store.stat(keys.run(run_id, "result.json"))):
        return b""
    key = keys.run(run_id, member_file_name(members, (member.fold, member.seed), KEPT))
    try:
        data = store.get(key)
    except NotFound:
        return b""  # a run that was stopped; a pre-training that was has left weights
    if member.done and hashlib.sha256(data).hexdigest() != member.sha256:
        raise DataLoss(f"{store.url}/{key} is not what was written. Begin with another run.")
    return data


def _of_model(store: ObjectStore, name: str) -> Start:
    model, _, version = name.partition("@")
    card = registry.read_card(store, model, version)
    manifest = read_snapshot_manifest(store, card.dataset_name, card.dataset_version)
    config = _config(card.config, f"model {name}")
    return _start(store, name, config, manifest, [(registry.read_file(store, card, WEIGHTS), card.selected_on)])


def _start(
    store: ObjectStore, name: str, config: TrainConfig, manifest: Manifest, kept: Sequence[tuple[bytes, str]]
) -> Start:
    """What was kept of the first members, their weights and the split that had a say in them, one a fold."""
    before = read(store, config.start_from, config.folds)
    taught = []
    for member, (data, selected_on) in zip(plan_of(manifest, config), kept, strict=False):
        seen = (*member.train, *member.held_out) if selected_on else member.train
        taught.append(Taught(data, (*seen, *(before.of(member.fold).learnt if before else ()))))
    return Start(
        name=name,
        config=config,
        vocabulary=manifest.vocabulary,
        members=tuple(taught),
        twins=(*manifest.audit.all_duplicates, *(before.twins if before else ())),
    )


def _config(told: bytes | Mapping[str, object], whose: str) -> TrainConfig:
    try:
        return TrainConfig.stored(told)
    except ValidationError as error:
        raise _of_another_version(whose) from error


def _of_another_version(whose: str) -> NotReady:
    return NotReady(f"--start-from: {whose} is of another version of Signet, whose models are built otherwise.")
