"""The events of a run, and the callbacks that receive them.

`RunCallbacks` is for a run: its start, the end of each epoch, and the requests to end it.
`services.trainer.training.callbacks.TrainingCallbacks` is for what happens within an epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.epoch import EpochResult
from signet.rpc.gpu import Nvml


@dataclass(frozen=True)
class RunStarted:
    """A run is about to train its first epoch in this process."""

    device: str
    gpu_name: str  # "" without a GPU
    gpu_memory_bytes: int  # 0 without a GPU
    parameters: int  # of one member
    dataset_version: str  # of the snapshot
    glosses: int  # in the vocabulary
    train_clips: int  # in cross-validation all clips, of which a fold is held out each time
    val_clips: int  # in cross-validation all clips, one fold after the other
    num_epochs: int  # of each member
    seeds: int = 1  # members that train on the same clips
    folds: int = 0  # of cross-validation; 0 without
    epochs_before: int = 0  # saved epochs of all members that earlier processes trained
    members_before: int = 0  # members that earlier processes trained to their end

    @property
    def members(self) -> int:
        """The number of models that are trained."""
        return self.seeds * max(1, self.folds)


@dataclass(frozen=True)
class MemberEpoch:
    """A member has finished an epoch."""

    epoch: EpochResult
    member: int  # its number in the run, from 1
    fold: int  # the fold that it holds out; 0 without cross-validation
    seed: int


@dataclass(frozen=True)
class RunCallbacks:
    """What a run calls. The defaults do nothing, and never end the run.

    Attributes:
        on_start: called once, before the first epoch.
        on_epoch: called after each epoch.
        should_stop: asked after each epoch; True ends the training there, and the run publishes what it has.
        should_abort: asked before each batch; True ends the run without publishing. A run that is trained to its end
            is still published.
        training: the callbacks within an epoch.
        nvml: the connection for the temperature of the GPU; without it, the run opens its own.
    """

    on_start: Callable[[RunStarted], None] = lambda _: None
    on_epoch: Callable[[MemberEpoch], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    should_abort: Callable[[], bool] = lambda: False
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    nvml: Nvml | None = None
