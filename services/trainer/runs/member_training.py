"""The training of one member of a run, as a sequence of events: epochs, states to resume from, and the weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.members import Member, MemberKey
from services.trainer.model.build import WeightInitialiser, serialise_weights
from services.trainer.runs.events import RunCallbacks
from services.trainer.runtime.gpu_throttle import make_gpu_throttle
from services.trainer.training.base_training import BaseTraining
from services.trainer.training.epoch import EpochResult
from services.trainer.training.loop import Training
from services.trainer.training.pretraining_loop import Pretraining
from signet.datasets.snapshot import VAL, Dataset
from signet.errors import SignetError

# The training clips are evaluated after every so many epochs, which shows overfitting. One evaluation costs two fifths
# of an epoch with default settings, 4 % in all.
_TRAIN_EVALUATION_EVERY = 10


class RunAborted(SignetError):
    """The run was aborted between two batches: nothing is published."""

    code = "ABORTED"


@dataclass(frozen=True)
class EpochDone:
    """A member has trained an epoch."""

    key: MemberKey
    epoch: EpochResult


@dataclass(frozen=True)
class StateReady:
    """The state of a member after its latest epoch, from which it can be resumed."""

    key: MemberKey
    state: bytes  # from `BaseTraining.state`
    seconds: float  # the time that it took to make
    last: bool  # an error or an interruption ends the training now


@dataclass(frozen=True)
class MemberDone:
    """The training of a member has ended."""

    key: MemberKey
    weights: bytes  # from `services.trainer.model.build.serialise_weights`
    complete: bool  # False if it was stopped before its end
    selected_on: str  # the split that decided when the training ended; "" if none did


MemberEvent = EpochDone | StateReady | MemberDone


def train_member(
    dataset: Dataset,
    config: TrainConfig,
    member: Member,
    device: torch.device,
    state: bytes | None,
    callbacks: RunCallbacks,
    is_state_due: Callable[[], bool],
    initialise: WeightInitialiser | None = None,
) -> Iterator[MemberEvent]:
    """Train one member to its end. A member that is aborted yields a last `StateReady`.

    Args:
        dataset: the run's snapshot.
        config: the run's configuration.
        member: the member.
        device: where to train.
        state: the state to resume from; None starts a new training.
        callbacks: see `RunCallbacks`.
        is_state_due: asked after each epoch; True asks for a `StateReady`.
        initialise: replaces the random weights of a new training.

    Raises:
        RunAborted: `should_abort` was True.
        SignetError: the training cannot start or continue.
    """
    loop = Pretraining if config.pretrain else Training
    training = loop(
        dataset,
        config.model_copy(update={"seed": member.seed, "seeds": 1}),
        device,
        train=member.train,
        held_out=member.held_out,
        between_batches=_make_batch_check(config, device, callbacks),
        callbacks=callbacks.training,
        initialise=initialise if state is None else None,
    )
    if state is not None:
        training.restore(state)
    saved_epoch = training.epoch
    complete, stopped_on_val = True, False  # if there is no epoch left to train
    try:
        for epoch in training.epochs():
            stopped_on_val = is_target_met(epoch, config)
            complete = epoch.last or stopped_on_val
            last = complete or callbacks.should_stop()
            due = last or epoch.number % _TRAIN_EVALUATION_EVERY == 0
            train_score = training.evaluate_training_clips() if due and isinstance(training, Training) else None
            yield EpochDone(member.key, replace(epoch, train=train_score, last=last))
            if last:
                break
            if is_state_due():
                saved_epoch = epoch.number
                yield _make_state(member, training, last=False)
    except (Exception, KeyboardInterrupt):  # the finished epochs can be resumed, whatever ends the training
        if training.epoch > saved_epoch:
            yield _make_state(member, training, last=True)
        raise
    selected_on = training.selected_on or (VAL if stopped_on_val else "")
    yield MemberDone(member.key, serialise_weights(training.model), complete, selected_on)


def _make_batch_check(config: TrainConfig, device: torch.device, callbacks: RunCallbacks) -> Callable[[], None]:
    """The function that is called between two batches: it waits until the GPU has cooled, or ends the training."""
    throttle = make_gpu_throttle(
        device,
        config.max_gpu_temperature,
        callbacks.nvml,
        should_stop=lambda: callbacks.should_stop() or callbacks.should_abort(),
        callbacks=callbacks.training,
    )

    def before_batch() -> None:
        throttle()
        if callbacks.should_abort():
            raise RunAborted("the run was aborted")

    return before_batch


def _make_state(member: Member, training: BaseTraining, *, last: bool) -> StateReady:
    started = time.perf_counter()
    state = training.state()
    return StateReady(member.key, state, time.perf_counter() - started, last)


def is_target_met(epoch: EpochResult, config: TrainConfig) -> bool:
    """Whether --target-accuracy ends the training here. It never ends the flat start, which trains no timing."""
    if config.target_accuracy is None or config.train_past_target or not epoch.val.clips:
        return False
    after_start = epoch.number > config.start * config.num_epochs
    return after_start and epoch.val.correct >= config.target_accuracy * epoch.val.clips
