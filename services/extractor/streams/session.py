"""One stream of pictures: which of them are tracked, which messages its client gets, and when it ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from services.extractor.metrics import ExtractorMetrics
from services.extractor.streams.images import MAX_IMAGE_BYTES
from services.extractor.streams.pool import StreamPool, TrackedStream
from services.extractor.tracking.trackers import FAST_RATE, TrackingQuality, fingerprint
from services.extractor.video.frame_choice import FrameChoice
from signet.errors import ClipError, DeadlineExceeded, InvalidInput, Unavailable
from signet.v1 import extractor_pb2 as pb
from signet.v1 import streaming_pb2

# A stream without a picture for so long is ended: it keeps a place that others wait for.
IDLE_SECONDS = 60.0
# If the time of a picture differs by more from that of the picture before, the camera's clock was set, or it paused.
_MAX_STEP_SECONDS = 2.0
# Pictures that wait for the tracker. While they wait, no more are read, and the client is held up.
_MAX_WAITING = 2


@dataclass
class _PictureCounts:
    received: int = 0
    tracked: int = 0
    skipped: int = 0
    dropped: int = 0


class _Stop:
    """Ends the reading of a stream: there are no more pictures, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class StreamSession:
    """Answers one stream of pictures.

    Args:
        pool: has the places of streams.
        requests: the messages of the client.
        stopping: set when the service stops.
        metrics: counts the pictures.
    """

    def __init__(
        self,
        pool: StreamPool,
        requests: AsyncIterator[pb.ExtractStreamRequest],
        stopping: asyncio.Event,
        metrics: ExtractorMetrics,
    ) -> None:
        self._pool = pool
        self._requests = requests
        self._stopping = stopping
        self._metrics = metrics
        self._counts = _PictureCounts()
        self._drop = False
        self._waiting: asyncio.Queue[streaming_pb2.EncodedImage | _Stop] = asyncio.Queue(_MAX_WAITING)
        self._choice = FrameChoice(FAST_RATE)
        self._first: float | None = None
        self._last = 0.0

    async def responses(self) -> AsyncGenerator[pb.ExtractStreamResponse, None]:
        """The answers to the client.

        Raises:
            Busy: all places are taken.
            InvalidInput: the messages are no configuration and pictures.
            DeadlineExceeded: no picture came for `IDLE_SECONDS`.
            Unavailable: the service stops.
        """
        first = await self._next_request()
        if first is None or not first.HasField("config"):
            raise InvalidInput("the first message of the stream has no configuration. Send `config` first.")
        self._drop = first.config.drop_when_behind
        async with self._pool.stream() as stream:
            yield pb.ExtractStreamResponse(started=pb.ExtractStreamStarted(extractor=fingerprint(TrackingQuality.FAST)))
            reading = asyncio.create_task(self._read())
            ending = asyncio.create_task(self._stop_with_service())
            try:
                while not isinstance(image := await self._waiting.get(), _Stop):
                    yield await self._answer(stream, image)
                if image.error is not None:
                    raise image.error
            finally:
                for task in (reading, ending):
                    task.cancel()
        counts = self._counts
        yield self._response(pb.ExtractStreamEnded(received=counts.received, tracked=counts.tracked))

    async def _next_request(self) -> pb.ExtractStreamRequest | None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await anext(self._requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no picture came for {IDLE_SECONDS:g} s, and the stream was ended. Open another one."
            ) from None

    async def _next_picture(self) -> streaming_pb2.EncodedImage | None:
        request = await self._next_request()
        if request is not None and not request.HasField("image"):
            raise InvalidInput("a message of the stream has no picture. Send `image` after the configuration.")
        return request.image if request is not None else None

    async def _stop_with_service(self) -> None:
        """End the stream when the service stops; pictures that wait are not tracked any more."""
        await self._stopping.wait()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(_Stop(Unavailable("the extractor is stopping. Open the stream again.")))

    async def _read(self) -> None:
        """Read the pictures of the client, and let those wait that are tracked."""
        stop = _Stop()
        try:
            while (image := await self._next_picture()) is not None:
                self._counts.received += 1
                if not self._is_due(image.seconds):
                    self._counts.skipped += 1
                    self._metrics.count_picture("skipped")
                    continue
                if len(image.data) > MAX_IMAGE_BYTES:
                    image.data = image.data[: MAX_IMAGE_BYTES + 1]  # enough to be refused
                if self._drop and self._waiting.full():
                    with suppress(asyncio.QueueEmpty):
                        self._waiting.get_nowait()
                        self._counts.dropped += 1
                        self._metrics.count_picture("dropped")
                await self._waiting.put(image)
        except Exception as error:  # noqa: BLE001  (the generator of the responses raises it)
            stop = _Stop(error)
        await self._waiting.put(stop)

    def _is_due(self, seconds: float) -> bool:
        """Whether a picture is tracked: it is later than those before, and the next one at about 10 a second."""
        step = seconds - self._last
        if self._first is None or abs(step) > _MAX_STEP_SECONDS:
            # Otherwise one wrong time in the future would make all later pictures too old.
            self._first, self._last, self._choice = seconds, seconds, FrameChoice(FAST_RATE)
            return self._choice.is_due(0.0, 0.0)
        if step <= 0:
            return False
        self._last = seconds
        return self._choice.is_due(seconds - self._first, min(step, 1 / FAST_RATE))

    async def _answer(self, stream: TrackedStream, image: streaming_pb2.EncodedImage) -> pb.ExtractStreamResponse:
        try:
            landmarks = await stream.track(image.data)
        except ClipError as error:
            self._metrics.count_picture("refused")
            refused = streaming_pb2.RefusedImage(seconds=image.seconds, reason=error.reason, message=str(error))
            return self._response(refused)
        self._counts.tracked += 1
        self._metrics.count_picture("tracked")
        return self._response(streaming_pb2.LandmarkFrames(seconds=[image.seconds], float16=landmarks.tobytes()))

    def _response(
        self, event: streaming_pb2.LandmarkFrames | streaming_pb2.RefusedImage | pb.ExtractStreamEnded
    ) -> pb.ExtractStreamResponse:
        response = pb.ExtractStreamResponse(skipped=self._counts.skipped, dropped=self._counts.dropped)
        if isinstance(event, streaming_pb2.LandmarkFrames):
            response.landmarks.CopyFrom(event)
        elif isinstance(event, streaming_pb2.RefusedImage):
            response.refused.CopyFrom(event)
        else:
            response.ended.CopyFrom(event)
        return response
