"""From an encoded video to landmarks: the extractor does it, and its errors are said so that the caller can act."""

from types import TracebackType
from typing import Any

import grpc

from signet.errors import SignetError, Unavailable, from_code
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.v1 import extractor_pb2, extractor_pb2_grpc

# gRPC waits up to two minutes between attempts to connect; an extractor that is back should be used at once.
_RECONNECT_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]


class VideoExtractor:
    """The extractor's ExtractClip. Use as an async context manager, inside the event loop that serves.

    Args:
        address: host:port, or "" where there is no extractor.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: Any = None
        self._stub: Any = None

    async def __aenter__(self) -> "VideoExtractor":
        if self._address:
            self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS + _RECONNECT_OPTIONS)
            self._stub = extractor_pb2_grpc.ExtractorStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def landmarks(self, video: bytes, deadline_seconds: float | None) -> bytes:
        """A video's landmark tensor v1.

        Args:
            video: an encoded video file.
            deadline_seconds: what is left of the caller's time; None for as long as it takes.

        Raises:
            InvalidInput: the video is not a usable clip; the extractor's message says why.
            DeadlineExceeded: the caller's time ran out.
            Unavailable: no extractor is configured, or it cannot be reached.
        """
        if self._stub is None:
            raise Unavailable(
                "this evaluator has no extractor, so it cannot read videos. Start it with SIGNET_EXTRACTOR=host:port "
                "(--extractor), or send landmarks."
            )
        request = extractor_pb2.ExtractClipRequest(video=video, clip_id="video")
        try:
            response = await self._stub.ExtractClip(request, timeout=deadline_seconds)
        except grpc.aio.AioRpcError as error:
            raise self._meaning(error) from error
        return bytes(response.landmarks)

    def _meaning(self, error: grpc.aio.AioRpcError) -> SignetError:
        code, details = error.code(), error.details() or "no details"
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED}:
            return Unavailable(
                f"the extractor at {self._address} cannot be used ({details}). Is it running, and is SIGNET_EXTRACTOR "
                "right? Landmarks are served without it."
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"the extractor at {self._address} did not finish within the caller's deadline. Allow more time."
        return from_code(code.name, details)
