"""Client of the extractor: landmarks of an encoded video, and error messages that tell the caller what to do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from signet.errors import SignetError, Unavailable
from signet.rpc.client import to_signet_error
from signet.rpc.limits import CHANNEL_OPTIONS, RECONNECT_OPTIONS
from signet.security.credentials import ChannelSecurity
from signet.telemetry.request_ids import request_id_metadata
from signet.telemetry.tracing import trace_metadata
from signet.v1 import extractor_pb2, extractor_pb2_grpc

# The extractor's answers that mean that this evaluator cannot use it, whatever its clients send.
_UNUSABLE = {
    grpc.StatusCode.UNAVAILABLE: "Check that it runs, and that SIGNET_EXTRACTOR names it.",
    grpc.StatusCode.UNIMPLEMENTED: "Check that it runs, and that SIGNET_EXTRACTOR names it.",
    grpc.StatusCode.UNAUTHENTICATED: "Give this evaluator a token of the extractor: SIGNET_CLIENT_TOKEN_FILE.",
    grpc.StatusCode.PERMISSION_DENIED: "Give this evaluator a token of the extractor: SIGNET_CLIENT_TOKEN_FILE.",
}
# What gRPC says instead of a status, if a stream is ended or its connection is lost while a message is sent.
_NO_STATUS = "Internal error from Core"
# After new certificates were read, calls on the old channel may go on for so long.
_CLOSE_SECONDS = 600.0


class ExtractorClient:
    """Calls ExtractClip at host:port; "" for no extractor. Make it inside the event loop that serves, and close it.

    TLS, certificates and the token come from the settings SIGNET_CLIENT_*. Changed files are used for new calls.

    Raises:
        InvalidSetting: these settings cannot be used.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._security = ChannelSecurity() if address else None
        self._channel: Any = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Close the channel."""
        for task in self._closing:
            task.cancel()
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> Any:
        """Open a channel with the certificates of now; None without an extractor."""
        if self._security is None:
            return None
        return self._security.open_async_channel(self._address, CHANNEL_OPTIONS + RECONNECT_OPTIONS)

    def _use_new_certificates(self, security: ChannelSecurity) -> None:
        """Open another channel if the certificates have changed."""
        if security.reload():
            closing = asyncio.create_task(self._channel.close(_CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._channel = self._open()

    async def landmarks(self, video: bytes, deadline_seconds: float | None) -> bytes:
        """Extract a landmark tensor v1 from an encoded video file, within the deadline; None for no deadline.

        Raises:
            InvalidInput: the extractor refused the video; the message is the extractor's.
            DeadlineExceeded: the extractor did not finish in time.
            Busy: the extractor has too much work; with the time after which it can be tried again.
            Unavailable: no extractor is configured, or it cannot be reached.
        """
        request = extractor_pb2.ExtractClipRequest(video=video, clip_id="video")
        stub, metadata = self._begin_call()
        try:
            response = await stub.ExtractClip(request, timeout=deadline_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return bytes(response.landmarks)

    async def track_pictures(
        self, requests: AsyncIterator[extractor_pb2.ExtractStreamRequest]
    ) -> AsyncGenerator[extractor_pb2.ExtractStreamResponse, None]:
        """Call ExtractStream with these requests. The call is cancelled when the generator is closed.

        Raises:
            SignetError: as of `landmarks`.
        """
        stub, metadata = self._begin_call()
        async for response in self._responses(stub.ExtractStream(requests, metadata=metadata)):
            yield response

    async def extract_video(
        self, requests: AsyncIterator[extractor_pb2.ExtractClipStreamRequest], deadline_seconds: float | None
    ) -> AsyncGenerator[extractor_pb2.ExtractClipStreamResponse, None]:
        """Call ExtractClipStream with these requests. The call is cancelled when the generator is closed.

        Raises:
            SignetError: as of `landmarks`.
        """
        stub, metadata = self._begin_call()
        call = stub.ExtractClipStream(requests, timeout=deadline_seconds, metadata=metadata)
        async for response in self._responses(call):
            yield response

    async def _responses(self, call: Any) -> AsyncGenerator[Any, None]:
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        finally:
            call.cancel()

    def check_configured(self) -> None:
        """Check that there is an extractor to call.

        Raises:
            Unavailable: no extractor is configured.
        """
        if self._security is None:
            raise Unavailable(
                "this evaluator has no extractor, so it cannot read videos. Start it with SIGNET_EXTRACTOR=host:port "
                "(--extractor), or send landmarks."
            )

    def _begin_call(self) -> tuple[Any, tuple[tuple[str, str], ...]]:
        """The stub and the metadata of a new call.

        Raises:
            Unavailable: no extractor is configured.
        """
        self.check_configured()
        assert self._security is not None  # noqa: S101  (it is configured)
        self._use_new_certificates(self._security)
        metadata = (*request_id_metadata(), *trace_metadata(), *self._security.metadata())
        return extractor_pb2_grpc.ExtractorStub(self._channel), metadata

    def _translate(self, error: grpc.aio.AioRpcError) -> SignetError:
        code, details = error.code(), error.details() or "no details"
        if code is grpc.StatusCode.INTERNAL and details == _NO_STATUS:
            return Unavailable(
                f"the extractor at {self._address} ended the call without a reason, or the connection to it was lost. "
                "Check that it runs, and try again. Landmarks are served without it."
            )
        if code in _UNUSABLE:
            return Unavailable(
                f"the extractor at {self._address} cannot be used ({details}). {_UNUSABLE[code]} Landmarks are served "
                "without it."
            )
        return to_signet_error(error, f"the extractor at {self._address}")
