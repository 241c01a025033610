"""Lanes: calls of similar cost share places, threads and model runs, so that costly calls do not hold up cheap ones."""

from dataclasses import dataclass

from services.evaluator.serving.admission import Admission
from services.evaluator.serving.batching import Batcher, BatchQueue
from services.evaluator.serving.compute import Compute
from services.evaluator.serving.pipeline import ClipRequest, ProcessedClip
from signet.landmarks import ClipLength
from signet.rpc.limits import MAX_MESSAGE_BYTES

_MIB = 1024 * 1024

# Of 707 clips of signs, 704 are shorter than 6 s. A short clip costs a core at most 0.1 s.
_SHORT_SECONDS, _SHORT_FRAMES = 6.0, 720
# A recording of a sign with some seconds before and after it.
_MEDIUM_SECONDS, _MEDIUM_FRAMES = 30.0, 3_600
# Each short clip has at most 60 frames of the model.
_SHORT_CALLS = 128
# A video with more bytes is longer than a sign, or has a high resolution.
_SMALL_VIDEO_BYTES = 4 * _MIB


@dataclass(frozen=True)
class Lane:
    """The places of calls, and the queue in which they wait for their batch."""

    admission: Admission
    queue: BatchQueue[ClipRequest, ProcessedClip]


class Lanes:
    """The lanes of short, medium and long clips, and the places of videos."""

    def __init__(self, compute: Compute) -> None:
        short = Batcher(compute.process, "short", compute.parallel)
        # One thread: so medium and long clips together occupy one core, and their outputs of the model (frames times
        # glosses, 14 MB for a long clip and 2,000 glosses) exist for one batch at a time.
        costly = Batcher(compute.process, "costly")
        self._short = Lane(
            Admission("short clips", max_calls=_SHORT_CALLS, max_bytes=32 * _MIB, max_seconds=768, retry_seconds=1),
            # If the batches that are computed had all calls, the callers would get their answers at the same time, and
            # there would be nothing to compute until they send the next requests.
            short.add_queue(share=compute.parallel + 1),
        )
        self._medium = Lane(
            Admission("clips of more than 6 s", max_calls=128, max_bytes=32 * _MIB, max_seconds=1_500, retry_seconds=2),
            costly.add_queue(),
        )
        self._long = Lane(
            Admission("long clips", max_calls=32, max_bytes=48 * _MIB, max_seconds=2_880, retry_seconds=5),
            costly.add_queue(),
        )
        # A place of a video holds its bytes, a copy, and the request to the extractor.
        self._small_videos = Admission("videos", max_calls=32, max_bytes=32 * _MIB, retry_seconds=5)
        self._large_videos = Admission("large videos", max_calls=8, max_bytes=MAX_MESSAGE_BYTES, retry_seconds=5)

    def lane(self, length: ClipLength, size: int) -> Lane:
        """The lane of a clip with so many bytes of landmarks."""
        if length.seconds <= _SHORT_SECONDS and length.frames <= _SHORT_FRAMES and size <= _MIB:
            return self._short
        if length.seconds <= _MEDIUM_SECONDS and length.frames <= _MEDIUM_FRAMES and size <= 4 * _MIB:
            return self._medium
        return self._long

    def videos(self, size: int) -> Admission:
        """The places for videos with so many bytes."""
        return self._small_videos if size <= _SMALL_VIDEO_BYTES else self._large_videos
