"""What a rank other than the leader does: take part in each training that the leader begins, until there is none."""

from services.trainer.config.train_config import TrainConfig
from services.trainer.runtime import gpu_throttle as thermal
from services.trainer.runtime.devices import resolve_device
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.distributed import Ranks
from services.trainer.training.loop import Training
from signet.datasets.snapshot import load_snapshot
from signet.rpc.gpu import Nvml
from signet.store import ObjectStore


def follow(ranks: Ranks, store: ObjectStore, nvml: Nvml | None = None) -> None:
    """Follow the leader until it dismisses this rank.

    Args:
        ranks: this process's group.
        store: holds the snapshots; nothing is written to it.
        nvml: what to ask for the GPU's temperature; without it, own connections are made.

    Raises:
        SignetError: a training cannot go on here, or the leader has ended.
    """
    while ranks.told_to_go_on():
        task, state = ranks.received()
        config = TrainConfig.model_validate_json(task.config)
        device = resolve_device("cpu" if config.device == "cpu" else "auto")
        snapshot = load_snapshot(store, task.dataset_name, task.dataset_version)
        clips = {clip.clip_id: clip for clip in snapshot.manifest.clips}
        callbacks = TrainingCallbacks()
        training = Training(
            snapshot,
            config,
            device,
            train=[clips[clip_id] for clip_id in task.train],
            held_out=[clips[clip_id] for clip_id in task.held_out],
            between_batches=thermal.make_gpu_throttle(
                device, config.max_gpu_temperature, nvml, released=lambda: False, callbacks=callbacks
            ),
            callbacks=callbacks,
        )
        training.restore(state)
        training.follow()
