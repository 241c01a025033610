"""Who looks on at a run, what they are told of it, and how they may end it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.epoch import Epoch
from signet.rpc.gpu import Nvml


@dataclass(frozen=True)
class RunStarted:
    """What a run found when it began, or went on.

    Attributes:
        device: where it is trained.
        gpu_name: "" without a GPU.
        gpu_memory_bytes: 0 without a GPU.
        parameters: of one member.
        dataset_version: of the snapshot.
        glosses: in the vocabulary.
        train_clips: to learn from; in cross-validation all, of which a fold is held out each time.
        val_clips: held out; in cross-validation all, one fold after the other.
        num_epochs: of each member.
        seeds: members on the same clips.
        folds: of cross-validation; 0 without.
        epochs_before: of all members, trained by processes before this one and kept.
        members_before: trained to their end by processes before this one.
    """

    device: str
    gpu_name: str
    gpu_memory_bytes: int
    parameters: int
    dataset_version: str
    glosses: int
    train_clips: int
    val_clips: int
    num_epochs: int
    seeds: int = 1
    folds: int = 0
    epochs_before: int = 0
    members_before: int = 0

    @property
    def members(self) -> int:
        """How many models are trained."""
        return self.seeds * max(1, self.folds)


@dataclass(frozen=True)
class MemberEpoch:
    """One epoch of one member.

    Attributes:
        epoch: what it came to.
        member: which member of the run, from 1.
        fold: the fold that it holds out; 0 too without cross-validation.
        seed: its seed.
    """

    epoch: Epoch
    member: int
    fold: int
    seed: int


def _never() -> bool:
    return False


def _unheard(_: object) -> None:
    """What is told to nobody."""


@dataclass(frozen=True)
class RunCallbacks:
    """Who looks on at a run, and may end it.

    Attributes:
        on_start: told once what the run found.
        on_epoch: told each epoch.
        should_stop: asked after each epoch; True ends the training there, and what there is counts.
        should_abandon: asked before each batch; True gives the run up. A model that is trained is still published.
        training: told what happens within an epoch.
        nvml: what a run on a GPU asks for its temperature; without it, it makes its own connection.
    """

    on_start: Callable[[RunStarted], None] = _unheard
    on_epoch: Callable[[MemberEpoch], None] = _unheard
    should_stop: Callable[[], bool] = _never
    should_abandon: Callable[[], bool] = _never
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    nvml: Nvml | None = None
