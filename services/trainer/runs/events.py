"""The events of a run, and the callbacks that receive them.

`RunCallbacks` is for a run: its start, the end of each epoch, and the requests to end it.
`services.trainer.training.callbacks.TrainingCallbacks` is for what happens within an epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.epoch import Epoch
from signet.rpc.gpu import Nvml


@dataclass(frozen=True)
class RunStarted:
    """A run is about to train its first epoch in this process.

    Attributes:
        device: the device that it trains on.
        gpu_name: "" without a GPU.
        gpu_memory_bytes: 0 without a GPU.
        parameters: of one member.
        dataset_version: of the snapshot.
        glosses: in the vocabulary.
        train_clips: clips to train on; in cross-validation all clips, of which a fold is held out each time.
        val_clips: held-out clips; in cross-validation all clips, one fold after the other.
        num_epochs: of each member.
        seeds: members that train on the same clips.
        folds: of cross-validation; 0 without.
        epochs_before: saved epochs of all members that earlier processes trained.
        members_before: members that earlier processes trained to their end.
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
        """The number of models that are trained."""
        return self.seeds * max(1, self.folds)


@dataclass(frozen=True)
class MemberEpoch:
    """A member has finished an epoch.

    Attributes:
        epoch: its results.
        member: the number of the member in the run, from 1.
        fold: the fold that the member holds out; 0 without cross-validation.
        seed: of the member.
    """

    epoch: Epoch
    member: int
    fold: int
    seed: int


@dataclass(frozen=True)
class RunCallbacks:
    """What a run calls. The defaults do nothing, and never end the run.

    Attributes:
        on_start: called once, before the first epoch.
        on_epoch: called after each epoch.
        should_stop: asked after each epoch; True ends the training there, and the run publishes what it has.
        should_abandon: asked before each batch; True ends the run without publishing. A run that is trained to its end
            is still published.
        training: the callbacks within an epoch.
        nvml: the connection for the temperature of the GPU; without it, the run opens its own.
    """

    on_start: Callable[[RunStarted], None] = lambda _: None
    on_epoch: Callable[[MemberEpoch], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    should_abandon: Callable[[], bool] = lambda: False
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    nvml: Nvml | None = None
