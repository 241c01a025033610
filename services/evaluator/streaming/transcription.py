"""One call of TranscribeVideo: the chunks of a video in, progress and signs out."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from services.evaluator.serving.servable_model import ServableModel
from services.evaluator.streaming.counts import StreamCounts
from services.evaluator.streaming.messages import StreamOptions, to_sign, to_silence
from services.evaluator.streaming.session import StreamServices
from signet.errors import DeadlineExceeded, InvalidInput, SignetError
from signet.landmarks import Landmarks, load
from signet.rpc.deadline import seconds_for_work
from signet.rpc.receiving import LARGE_REQUEST_BYTES
from signet.streaming import FinalSign, NothingSignedSince, SignStream
from signet.v1 import evaluator_pb2 as pb
from signet.v1 import extractor_pb2

Response = pb.TranscribeVideoResponse

# The time between two messages about progress, at least.
_PROGRESS_SECONDS = 0.5
# The first message must come within this time. The extractor limits the time of the others.
FIRST_MESSAGE_SECONDS = 30.0
# Frames that are added before their windows are computed.
_TOGETHER = 60

_RECEIVING = pb.TRANSCRIPTION_STAGE_RECEIVING
_EXTRACTING = pb.TRANSCRIPTION_STAGE_EXTRACTING
_RECOGNISING = pb.TRANSCRIPTION_STAGE_RECOGNISING


class VideoTranscription:
    """Answers one call: the extractor gets the chunks and gives landmarks, which go through a stream.

    Args:
        services: what all streams share.
        requests: the messages of the client.
        remaining: gives the seconds until the deadline of the call; None for no deadline.
    """

    def __init__(
        self,
        services: StreamServices,
        requests: AsyncIterator[pb.TranscribeVideoRequest],
        remaining: Callable[[], float | None],
    ) -> None:
        self._services = services
        self._requests = requests
        self._remaining = remaining
        self.outcome = "completed"
        self._counts = StreamCounts(services.open.metrics)
        self._stream: SignStream | None = None
        self._received = 0
        self._extracted_share = 0.0
        self._complete = False
        self._error: SignetError | None = None

    @property
    def frames_behind(self) -> int:
        """Model frames that wait for the model."""
        return self._stream.frames_behind if self._stream is not None else 0

    def stop(self, outcome: str, error: SignetError | None = None) -> None:
        """End the call before its next response."""
        self.outcome, self._error = outcome, error

    async def responses(self) -> AsyncGenerator[Response, None]:
        """The answers to the client.

        Raises:
            SignetError: the video cannot be transcribed, or the server stops.
        """
        first = await self._read_first()
        if first is None or not first.HasField("config"):
            raise InvalidInput("the first message has no configuration. Send `config` in it, then the chunks.")
        self._services.extractor.check_configured()
        models = self._services.models
        seconds = seconds_for_work(self._remaining())
        with (
            self._services.open.enter(self),
            await models.acquire(first.config.model_name, first.config.model_version, seconds) as model,
        ):
            options = StreamOptions(first.config, model)
            yield Response(started=options.started(model))
            pieces: list[bytes] = []
            async with aclosing(self._extract(first, pieces)) as progress:
                async for response in progress:
                    yield response
            self._check_stop()
            clip = await asyncio.to_thread(load, b"".join(pieces))
            pieces.clear()
            async with aclosing(self._recognise(model, options, clip)) as found:
                async for response in found:
                    yield response

    async def _read_first(self) -> pb.TranscribeVideoRequest | None:
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                return await anext(self._requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no message came for {FIRST_MESSAGE_SECONDS:g} s, and the call was ended. Send the video again."
            ) from None

    def _check_stop(self) -> None:
        if self._error is not None:
            raise self._error

    async def _extract(self, first: pb.TranscribeVideoRequest, pieces: list[bytes]) -> AsyncGenerator[Response, None]:
        """Have the video extracted; the pieces of its landmarks are added to `pieces`."""
        seconds = seconds_for_work(self._remaining())
        async with aclosing(self._services.extractor.extract_video(self._chunks(first), seconds)) as answers:
            sent: tuple[object, ...] = ()
            due = time.monotonic() + _PROGRESS_SECONDS
            waiting = asyncio.ensure_future(anext(answers, None))
            try:
                while True:
                    await asyncio.wait([waiting], timeout=_PROGRESS_SECONDS)
                    self._check_stop()
                    if waiting.done():
                        answer = waiting.result()
                        if answer is None:
                            return
                        if answer.part:
                            raise InvalidInput("the video is too long for one call. Cut it into parts of ten minutes.")
                        pieces.append(answer.landmarks)
                        self._extracted_share = answer.tracked_share or self._extracted_share
                        waiting = asyncio.ensure_future(anext(answers, None))
                    stage = _EXTRACTING if self._complete else _RECEIVING
                    reached = stage, self._received, self._extracted_share
                    if reached != sent and time.monotonic() >= due:
                        sent, due = reached, time.monotonic() + _PROGRESS_SECONDS
                        progress = pb.TranscriptionProgress(
                            stage=stage, received_bytes=self._received, extracted_share=self._extracted_share
                        )
                        yield Response(progress=progress)
            finally:
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.wait([waiting])

    async def _chunks(self, first: pb.TranscribeVideoRequest) -> AsyncIterator[extractor_pb2.ExtractClipStreamRequest]:
        """The chunks for the extractor. gRPC would turn an error here into a cancellation, so that it is kept."""
        request: pb.TranscribeVideoRequest | None = first
        try:
            while request is not None:
                _check_chunk(request)
                self._received += len(request.chunk)
                size = first.size if request is first else 0
                yield extractor_pb2.ExtractClipStreamRequest(
                    chunk=request.chunk, clip_id="video", size=size, progress=True
                )
                request = await anext(self._requests, None)
            self._complete = True
        except SignetError as error:
            self.stop("invalid", error)

    async def _recognise(
        self, model: ServableModel, options: StreamOptions, clip: Landmarks
    ) -> AsyncGenerator[Response, None]:
        stream = self._stream = SignStream(options.model, options.settings, options.left_handed)
        total = float(clip.timestamps[-1])
        warnings = list(clip.record.warnings)
        due = 0.0
        try:
            for start in range(0, len(clip.landmarks), _TOGETHER):
                times = clip.timestamps[start : start + _TOGETHER].tolist()
                for seconds, joints in zip(times, clip.landmarks[start : start + _TOGETHER], strict=True):
                    stream.add_frame(seconds, joints)
                self._counts.received += len(times)
                async for response in self._compute(model, stream):
                    yield response
                self._check_stop()
                if time.monotonic() >= due or start + _TOGETHER >= len(clip.landmarks):
                    due = time.monotonic() + _PROGRESS_SECONDS
                    progress = pb.TranscriptionProgress(
                        stage=_RECOGNISING,
                        received_bytes=self._received,
                        recognised_seconds=times[-1],
                        total_seconds=total,
                        warnings=warnings,
                    )
                    yield Response(progress=progress)
            stream.finish()
            async for response in self._compute(model, stream):
                yield response
            yield Response(statistics=self._counts.message(stream, is_last=True))
        finally:
            self._counts.update(stream.statistics)

    async def _compute(self, model: ServableModel, stream: SignStream) -> AsyncIterator[Response]:
        """Compute the windows that are ready, and give their signs."""
        while (window := stream.next_window()) is not None:
            stream.add_log_probs(window, await self._services.windows.log_probs(model, window))
        for event in stream.take_events():
            if isinstance(event, FinalSign):
                self._counts.count_sign(event, None)
                yield Response(final=to_sign(event))
            elif isinstance(event, NothingSignedSince):
                yield Response(nothing_signed=to_silence(event))


def _check_chunk(request: pb.TranscribeVideoRequest) -> None:
    if len(request.chunk) > LARGE_REQUEST_BYTES:
        raise InvalidInput(
            f"a chunk has {len(request.chunk)} bytes; at most {LARGE_REQUEST_BYTES} are allowed. Send smaller chunks."
        )
