"""One call of RecognizeStream: frames of the client in, events out."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.servable_model import ServableModel
from services.evaluator.streaming.arrivals import FrameArrivals
from services.evaluator.streaming.counts import StreamCounts
from services.evaluator.streaming.frames import Joints, read_frames
from services.evaluator.streaming.messages import StreamOptions, to_partial, to_sign, to_silence
from services.evaluator.streaming.open_streams import OpenStreams
from services.evaluator.streaming.pictures import PictureTracking
from services.evaluator.streaming.windows import WindowQueue
from services.evaluator.versions.lookup import Models
from signet.errors import DeadlineExceeded, InvalidInput, SignetError
from signet.rpc.deadline import seconds_for_work
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns, SignStream
from signet.v1 import evaluator_pb2 as pb
from signet.v1 import extractor_pb2, streaming_pb2

Response = pb.RecognizeStreamResponse

# A stream without a message for so long is ended.
IDLE_SECONDS = 60.0
# If no frame comes for so long, signs that are open become final.
FLUSH_SECONDS = 2.0
# How often a stream looks at the clock.
_TICK_SECONDS = 0.2
# Model frames, ten a second, that may wait for the model. Then the client is not read any more.
_MAX_BEHIND = 100
# Frames of one message that are added before other streams get their turn.
_TOGETHER = 30
# Answers about refused pictures that wait for the client.
_MAX_REFUSED = 16


@dataclass(frozen=True)
class StreamServices:
    """What all streams share."""

    models: Models
    windows: WindowQueue
    extractor: ExtractorClient
    open: OpenStreams


class RecognitionSession:
    """Answers one stream.

    A task reads the client, and adds its frames. The generator of the responses computes the windows. While the client
    does not read its responses, the generator stands still, and the task stops reading when `_MAX_BEHIND` frames wait.

    Args:
        services: what all streams share.
        requests: the messages of the client.
        remaining: gives the seconds until the deadline of the call; None for no deadline.
    """

    def __init__(
        self,
        services: StreamServices,
        requests: AsyncIterator[pb.RecognizeStreamRequest],
        remaining: Callable[[], float | None],
    ) -> None:
        self._services = services
        self._requests = requests
        self._remaining = remaining
        self.outcome = "completed"
        self._error: Exception | None = None
        self._ended = False
        # Set when there may be something to do for the generator, and when there is room for more frames.
        self._wake, self._room = asyncio.Event(), asyncio.Event()
        self._last_message = time.monotonic()
        self._flushed = True
        self._stream: SignStream | None = None
        self._pictures: PictureTracking | None = None
        self._has_landmarks = False
        self._arrivals = FrameArrivals()
        self._counts = StreamCounts(services.open.metrics)
        self._refused: deque[streaming_pb2.RefusedImage] = deque()
        self._partial: PartialSigns | None = None
        self._partial_due = self._statistics_due = 0.0

    @property
    def frames_behind(self) -> int:
        """Model frames that have arrived and are not recognised yet."""
        return self._stream.frames_behind if self._stream is not None else 0

    def stop(self, outcome: str, error: Exception | None = None) -> None:
        """End the stream after its last signs, with this error. Only the first call counts."""
        if not self._ended:
            self.outcome, self._error, self._ended = outcome, error, True
            self._wake.set()

    async def responses(self) -> AsyncGenerator[Response, None]:
        """The answers to the client.

        Raises:
            SignetError: why the stream ended.
        """
        config = await self._read_config()
        models, streams = self._services.models, self._services.open
        seconds = seconds_for_work(self._remaining())
        with streams.enter(self), await models.acquire(config.model_name, config.model_version, seconds) as model:
            options = StreamOptions(config, model)
            self._stream = SignStream(options.model, options.settings, options.left_handed)
            yield Response(started=options.started(model))
            reading = asyncio.create_task(self._read(options))
            ticking = asyncio.create_task(self._tick(options))
            try:
                async with aclosing(self._recognise(model, options)) as found:
                    async for response in found:
                        yield response
            finally:
                reading.cancel()
                ticking.cancel()
                if self._pictures is not None:
                    self._pictures.cancel()
                self._counts.update(self._stream.statistics)
            if self._error is not None:
                raise self._error

    async def _read_config(self) -> pb.StreamConfig:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                first = await anext(self._requests, None)
        except TimeoutError:
            raise _idle() from None
        if first is None or not first.HasField("config"):
            raise InvalidInput("the first message of the stream has no configuration. Send `config` first.")
        return first.config

    async def _recognise(self, model: ServableModel, options: StreamOptions) -> AsyncGenerator[Response, None]:
        stream = self._stream
        assert stream is not None  # noqa: S101  (`responses` has made it)
        finished = False
        while True:
            self._wake.clear()
            while (window := stream.next_window()) is not None:
                stream.add_log_probs(window, await self._services.windows.log_probs(model, window))
                for response in self._take_responses(stream, options):
                    yield response
            self._room.set()
            for response in self._take_responses(stream, options):
                yield response
            if finished:
                break
            if self._ended:
                stream.finish()
                finished = True
                continue
            await self._wake.wait()
        if self.outcome == "drained":
            message = "the server is stopping. Open another stream; this one ends after the statistics."
            yield Response(draining=pb.StreamDraining(message=message))
        yield Response(statistics=self._counts.message(stream, is_last=True))

    def _take_responses(self, stream: SignStream, options: StreamOptions) -> list[Response]:
        """The responses that are due now."""
        found = []
        now = time.monotonic()
        while self._refused:
            found.append(Response(refused_image=self._refused.popleft()))
        for event in stream.take_events():
            if isinstance(event, FinalSign):
                self._partial = None
                self._counts.count_sign(event, self._arrivals.latency(event.end, now))
                found.append(Response(final=to_sign(event)))
            elif isinstance(event, NothingSignedSince):
                self._partial = None
                found.append(Response(nothing_signed=to_silence(event)))
            elif isinstance(event, PartialSigns):
                self._partial = event
        if self._partial is not None and now >= self._partial_due:
            found.append(Response(partial=to_partial(self._partial)))
            self._partial, self._partial_due = None, now + options.partial_seconds
        if options.statistics_seconds is not None and now >= self._statistics_due:
            self._statistics_due = now + options.statistics_seconds
            found.append(Response(statistics=self._counts.message(stream, is_last=False)))
        return found

    async def _tick(self, options: StreamOptions) -> None:
        """Do what is due without a message: end idle streams, make open signs final, and wake the generator."""
        assert self._stream is not None  # noqa: S101  (`responses` has made it)
        while not self._ended:
            await asyncio.sleep(_TICK_SECONDS)
            silent = time.monotonic() - self._last_message
            left = seconds_for_work(self._remaining())
            if left is not None and left < 2 * _TICK_SECONDS:
                self.stop("deadline", DeadlineExceeded("the stream reached its deadline. Open another one."))
            elif silent > IDLE_SECONDS and self.frames_behind <= _MAX_BEHIND:
                self.stop("idle", _idle())
            elif silent > FLUSH_SECONDS and not self._flushed:
                self._flushed = True
                self._stream.flush()
            self._counts.update(self._stream.statistics)
            if self._partial is not None or options.statistics_seconds is not None or self._flushed:
                self._wake.set()

    async def _read(self, options: StreamOptions) -> None:
        """Read the client until it ends its side, and add its frames."""
        try:
            async for request in self._requests:
                self._last_message = time.monotonic()
                if request.HasField("image"):
                    await self._send_picture(request.image, options)
                else:
                    await self._add_message(request)
            if self._pictures is not None:
                await self._pictures.finish()
            self.stop("completed")
        except SignetError as error:
            self.stop("invalid" if isinstance(error, InvalidInput) else "failed", error)
        except Exception as error:  # noqa: BLE001  (the generator raises it, and the interceptor logs it)
            self.stop("failed", error)

    async def _add_message(self, request: pb.RecognizeStreamRequest) -> None:
        if not request.HasField("frames"):
            raise InvalidInput(
                "a message of the stream has neither frames nor a picture. Send the configuration once, then "
                "`frames` or `image`."
            )
        if self._pictures is not None:
            raise InvalidInput("the stream has sent pictures before. Open another stream for landmarks.")
        self._has_landmarks = True
        message = request.frames
        landmarks = read_frames(message)
        self._counts.received += len(landmarks)
        for start in range(0, len(landmarks), _TOGETHER):
            now = time.monotonic()
            for seconds in message.seconds[start : start + _TOGETHER]:
                self._arrivals.add(seconds, now)
            await self._add_frames(message.seconds[start : start + _TOGETHER], landmarks[start : start + _TOGETHER])

    async def _add_frames(self, times: Sequence[float], landmarks: Joints) -> None:
        stream = self._stream
        assert stream is not None  # noqa: S101  (`responses` has made it)
        for seconds, joints in zip(times, landmarks, strict=True):
            stream.add_frame(seconds, joints)
        self._flushed = False
        self._wake.set()
        while stream.frames_behind > _MAX_BEHIND:
            self._room.clear()
            await self._room.wait()

    async def _send_picture(self, image: streaming_pb2.EncodedImage, options: StreamOptions) -> None:
        if self._has_landmarks:
            raise InvalidInput("the stream has sent landmarks before. Open another stream for pictures.")
        if self._pictures is None:
            self._pictures = PictureTracking(
                self._services.extractor,
                self._receive_tracked,
                lambda error: self.stop("extractor_lost", error),
                drop_when_behind=options.drop_when_behind,
            )
        self._counts.received += 1
        self._arrivals.add(image.seconds, time.monotonic())
        await self._pictures.send(image)

    async def _receive_tracked(self, response: extractor_pb2.ExtractStreamResponse) -> None:
        """Take an answer of the extractor."""
        self._counts.note_extractor(response)
        if response.HasField("landmarks"):
            await self._add_frames(response.landmarks.seconds, read_frames(response.landmarks))
        elif response.HasField("refused"):
            self._refused.append(response.refused)
            self._wake.set()
            while len(self._refused) >= _MAX_REFUSED:
                self._room.clear()
                await self._room.wait()


def _idle() -> DeadlineExceeded:
    return DeadlineExceeded(f"no frame came for {IDLE_SECONDS:g} s, and the stream was ended. Open another one.")
