"""Prometheus metrics of streams."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# How streams end: the client ended it, a status with an error, the client left, or the server stopped.
OUTCOMES = ("completed", "invalid", "idle", "extractor_lost", "cancelled", "drained", "deadline", "failed")
# What becomes of frames.
FRAME_OUTCOMES = ("used", "late", "dropped")
# A final event should come at most 0.8 s after the end of its sign, and 1.5 s at the 95th percentile.
_LATENCY_BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2, 3, 5, 10)
_LENGTH_BUCKETS = (1, 10, 60, 600, 3_600, 18_000)


class StreamMetrics:
    """Counts streams, frames and signs. All labels have fixed values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("signet_evaluator_streams", "Streams that are open", registry=registry)
        self._behind = Gauge(
            "signet_evaluator_stream_frames_behind",
            "Model frames of all streams that have arrived and are not recognised yet",
            registry=registry,
        )
        self._ended = Counter(
            "signet_evaluator_streams_ended", "Streams that have ended, by outcome", ("outcome",), registry=registry
        )
        self._frames = Counter(
            "signet_evaluator_stream_frames", "Frames of streams, by outcome", ("outcome",), registry=registry
        )
        self._signs = Counter(
            "signet_evaluator_stream_signs",
            "Final signs of streams: accepted, or rejected because they are not in the vocabulary",
            ("outcome",),
            registry=registry,
        )
        self._latency = Histogram(
            "signet_evaluator_stream_event_seconds",
            "Seconds from the arrival of the frame in which a sign ended to its final event",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._length = Histogram(
            "signet_evaluator_stream_seconds", "How long streams were open", buckets=_LENGTH_BUCKETS, registry=registry
        )
        # A rate needs the series to exist before the first event.
        for outcome in OUTCOMES:
            self._ended.labels(outcome)
        for outcome in FRAME_OUTCOMES:
            self._frames.labels(outcome)
        for outcome in ("accepted", "rejected"):
            self._signs.labels(outcome)

    def show_behind(self, count: Callable[[], int]) -> None:
        """Show a number of frames, which is counted at each look at the metrics."""
        self._behind.set_function(count)

    def count_begin(self) -> None:
        """Count a stream that begins."""
        self._open.inc()

    def count_end(self, outcome: str, seconds: float) -> None:
        """Count a stream that has ended; the outcome is one of `OUTCOMES`."""
        self._open.dec()
        self._ended.labels(outcome).inc()
        self._length.observe(seconds)

    def count_frames(self, outcome: str, frames: int) -> None:
        """Count frames; the outcome is one of `FRAME_OUTCOMES`."""
        if frames > 0:
            self._frames.labels(outcome).inc(frames)

    def count_sign(self, latency: float | None, *, rejected: bool) -> None:
        """Count a final sign, with the seconds since the frame in which it ended; None if that is not known."""
        self._signs.labels("rejected" if rejected else "accepted").inc()
        if latency is not None:
            self._latency.observe(latency)
