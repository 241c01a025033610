"""The evaluator's own Prometheus metrics. `signet.rpc.server` measures calls and latencies of every service."""

from collections import deque
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from signet.landmarks import NothingSigned
from signet.registry import ModelCard

# The model takes about 1 ms for a short clip; the extractor takes up to 30 s for a long video.
_STAGE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)

# Only the newest reports have a label set on /metrics, so that the number of series stays bounded.
REPORTS_SHOWN = 5

STAGES = ("extract", "prepare", "model", "decode")

# A version that was tried before loads in 0.1 s, another one in about 1 s; its trial is ended after a minute.
_LOAD_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
# Why versions are refused: names of status codes, a parity vector that differs, and no signature of a trusted key.
REFUSALS = (
    "NOT_FOUND", "DATA_LOSS", "PARITY", "UNTRUSTED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "UNAVAILABLE",
    "OTHER",
)  # fmt: skip
# Why versions are unloaded.
UNLOADS = ("replaced", "room")


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
        # Looking a metric up by its label takes as long as observing.
        self._stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self._add_model_metrics(registry)
        self._served: ModelCard | None = None
        self._reports: deque[tuple[str, str, str]] = deque()

    def _add_model_metrics(self, registry: CollectorRegistry) -> None:
        self._models_loaded = Gauge("signet_evaluator_models_loaded", "Versions of models in memory", registry=registry)
        self._model_bytes = Gauge(
            "signet_evaluator_model_memory_bytes",
            "Bytes that the versions in memory need, as measured in the trial of each",
            registry=registry,
        )
        self._load_seconds = Histogram(
            "signet_evaluator_model_load_seconds",
            "Seconds from reading a version to its first answer",
            buckets=_LOAD_BUCKETS,
            registry=registry,
        )
        self._unloads = Counter(
            "signet_evaluator_model_unloads", "Versions that were removed from memory", ("reason",), registry=registry
        )
        self._refusals = Counter(
            "signet_evaluator_model_refusals",
            "Attempts to load a version that ended without one",
            ("reason",),
            registry=registry,
        )
        for reason in UNLOADS:
            self._unloads.labels(reason)
        for reason in REFUSALS:
            self._refusals.labels(reason)
        self._aliases = Gauge(
            "signet_evaluator_alias_info",
            "1 for the version that is served for each alias that is followed",
            ("name", "alias", "version"),
            registry=registry,
        )
        self._alias_refused = Gauge(
            "signet_evaluator_alias_refused",
            "1 if an alias that is followed names a version that is refused, else 0",
            ("name", "alias"),
            registry=registry,
        )
        self._alias_versions: dict[tuple[str, str], str] = {}
        self._workers = Gauge(
            "signet_evaluator_compute_processes",
            "Worker processes that are ready to run models; 0 if the evaluator's own process runs them",
            registry=registry,
        )
        self._worker_bytes = Gauge(
            "signet_evaluator_compute_memory_bytes",
            "Resident memory of the worker processes; parts that they share are counted for each",
            registry=registry,
        )
        self._worker_ends = Counter(
            "signet_evaluator_compute_process_ends",
            "Worker processes that ended unexpectedly, and were replaced",
            registry=registry,
        )

    def measure_workers(self, resident_bytes: Callable[[], float]) -> None:
        """Let each look at the metrics measure the memory of the worker processes."""
        self._worker_bytes.set_function(resident_bytes)

    def show_workers(self, count: int) -> None:
        """Show how many worker processes are ready or busy."""
        self._workers.set(count)

    def count_worker_end(self) -> None:
        """Count a worker process that has ended unexpectedly."""
        self._worker_ends.inc()

    def show_memory(self, models: int, size: int) -> None:
        """Show how many versions are in memory, and how many bytes they need."""
        self._models_loaded.set(models)
        self._model_bytes.set(size)

    def count_load(self, seconds: float) -> None:
        """Count a version that was loaded within these seconds."""
        self._load_seconds.observe(seconds)

    def count_unload(self, reason: str) -> None:
        """Count a version that was removed from memory; the reason is one of `UNLOADS`."""
        self._unloads.labels(reason).inc()

    def count_refusal(self, reason: str) -> None:
        """Count an attempt to load a version that failed; a reason that is not in `REFUSALS` is counted as OTHER."""
        self._refusals.labels(reason if reason in REFUSALS else "OTHER").inc()

    def show_alias(self, name: str, alias: str, version: str, *, refused: bool) -> None:
        """Show which version is served for an alias ("" for none), and whether it names one that is refused."""
        old = self._alias_versions.get((name, alias), "")
        if old and old != version:
            self._aliases.remove(name, alias, old)
        if version:
            self._aliases.labels(name, alias, version).set(1)
        self._alias_versions[name, alias] = version
        self._alias_refused.labels(name, alias).set(refused)

    def forget_alias(self, name: str, alias: str) -> None:
        """Remove an alias that is no longer followed."""
        version = self._alias_versions.pop((name, alias), None)
        if version is not None:
            self._alias_refused.remove(name, alias)
            if version:
                self._aliases.remove(name, alias, version)

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

    def count_prediction(self, model_name: str, gloss: str) -> None:
        """Count the first guess of one call of the default model, unless its version no longer has the gloss."""
        if self._served is not None and self._served.name == model_name and gloss in self._served.vocabulary:
            self._predictions.labels(gloss).inc()

    def count_nothing_signed(self, reason: NothingSigned) -> None:
        """Count one call whose clip shows no sign."""
        self._nothing_signed.labels(reason).inc()

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Observe the duration of one stage of one call."""
        self._stage[stage].observe(seconds)

    def show_accuracy(self, name: str, version: str, split: str, accuracy: float) -> None:
        """Show the accuracy of a report; the oldest one beyond `REPORTS_SHOWN` disappears."""
        labels = (name, version, split)
        if labels in self._reports:
            self._reports.remove(labels)
        self._reports.append(labels)
        if len(self._reports) > REPORTS_SHOWN:
            self._accuracy.remove(*self._reports.popleft())
        self._accuracy.labels(*labels).set(accuracy)
