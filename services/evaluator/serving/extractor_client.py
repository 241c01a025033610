"""Client of the extractor: landmarks of an encoded video, and error messages that tell the caller what to do."""

from typing import Any

import grpc

from signet.errors import SignetError, Unavailable
from signet.rpc.client import to_signet_error
from signet.rpc.limits import CHANNEL_OPTIONS, RECONNECT_OPTIONS
from signet.telemetry.request_ids import request_id_metadata
from signet.telemetry.tracing import trace_metadata
from signet.v1 import extractor_pb2, extractor_pb2_grpc


class ExtractorClient:
    """Calls ExtractClip at host:port; "" for no extractor. Make it inside the event loop that serves, and close it."""

    def __init__(self, address: str) -> None:
        self._address = address
        options = CHANNEL_OPTIONS + RECONNECT_OPTIONS
        self._channel: Any = grpc.aio.insecure_channel(address, options=options) if address else None

    async def aclose(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def landmarks(self, video: bytes, deadline_seconds: float | None) -> bytes:
        """Extract a landmark tensor v1 from an encoded video file, within the deadline; None for no deadline.

        Raises:
            InvalidInput: the extractor refused the video; the message is the extractor's.
            DeadlineExceeded: the extractor did not finish in time.
            Busy: the extractor has too much work; with the time after which it can be tried again.
            Unavailable: no extractor is configured, or it cannot be reached.
        """
        if self._channel is None:
            raise Unavailable(
                "this evaluator has no extractor, so it cannot read videos. Start it with SIGNET_EXTRACTOR=host:port "
                "(--extractor), or send landmarks."
            )
        request = extractor_pb2.ExtractClipRequest(video=video, clip_id="video")
        metadata = (*request_id_metadata(), *trace_metadata())
        try:
            stub = extractor_pb2_grpc.ExtractorStub(self._channel)
            response = await stub.ExtractClip(request, timeout=deadline_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error
        return bytes(response.landmarks)

    def _translate(self, error: grpc.aio.AioRpcError) -> SignetError:
        code, details = error.code(), error.details() or "no details"
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED}:
            return Unavailable(
                f"the extractor at {self._address} cannot be used ({details}). Check that it runs, and that "
                "SIGNET_EXTRACTOR names it. Landmarks are served without it."
            )
        return to_signet_error(error, f"the extractor at {self._address}")
