"""What the trainer tells Prometheus: the run under way, and how runs ended."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.trainer.run import Started
from services.trainer.snapshot import TRAIN, VAL
from services.trainer.training import Epoch

# A small model's epoch on a GPU (10 ms) to a large one's on two cores (5 min).
_EPOCH_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class TrainerMetrics:
    """The trainer's series. Those of a run hold its last values until the next one begins."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"signet_trainer_{name}", text, labels, registry=registry)

        self._running = gauge("running", "1 while a run is under way")
        self._queued = gauge("queued_runs", "Runs that wait for another to end")
        self._epoch = gauge("epoch", "Last finished epoch of the run")
        self._planned = gauge("planned_epochs", "Epochs that the run is to have")
        self._clips = gauge("clips", "Clips of the run's dataset", ("split",))
        self._parameters = gauge("parameters", "Parameters of the run's model")
        self._loss = gauge("loss", "Loss, nats per sign", ("split",))
        self._accuracy = gauge("accuracy_ratio", "Share of clips recognised by exact decoding", ("split",))
        self._blank = gauge("blank_ratio", "Share of val frames whose best class is the blank")
        self._empty = gauge("empty_ratio", "Share of val clips whose best path holds no sign")
        self._gap = gauge("exact_greedy_gap_ratio", "Exact less greedy accuracy on val: the measure of blank collapse")
        self._seconds = Histogram(
            "signet_trainer_epoch_seconds", "Duration of an epoch", buckets=_EPOCH_BUCKETS, registry=registry
        )
        # Counted by the thermal guard; there from the start, so that a rate over it is never absent.
        self._throttled = Counter(
            "signet_trainer_throttled_seconds", "Seconds paused because the GPU was too hot", registry=registry
        )
        self._runs = Counter("signet_trainer_runs", "Runs by how they ended", ("state",), registry=registry)

    def queued(self, count: int) -> None:
        """So many runs wait."""
        self._queued.set(count)

    def started(self, run: Started) -> None:
        """A run begins."""
        self._running.set(1)
        self._epoch.set(0)
        self._planned.set(run.num_epochs)
        self._parameters.set(run.parameters)
        self._clips.labels(TRAIN).set(run.train_clips)
        self._clips.labels(VAL).set(run.val_clips)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""
        self._epoch.set(epoch.number)
        self._seconds.observe(epoch.seconds)
        self._loss.labels(TRAIN).set(epoch.train_loss)
        if not epoch.val.clips:
            return
        if math.isfinite(epoch.val.loss):
            self._loss.labels(VAL).set(epoch.val.loss)
        self._accuracy.labels(VAL).set(epoch.val.correct / epoch.val.clips)
        self._blank.set(epoch.val.blank_ratio)
        self._empty.set(epoch.val.empty / epoch.val.clips)
        self._gap.set((epoch.val.correct - epoch.val.greedy_correct) / epoch.val.clips)

    def ended(self, state: str) -> None:
        """A run ended as succeeded, stopped or failed."""
        self._running.set(0)
        self._runs.labels(state).inc()
