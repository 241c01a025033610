"""The trainer's metrics for Prometheus: the current run, its disturbances, and how runs ended."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.training.callbacks import TrainingCallbacks
from signet.datasets.snapshot import TRAIN, VAL

# From an epoch of a small model on a GPU (10 ms) to one of a large model on two cores (5 min).
_EPOCH_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

# An epoch with this blank ratio or more counts as collapsed. A clip has about 25 frames at 10 Hz: one frame of sign in
# each clip gives 0.96: above 0.98, at least every second clip is empty.
COLLAPSED_BLANK_RATIO = 0.98

_ENDINGS = ("succeeded", "stopped", "failed", "interrupted")

# The arguments of `TrainingCallbacks.on_recovery_action`.
_ACTIONS = ("recovery",)


class TrainerMetrics(TrainingCallbacks):
    """The trainer's series. Those of a run hold its last values until the next run starts.

    A value that the run has not measured yet is absent, or NaN where a series has no labels. A zero would be wrong.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"signet_trainer_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"signet_trainer_{name}", text, labels, registry=registry)

        self._running = gauge("running", "1 while a run is under way")
        self._queued = gauge("queued_runs", "Runs that wait for another to end")
        self._info = gauge(
            "run_info", "1 for the run whose values are shown", ("run_id", "model_name", "dataset_version", "device")
        )
        self._epoch = gauge("epoch", "Last finished epoch of the member under way")
        self._planned = gauge("planned_epochs", "Planned epochs of each member")
        self._member = gauge("member", "Member under way, from 1")
        self._members = gauge("members", "Models that the run trains: seeds times folds")
        self._resumed = gauge("resumed_epochs", "Epochs of the run that earlier processes trained and saved")
        self._clips = gauge("clips", "Clips of the run's dataset", ("split",))
        self._parameters = gauge("parameters", "Parameters of the run's model")
        self._loss = gauge("loss", "Loss, nats per sign; of a pre-training, the masked loss", ("split",))
        self._accuracy = gauge("accuracy_ratio", "Share of clips recognised by exact decoding", ("split",))
        self._blank = gauge("blank_ratio", "Share of val frames whose best class is the blank")
        self._empty = gauge("empty_ratio", "Share of val clips whose best path holds no sign")
        self._continuous_empty = gauge(
            "continuous_empty_ratio",
            "Share of val clips in which the continuous decoder finds no sign, of the last epoch that measured it",
        )
        self._gap = gauge("exact_greedy_gap_ratio", "Exact minus greedy accuracy on val: the measure of blank collapse")
        self._continuous_gap = gauge(
            "exact_continuous_gap_ratio",
            "Exact accuracy on val minus that of the continuous decoder, of the last epoch that measured it",
        )
        self._collapsed = gauge(
            "blank_epochs", f"Consecutive epochs, up to the last, with a blank ratio of {COLLAPSED_BLANK_RATIO} or more"
        )
        # By member: several may be trained at the same time.
        self._collapsed_epochs: dict[int, int] = {}
        self._seconds = Histogram(
            "signet_trainer_epoch_seconds", "Duration of an epoch", buckets=_EPOCH_BUCKETS, registry=registry
        )
        self._batches = counter("batches", "Batches trained on")
        self._throttled = counter("throttled_seconds", "Seconds paused because the GPU was too hot")
        self._throttling = gauge("throttling", "1 while training pauses because the GPU is too hot")
        self._nonfinite = counter("nonfinite_losses", "Runs that ended because their loss was not finite")
        self._actions = counter("actions", "Recovery actions of trainings", ("action",))
        self._splits = counter("out_of_memory", "Times that batches were divided further because GPU memory was full")
        self._runs = counter("runs", "Runs by how they ended", ("state",))
        # Prometheus computes a rate only from a counter that exists before the first event.
        for state in _ENDINGS:
            self._runs.labels(state)
        for action in _ACTIONS:
            self._actions.labels(action)
        self._reset_epoch_values()

    def set_queued_runs(self, count: int) -> None:
        """Set the number of runs that wait."""
        self._queued.set(count)

    def record_start(self, run_id: str, model_name: str, run: RunStarted) -> None:
        """A run starts: the values of the run before are removed."""
        self._info.clear()
        self._reset_epoch_values()
        self._info.labels(run_id, model_name, run.dataset_version, run.device).set(1)
        self._running.set(1)
        self._planned.set(run.num_epochs)
        self._members.set(run.members)
        self._resumed.set(run.epochs_before)
        self._parameters.set(run.parameters)
        self._clips.labels(TRAIN).set(run.train_clips)
        self._clips.labels(VAL).set(run.val_clips)

    def record_epoch(self, event: MemberEpoch) -> None:
        """An epoch ended."""
        epoch, val = event.epoch, event.epoch.val
        self._epoch.set(epoch.number)
        self._member.set(event.member)
        self._seconds.observe(epoch.seconds)
        self._loss.labels(TRAIN).set(epoch.train_loss)
        if epoch.train is not None and epoch.train.clips:
            self._accuracy.labels(TRAIN).set(epoch.train.correct / epoch.train.clips)
        if math.isfinite(val.loss):
            self._loss.labels(VAL).set(val.loss)
        if not val.clips:
            return
        self._accuracy.labels(VAL).set(val.correct / val.clips)
        self._blank.set(val.blank_ratio)
        self._empty.set(val.empty / val.clips)
        self._gap.set((val.correct - val.greedy_correct) / val.clips)
        if val.continuous_empty is not None:
            self._continuous_empty.set(val.continuous_empty / val.clips)
        if val.continuous_correct is not None:
            self._continuous_gap.set((val.correct - val.continuous_correct) / val.clips)
        self._count_collapse(event)

    def _count_collapse(self, event: MemberEpoch) -> None:
        collapsed = event.epoch.val.blank_ratio >= COLLAPSED_BLANK_RATIO
        before = self._collapsed_epochs.get(event.member, 0)
        self._collapsed_epochs[event.member] = before + 1 if collapsed else 0
        self._collapsed.set(max(self._collapsed_epochs.values()))
        if event.epoch.last:
            del self._collapsed_epochs[event.member]

    def record_end(self, state: str) -> None:
        """A run ended as succeeded, stopped, failed or interrupted."""
        self._running.set(0)
        self._runs.labels(state).inc()

    def record_unstarted(self, state: str) -> None:
        """A run ended before it started, while another may be running."""
        self._runs.labels(state).inc()

    def on_batch(self) -> None:
        """A batch was trained on."""
        self._batches.inc()

    def on_memory_split(self) -> None:
        """GPU memory was full."""
        self._splits.inc()

    def on_nonfinite_loss(self) -> None:
        """A run ends because its loss is not finite."""
        self._nonfinite.inc()

    def on_recovery_action(self, action: str) -> None:
        """A training changed its learning rate to recover."""
        self._actions.labels(action).inc()

    def on_throttling(self, paused: bool) -> None:
        """A run pauses because the GPU is too hot, or continues."""
        self._throttling.set(paused)

    def on_throttled_seconds(self, seconds: float) -> None:
        """A run was paused for this many more seconds."""
        self._throttled.inc(seconds)

    def _reset_epoch_values(self) -> None:
        for counted in (self._epoch, self._member, self._members, self._resumed):
            counted.set(0)
        self._loss.clear()
        self._accuracy.clear()
        for measured in (self._blank, self._empty, self._continuous_empty, self._gap, self._continuous_gap):
            measured.set(math.nan)
        self._collapsed_epochs.clear()
        self._collapsed.set(0)
