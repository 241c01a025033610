"""What a process other than the leader does: take part in each training that the leader starts."""

from services.trainer.config.train_config import TrainConfig
from services.trainer.runtime.devices import resolve_device
from services.trainer.runtime.gpu_throttle import make_gpu_throttle
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.distributed import Ranks
from services.trainer.training.loop import Training
from services.trainer.training.pretraining_loop import Pretraining
from signet.datasets.snapshot import load_snapshot
from signet.rpc.gpu import Nvml
from signet.store import ObjectStore


def follow(ranks: Ranks, store: ObjectStore, nvml: Nvml | None = None) -> None:
    """Follow the leader until it dismisses this process. Nothing is written to the store.

    Raises:
        SignetError: a training cannot continue here, or the leader has ended.
    """
    while ranks.leader_continues():
        task, state = ranks.receive_task()
        config = TrainConfig.model_validate_json(task.config)
        device = resolve_device("cpu" if config.device == "cpu" else "auto")
        snapshot = load_snapshot(store, task.dataset_name, task.dataset_version)
        clips = {clip.clip_id: clip for clip in snapshot.manifest.clips}
        callbacks = TrainingCallbacks()
        loop = Pretraining if config.pretrain else Training
        training = loop(
            snapshot,
            config,
            device,
            train=[clips[clip_id] for clip_id in task.train],
            held_out=[clips[clip_id] for clip_id in task.held_out],
            between_batches=make_gpu_throttle(
                device, config.max_gpu_temperature, nvml, should_stop=lambda: False, callbacks=callbacks
            ),
            callbacks=callbacks,
        )
        training.restore(state)
        training.follow()
