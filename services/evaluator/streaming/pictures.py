"""The pictures of a stream go to the extractor; its landmarks come back to the stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from services.evaluator.serving.extractor_client import ExtractorClient
from signet.v1 import streaming_pb2
from signet.v1.extractor_pb2 import ExtractStreamConfig, ExtractStreamRequest, ExtractStreamResponse

# Pictures that wait until the extractor reads them. Then the client is held up.
_MAX_WAITING = 2


class PictureTracking:
    """One call of ExtractStream. Make it inside a running event loop.

    Args:
        extractor: makes the call.
        drop_when_behind: whether the extractor may drop pictures that wait.
        receive: is awaited with each answer.
        failed: is called if the extractor cannot be used any more.
    """

    def __init__(
        self,
        extractor: ExtractorClient,
        receive: Callable[[ExtractStreamResponse], Awaitable[None]],
        failed: Callable[[Exception], None],
        *,
        drop_when_behind: bool,
    ) -> None:
        self._extractor = extractor
        self._receive = receive
        self._failed = failed
        self._config = ExtractStreamConfig(drop_when_behind=drop_when_behind)
        self._waiting: asyncio.Queue[streaming_pb2.EncodedImage | None] = asyncio.Queue(_MAX_WAITING)
        self._started = asyncio.Event()
        self._task = asyncio.create_task(self._track())

    async def send(self, image: streaming_pb2.EncodedImage) -> None:
        """Send a picture. It waits as long as the extractor reads no more."""
        await self._waiting.put(image)

    async def finish(self) -> None:
        """Send no more pictures, and wait for the last answer."""
        await self._waiting.put(None)
        await self._task

    def cancel(self) -> None:
        """End the call at once."""
        self._task.cancel()

    async def _requests(self) -> AsyncIterator[ExtractStreamRequest]:
        yield ExtractStreamRequest(config=self._config)
        # gRPC may lose the status of a call that is refused while a message is sent.
        await self._started.wait()
        while (image := await self._waiting.get()) is not None:
            yield ExtractStreamRequest(image=image)

    async def _track(self) -> None:
        try:
            async with aclosing(self._extractor.track_pictures(self._requests())) as responses:
                async for response in responses:
                    self._started.set()
                    await self._receive(response)
        except Exception as error:  # noqa: BLE001  (otherwise the stream would wait for this task in vain)
            self._failed(error)
