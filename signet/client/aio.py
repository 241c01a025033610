"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from signet.client.inputs import ClipSource, read_clip
from signet.client.options import OPTIONS, ClientOptions, recognize_request
from signet.client.parts import LandmarkPart, PartJoiner, VideoSource, upload_requests
from signet.client.results import Recognition
from signet.client.retries import RetriedCall, RetryPolicy
from signet.errors import SignetError
from signet.v1 import evaluator_pb2_grpc, extractor_pb2_grpc


class AsyncSignetClient:
    """The `SignetClient` for asyncio: the same arguments, answers and errors.

        async with AsyncSignetClient("localhost:50053") as client:
            print((await client.recognise("clip.mp4")).best)

    It connects at its first call, and belongs to the event loop of that call. A call that is cancelled ends its work on
    the server.
    """

    def __init__(
        self, address: str, *, extractor: str = "", timeout: float | None = None, retry: RetryPolicy | None = None
    ) -> None:
        self._options = ClientOptions(address, extractor, timeout, retry or RetryPolicy())
        self._channels: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connections, and cancel the calls that are under way."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    def _channel(self, address: str) -> Any:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=OPTIONS)
        return self._channels[address]

    async def recognise(
        self, clip: ClipSource, *, top_k: int = 0, timeout: float | None = None, request_id: str = ""
    ) -> Recognition:
        """Ask which sign a clip shows. Arguments and errors are those of `SignetClient.recognise`."""
        given = await asyncio.to_thread(read_clip, clip)
        call = self._options.begin_recognition(given, timeout, request_id)
        request = recognize_request(given, top_k)
        stub = evaluator_pb2_grpc.RecognizerStub(self._channel(self._options.address))
        while True:
            try:
                response = await stub.Recognize(request, timeout=call.remaining(), metadata=call.metadata)
            except grpc.RpcError as error:
                await _wait_or_raise(call, error)
            else:
                return Recognition.from_response(response, call.request_id)

    async def recognise_many(
        self, clips: Iterable[ClipSource], *, concurrency: int = 8, top_k: int = 0, timeout: float | None = None
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

    async def extract(
        self, video: VideoSource, *, timeout: float | None = None, request_id: str = ""
    ) -> AsyncIterator[LandmarkPart]:
        """Have an extractor turn a video into landmark tensors, as `SignetClient.extract` does."""
        call = self._options.begin_extraction(video, timeout, request_id)
        stub = extractor_pb2_grpc.ExtractorStub(self._channel(self._options.extractor))
        while True:
            joiner, answered = PartJoiner(), False
            stream = stub.ExtractClipStream(timeout=call.remaining(), metadata=call.metadata)
            upload = asyncio.create_task(_upload(stream, video))
            try:
                async for response in stream:
                    answered = True
                    if (part := joiner.add(response)) is not None:
                        yield part
                if (part := joiner.finish()) is not None:
                    yield part
            except grpc.RpcError as error:
                await _raise_unreadable(upload)
                if answered:
                    raise await asyncio.to_thread(call.to_error, error) from error
                await _wait_or_raise(call, error)
            except asyncio.CancelledError:
                await _raise_unreadable(upload)
                raise
            else:
                return
            finally:
                upload.cancel()
                stream.cancel()


async def _wait_or_raise(call: RetriedCall, error: Any) -> None:
    """Wait before the next attempt of a call, or raise its error."""
    seconds = call.wait_after(error)
    if seconds is None:
        raise await asyncio.to_thread(call.to_error, error) from error
    await asyncio.sleep(seconds)


async def _upload(stream: Any, video: VideoSource) -> None:
    """Send the messages of a video.

    Raises:
        InvalidInput: the file cannot be read. The call is cancelled.
    """
    try:
        requests = await asyncio.to_thread(upload_requests, video)
        while (request := await asyncio.to_thread(next, requests, None)) is not None:
            await stream.write(request)
        await stream.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        return  # the call has ended; its status says why
    except SignetError:
        stream.cancel()
        raise


async def _raise_unreadable(upload: "asyncio.Task[None]") -> None:
    """Raise the error of a file that could not be read."""
    upload.cancel()
    done, _ = await asyncio.wait({upload})
    for task in done:
        if not task.cancelled() and isinstance(error := task.exception(), SignetError):
            raise error
