"""What became of the frames and the signs of a stream."""

from services.evaluator.streaming.metrics import StreamMetrics
from signet.streaming import FinalSign, SignStream, StreamStatistics
from signet.v1 import evaluator_pb2 as pb
from signet.v1 import extractor_pb2


class StreamCounts:
    """Counts frames and signs of one stream, for its client and for the metrics."""

    def __init__(self, metrics: StreamMetrics) -> None:
        self._metrics = metrics
        self.received = 0
        self._skipped = self._dropped_pictures = self._refused = 0
        self._signs = self._rejected = 0
        # What the metrics have counted: used, late and dropped frames.
        self._counted = (0, 0, 0)

    def note_extractor(self, response: extractor_pb2.ExtractStreamResponse) -> None:
        """Take the counts of the extractor."""
        self._skipped, self._dropped_pictures = response.skipped, response.dropped
        self._refused += response.HasField("refused")

    def count_sign(self, sign: FinalSign, latency: float | None) -> None:
        """Count a final sign, with the seconds since its last frame arrived; None if that is not known."""
        self._signs += 1
        self._rejected += sign.rejected
        self._metrics.count_sign(latency, rejected=sign.rejected)

    def update(self, statistics: StreamStatistics) -> None:
        """Count the frames since the last update for the metrics."""
        found = (statistics.frames, statistics.late, self._dropped(statistics))
        for outcome, before, now in zip(("used", "late", "dropped"), self._counted, found, strict=True):
            self._metrics.count_frames(outcome, now - before)
        self._counted = found

    def _dropped(self, statistics: StreamStatistics) -> int:
        return statistics.dropped - statistics.late + self._dropped_pictures

    def message(self, stream: SignStream, *, is_last: bool) -> pb.StreamStatistics:
        """The counts until now."""
        statistics = stream.statistics
        return pb.StreamStatistics(
            received=self.received,
            late=statistics.late,
            dropped=self._dropped(statistics),
            behind=stream.frames_behind,
            refused_images=self._refused,
            signs=self._signs,
            rejected_signs=self._rejected,
            skipped=self._skipped,
            is_last=is_last,
        )
