"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

from signet.client.extraction import VideoExtraction
from signet.client.inputs import ClipSource, read_clip
from signet.client.options import OPTIONS, ClientOptions
from signet.client.parts import LandmarkPart, VideoChunks, VideoSource
from signet.client.results import Recognition, ServedModelStatus, statuses_from_response
from signet.client.retries import RetriedCall, RetryPolicy
from signet.client.stream_results import RecognitionEvent
from signet.client.streaming import AsyncFrames, RecognitionOptions, SignRecognition, StreamFrame
from signet.client.transcription import TranscribedVideo, TranscriptionEvent
from signet.errors import SignetError
from signet.security.credentials import ChannelSecurity, ClientSettings
from signet.telemetry.tracing import open_client_tracing
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2_grpc


class AsyncSignetClient:
    """The `SignetClient` for asyncio: the same arguments, answers and errors.

        async with AsyncSignetClient("localhost:50053") as client:
            print((await client.recognise("clip.mp4")).best)

    It connects at its first call, and belongs to the event loop of that call. A call that is cancelled ends its work on
    the server.
    """

    def __init__(
        self,
        address: str,
        *,
        extractor: str = "",
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        traces: bool = False,
        security: ClientSettings | None = None,
        model_name: str = "",
        model_version: str = "",
    ) -> None:
        recorder, secured = open_client_tracing() if traces else None, ChannelSecurity(security)
        self._options = ClientOptions(
            address, extractor, timeout, retry or RetryPolicy(), recorder, secured, model_name, model_version
        )
        self._channel: Any = None
        self._extractor: Any = None
        self._streams: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connections, and cancel the calls that are under way."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        extractor, self._extractor = self._extractor, None
        if extractor is not None:
            extractor.close()
        streams, self._streams = self._streams, None
        if streams is not None:
            streams.close()

    async def recognise(
        self,
        clip: ClipSource,
        *,
        top_k: int = 0,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> Recognition:
        """Ask which sign a clip shows. Arguments and errors are those of `SignetClient.recognise`."""
        given = await asyncio.to_thread(read_clip, clip)
        call = self._options.begin_recognition(given, timeout, request_id)
        request = self._options.recognize_request(given, top_k, model_name, model_version)
        with call:
            response = await _send(call, self._recognizer().Recognize, request)
        return Recognition.from_response(response, call.request_id)

    def _recognizer(self) -> Any:
        if self._channel is None:
            self._channel = self._options.security.open_async_channel(self._options.address, OPTIONS)
        return evaluator_pb2_grpc.RecognizerStub(self._channel)

    async def recognise_many(
        self,
        clips: Iterable[ClipSource],
        *,
        concurrency: int = 8,
        top_k: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[Recognition | SignetError]:
        """Recognise several clips at a time, and return their answers in the order of the clips.

        A clip that cannot be recognised gives its error in place of an answer. The others go on. At most twice
        `concurrency` clips are read ahead of the answer that is returned next.
        """
        turns = asyncio.Semaphore(concurrency)

        async def recognise(clip: ClipSource) -> Recognition | SignetError:
            async with turns:
                try:
                    return await self.recognise(clip, top_k=top_k, timeout=timeout)
                except SignetError as error:
                    return error

        waiting: deque[asyncio.Task[Recognition | SignetError]] = deque()
        try:
            for clip in clips:
                waiting.append(asyncio.create_task(recognise(clip)))
                if len(waiting) >= 2 * concurrency:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def recognise_stream(
        self,
        frames: AsyncIterable[StreamFrame],
        options: RecognitionOptions | None = None,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> AsyncIterator[RecognitionEvent]:
        """Recognise continuous signing as it happens, as `SignetClient.recognise_stream` does. Takes one thread."""
        options = options or RecognitionOptions()
        call, config = self._options.begin_stream(options, model_name, model_version, timeout, request_id)
        method = self._threaded_recognizer().RecognizeStream
        given = AsyncFrames(aiter(frames))
        recognition = SignRecognition(method, call, config, given, options.group_seconds)
        thread, loop = ThreadPoolExecutor(1, "signet-stream"), asyncio.get_running_loop()
        try:
            while (event := await loop.run_in_executor(thread, next, recognition, None)) is not None:
                yield event
        finally:
            given.close()
            recognition.cancel()
            thread.shutdown(wait=False)

    async def transcribe_video(
        self,
        video: VideoChunks,
        options: RecognitionOptions | None = None,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = None,
        request_id: str = "",
    ) -> AsyncIterator[TranscriptionEvent]:
        """Find the signs of a whole video, as `SignetClient.transcribe_video` does. Takes one thread."""
        options = options or RecognitionOptions()
        begin = self._options.begin_transcription
        call, config = begin(video, options, model_name, model_version, timeout, request_id)
        transcription = TranscribedVideo(self._threaded_recognizer().TranscribeVideo, call, config, video)
        thread, loop = ThreadPoolExecutor(1, "signet-transcription"), asyncio.get_running_loop()
        try:
            while (event := await loop.run_in_executor(thread, next, transcription, None)) is not None:
                yield event
        finally:
            transcription.cancel()
            thread.shutdown(wait=False)

    def _threaded_recognizer(self) -> Any:
        if self._streams is None:
            self._streams = self._options.security.open_channel(self._options.address, OPTIONS)
        return evaluator_pb2_grpc.RecognizerStub(self._streams)

    async def serving(self, model_name: str = "", *, timeout: float | None = None) -> tuple[ServedModelStatus, ...]:
        """Ask which versions the evaluator has in memory, as `SignetClient.serving` does."""
        request = evaluator_pb2.GetServingStatusRequest(model_name=model_name)
        with self._options.begin_question("signet.v1.Recognizer/GetServingStatus", timeout) as call:
            return statuses_from_response(await _send(call, self._recognizer().GetServingStatus, request))

    async def extract(
        self, video: VideoSource, *, timeout: float | None = None, request_id: str = ""
    ) -> AsyncIterator[LandmarkPart]:
        """Have an extractor turn a video into landmark tensors, as `SignetClient.extract` does."""
        call = self._options.begin_extraction(video, timeout, request_id)
        if self._extractor is None:
            self._extractor = self._options.security.open_channel(self._options.extractor, OPTIONS)
        stub = extractor_pb2_grpc.ExtractorStub(self._extractor)
        extraction = VideoExtraction(stub.ExtractClipStream, call, video)
        try:
            while (part := await asyncio.to_thread(next, extraction, None)) is not None:
                yield part
        finally:
            extraction.cancel()


async def _send(call: RetriedCall, method: Callable[..., Any], request: Any) -> Any:
    """Send a request, again if that can help, and return the response."""
    while True:
        try:
            return await method(request, timeout=call.remaining(), metadata=call.metadata)
        except grpc.RpcError as error:
            seconds = call.wait_after(error)
            if seconds is None:
                raise await asyncio.to_thread(call.to_error, error) from error
        await asyncio.sleep(seconds)
