"""The evaluator's own Prometheus metrics. `signet.rpc.server` measures calls and latencies of every service."""

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from signet.landmarks import NothingSigned
from signet.registry import ModelCard

# The model takes about 1 ms for a short clip; the extractor takes up to 30 s for a long video.
_STAGE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)

# Only the newest reports have a label set on /metrics, so that the number of series stays bounded.
REPORTS_SHOWN = 5

STAGES = ("extract", "prepare", "model", "decode")


class EvaluatorMetrics:
    """The evaluator's counters, gauges and histograms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._predictions = Counter(
            "signet_evaluator_predictions", "Best glosses returned by Recognize", ("gloss",), registry=registry
        )
        self._nothing_signed = Counter(
            "signet_evaluator_nothing_signed",
            "Calls of Recognize that were answered with: nothing is signed",
            ("reason",),
            registry=registry,
        )
        for reason in NothingSigned:
            self._nothing_signed.labels(reason)
        self._model = Gauge(
            "signet_evaluator_model_info", "1 for the version that is served", ("name", "version"), registry=registry
        )
        self._accuracy = Gauge(
            "signet_evaluator_report_accuracy",
            "Top-1 accuracy, 0 to 1, of the newest reports",
            ("name", "version", "split"),
            registry=registry,
        )
        self.load_failures = Counter(
            "signet_evaluator_model_load_failures", "Published versions that could not be served", registry=registry
        )
        self.store_up = Gauge(
            "signet_evaluator_store_up",
            "1 if the store answered at the last check for a newer model",
            registry=registry,
        )
        self.batch_clips = Histogram(
            "signet_evaluator_batch_clips", "Clips per model run", buckets=_BATCH_BUCKETS, registry=registry
        )
        self._stages = Histogram(
            "signet_evaluator_recognise_seconds",
            "Seconds that Recognize spends in each stage",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._served: ModelCard | None = None
        self._reports: deque[tuple[str, str, str]] = deque()

    def show_served(self, card: ModelCard) -> None:
        """Show this version alone as the served one, and one prediction counter for each gloss of its vocabulary."""
        old, self._served = self._served, card
        if old is not None:
            self._model.remove(old.name, old.version)
            for gloss in set(old.vocabulary) - set(card.vocabulary):
                self._predictions.remove(gloss)
        self._model.labels(card.name, card.version).set(1)
        for gloss in card.vocabulary:
            self._predictions.labels(gloss)  # a rate needs a zero before the first prediction

    def count_prediction(self, gloss: str) -> None:
        """Count the first guess of one call, unless the served version no longer has the gloss."""
        if self._served is not None and gloss in self._served.vocabulary:
            self._predictions.labels(gloss).inc()

    def count_nothing_signed(self, reason: NothingSigned) -> None:
        """Count one call whose clip shows no sign."""
        self._nothing_signed.labels(reason).inc()

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Observe the duration of one stage of one call."""
        self._stages.labels(stage).observe(seconds)

    def show_accuracy(self, name: str, version: str, split: str, accuracy: float) -> None:
        """Show the accuracy of a report; the oldest one beyond `REPORTS_SHOWN` disappears."""
        labels = (name, version, split)
        if labels in self._reports:
            self._reports.remove(labels)
        self._reports.append(labels)
        if len(self._reports) > REPORTS_SHOWN:
            self._accuracy.remove(*self._reports.popleft())
        self._accuracy.labels(*labels).set(accuracy)
