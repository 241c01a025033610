"""The members of a run, one trained model each: which there are, and how one of them is trained.

A run has one member for each seed; where it cross-validates, one for each seed and each group of signers held out.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import WeightInitialiser, serialise_weights
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.epoch import Epoch
from services.trainer.training.loop import Training
from services.trainer.training.pretraining_loop import Pretraining
from services.trainer.training.session import TrainingSession
from signet.datasets.snapshot import TRAIN, VAL, Dataset, DatasetClip, Manifest
from signet.datasets.splits import signer_folds
from signet.errors import SignetError

# How often the training clips are judged too, in epochs. Often enough to see what is learnt by heart and not
# understood; each time costs two fifths of a default run's epoch, so that it is 4 % in all.
_TRAIN_EVERY = 10

# Fold and seed.
MemberKey = tuple[int, int]


class Abandoned(SignetError):
    """The run was given up between two batches: nothing is published."""

    code = "ABORTED"


@dataclass(frozen=True)
class Member:
    """One model of a run.

    Attributes:
        fold: the fold that is held out, from 0; 0 too where val is held out.
        seed: of its weights, order and augmentation.
        train: the clips that it learns from.
        held_out: the clips that it is judged by.
    """

    fold: int
    seed: int
    train: tuple[DatasetClip, ...]
    held_out: tuple[DatasetClip, ...]

    @property
    def key(self) -> MemberKey:
        """What tells it from the run's other members."""
        return (self.fold, self.seed)


@dataclass(frozen=True)
class EpochDone:
    """A member has trained an epoch."""

    key: MemberKey
    epoch: Epoch


@dataclass(frozen=True)
class StateReady:
    """What a member can go on from after the epoch that it has told of last.

    Attributes:
        key: which one.
        state: as `Training.state` gives it.
        seconds: how long it took to make.
        last: whether the training ends with it.
    """

    key: MemberKey
    state: bytes
    seconds: float
    last: bool


@dataclass(frozen=True)
class MemberDone:
    """A member is trained: to its end, or to where it was told to stop.

    Attributes:
        key: which one.
        weights: what it has learnt, as `services.trainer.model.build.serialise_weights` gives it.
        complete: whether it came to its end.
        selected_on: the split that had a say in which weights these are; "" if none had.
    """

    key: MemberKey
    weights: bytes
    complete: bool
    selected_on: str


MemberEvent = EpochDone | StateReady | MemberDone


@dataclass(frozen=True)
class LoopControl:
    """What a training is told while it goes on.

    Attributes:
        should_stop: asked after each epoch; True ends the member there.
        is_state_due: asked after each epoch; True wants a state.
        before_batch: called before each batch; what it raises ends the training there, and the state of its last
            epoch is still given.
        callbacks: told what happens within an epoch.
    """

    should_stop: Callable[[], bool]
    is_state_due: Callable[[], bool]
    before_batch: Callable[[], None]
    callbacks: TrainingCallbacks


def plan_members(manifest: Manifest, config: TrainConfig) -> tuple[Member, ...]:
    """The members of a run, in training order: all folds of the first seed first.

    Raises:
        InvalidInput: the clips have fewer signers than there are folds.
    """
    train, val = ([clip for clip in manifest.clips if clip.split == split] for split in (TRAIN, VAL))
    divided: list[tuple[tuple[DatasetClip, ...], tuple[DatasetClip, ...]]] = [(tuple(train), tuple(val))]
    if config.folds:
        clips = [*train, *val]
        divided = []
        for ids in signer_folds(clips, config.folds, manifest.audit.duplicates):
            learnt = tuple(clip for clip in clips if clip.clip_id not in ids)
            divided.append((learnt, tuple(clip for clip in clips if clip.clip_id in ids)))
    return tuple(
        Member(fold, config.seed + number, learnt, held_out)
        for number in range(config.seeds)
        for fold, (learnt, held_out) in enumerate(divided)
    )


def train_member(
    dataset: Dataset,
    config: TrainConfig,
    member: Member,
    device: torch.device,
    state: bytes | None,
    control: LoopControl,
    initialise: WeightInitialiser | None = None,
) -> Iterator[MemberEvent]:
    """Train one member, from where its state is to its end.

    Args:
        dataset: the run's snapshot.
        config: the run's configuration.
        member: which one.
        device: where.
        state: what to go on from; None begins.
        control: what it is told meanwhile.
        initialise: replaces the random weights of the new model; not called if there is a state.

    Raises:
        SignetError: it cannot begin or go on.
    """
    loop = Pretraining if config.pretrain else Training
    training = loop(
        dataset,
        config.model_copy(update={"seed": member.seed, "seeds": 1}),
        device,
        train=member.train,
        held_out=member.held_out,
        between_batches=control.before_batch,
        callbacks=control.callbacks,
        initialise=initialise if state is None else None,
    )
    if state is not None:
        training.restore(state)
    kept = training.epoch
    # Unless there is an epoch to be trained.
    complete, stopped_on_val = True, False
    try:
        for trained in training.epochs():
            stopped_on_val = target_met(trained, config)
            complete = trained.last or stopped_on_val
            last = complete or control.should_stop()
            due = last or trained.number % _TRAIN_EVERY == 0
            train_score = training.evaluate_training_clips() if due and isinstance(training, Training) else None
            yield EpochDone(member.key, replace(trained, train=train_score, last=last))
            if last:
                break
            if control.is_state_due():
                kept = trained.number
                yield _kept(member, training, last=False)
    except (Exception, KeyboardInterrupt):
        # Whatever ends it, all but the present epoch is kept.
        if training.epoch > kept:
            yield _kept(member, training, last=True)
        raise
    selected_on = training.selected_on or (VAL if stopped_on_val else "")
    yield MemberDone(member.key, serialise_weights(training.model), complete, selected_on)


def _kept(member: Member, training: TrainingSession, *, last: bool) -> StateReady:
    started = time.perf_counter()
    state = training.state()
    return StateReady(member.key, state, time.perf_counter() - started, last)


def target_met(epoch: Epoch, config: TrainConfig) -> bool:
    """Whether to stop here. Not during the flat start: until CTC has spoken there is no timing to publish."""
    if config.target_accuracy is None or config.train_past_target or not epoch.val.clips:
        return False
    after_start = epoch.number > config.start * config.num_epochs
    return after_start and epoch.val.correct >= config.target_accuracy * epoch.val.clips
