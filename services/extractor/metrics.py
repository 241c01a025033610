"""The extractor's Prometheus metrics."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From reading a short clip (milliseconds) to tracking a clip of ten minutes.
_STAGE_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)

PARTS_COUNTED = ("pose", "left_hand", "right_hand", "any_hand")
STAGES = ("decode", "landmarks", "store")
PICTURE_OUTCOMES = ("tracked", "skipped", "dropped", "refused")


class ExtractorMetrics:
    """The extractor's own time series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.clips = Counter(
            "signet_extractor_clips",
            "Clips by outcome (extracted, present, broken, missing) and, where broken, by reason",
            ("outcome", "reason"),
            registry=registry,
        )
        self.frames = Counter("signet_extractor_frames", "Frames of videos that were tracked", registry=registry)
        self._found = Counter(
            "signet_extractor_found_frames",
            "Tracked frames in which a part was found (pose, left_hand, right_hand; any_hand is either)",
            ("part",),
            registry=registry,
        )
        self.running = Gauge("signet_extractor_running", "1 while an extraction is under way", registry=registry)
        self.selected = Gauge(
            "signet_extractor_selected_clips", "Clips of the present or last extraction", registry=registry
        )
        self.done = Gauge(
            "signet_extractor_done_clips",
            "Clips of the present or last extraction that are stored or found broken",
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "signet_extractor_stage_seconds",
            "Seconds per clip and stage (decode, landmarks, store)",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )

        self._streams = Gauge("signet_extractor_streams", "Streams of pictures that are open", registry=registry)
        self._pictures = Counter(
            "signet_extractor_stream_pictures",
            "Pictures of streams by outcome (tracked, skipped, dropped, refused)",
            ("outcome",),
            registry=registry,
        )

        # A rate needs the series to exist before the first event.
        for outcome in PICTURE_OUTCOMES:
            self._pictures.labels(outcome)
        for part in PARTS_COUNTED:
            self._found.labels(part)
        for stage in STAGES:
            self.stage_seconds.labels(stage)

    def count_extracted(self, frames: int, frames_with_part: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """Count an extracted clip, its frames, the frames in which each part was found, and the seconds per stage."""
        self.count("extracted")
        for stage, duration in seconds.items():
            self.stage_seconds.labels(stage).observe(duration)
        self.frames.inc(frames)
        for part, number in frames_with_part.items():
            self._found.labels(part).inc(number)

    def count(self, outcome: str, reason: str = "", amount: int = 1) -> None:
        """Count clips with this outcome."""
        if amount:
            self.clips.labels(outcome, reason).inc(amount)

    @contextmanager
    def count_open_stream(self) -> Iterator[None]:
        """Count a stream of pictures as long as the context is open."""
        self._streams.inc()
        try:
            yield
        finally:
            self._streams.dec()

    def count_picture(self, outcome: str) -> None:
        """Count a picture of a stream; the outcome is one of `PICTURE_OUTCOMES`."""
        self._pictures.labels(outcome).inc()
