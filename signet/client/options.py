"""The arguments that both clients have, and the calls that they begin with them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from signet.client.inputs import ClipInput
from signet.client.parts import VideoChunks, VideoSource
from signet.client.retries import RetriedCall, RetryPolicy
from signet.client.streaming import RecognitionOptions
from signet.errors import InvalidInput
from signet.rpc.limits import CHANNEL_OPTIONS, RECONNECT_OPTIONS
from signet.rpc.probe import check_address
from signet.security.credentials import ChannelSecurity
from signet.telemetry.tracing import CallSpan, TraceRecorder
from signet.v1 import evaluator_pb2

# The server ends a stream whose video is not complete after 15 minutes. A video has two hours of work at most.
STREAM_SECONDS = 7_200.0

# A stream of frames ends when its frames do.
OPEN_END_SECONDS = 30 * 86_400.0

# The evaluator answers questions about itself from memory.
QUESTION_SECONDS = 10.0

OPTIONS = [*CHANNEL_OPTIONS, *RECONNECT_OPTIONS]


@dataclass(frozen=True)
class ClientOptions:
    """The checked arguments of a client.

    Raises:
        InvalidSetting: an address cannot be used, or the token would cross a network without TLS.
    """

    address: str
    extractor: str
    timeout: float | None
    retry: RetryPolicy
    traces: TraceRecorder | None
    security: ChannelSecurity
    model_name: str
    model_version: str

    def __post_init__(self) -> None:
        for name in ("address", "extractor"):
            if name == "address" or getattr(self, name):
                check_address(getattr(self, name), name)
                self.security.check_address(getattr(self, name))

    def begin_recognition(self, clip: ClipInput, timeout: float | None, request_id: str) -> RetriedCall:
        """Begin a call of Recognize. Its deadline is `timeout`, that of the client, or one by the clip's length."""
        seconds = timeout or self.timeout or clip.default_timeout
        span = self._span("signet.v1.Recognizer/Recognize")
        return RetriedCall(self.retry, seconds, self.address, request_id, clip.name_in_message, span, self.security)

    def begin_extraction(self, video: VideoSource, timeout: float | None, request_id: str) -> RetriedCall:
        """Begin a call of ExtractClipStream.

        Raises:
            InvalidInput: the client has no address of an extractor.
        """
        if not self.extractor:
            raise InvalidInput("this client has no address of an extractor. Give it one: extractor='host:port'.")
        seconds = timeout or self.timeout or STREAM_SECONDS
        name = "" if isinstance(video, bytes) else str(video)
        clip = ClipInput("video", b"", name)
        span = self._span("signet.v1.Extractor/ExtractClipStream")
        return RetriedCall(self.retry, seconds, self.extractor, request_id, clip.name_in_message, span, self.security)

    def begin_transcription(
        self,
        video: VideoChunks,
        options: RecognitionOptions,
        model_name: str,
        model_version: str,
        timeout: float | None,
        request_id: str,
    ) -> tuple[RetriedCall, Any]:
        """Begin a call of TranscribeVideo: the call, and its configuration."""
        seconds = timeout or self.timeout or STREAM_SECONDS
        clip = ClipInput("video", b"", str(video) if isinstance(video, str | os.PathLike) else "")
        span = self._span("signet.v1.Recognizer/TranscribeVideo")
        name = clip.name_in_message
        call = RetriedCall(self.retry, seconds, self.address, request_id, name, span, self.security)
        return call, options.to_message(*self._choose_model(model_name, model_version))

    def begin_stream(
        self, options: RecognitionOptions, model_name: str, model_version: str, timeout: float | None, request_id: str
    ) -> tuple[RetriedCall, Any]:
        """Begin a call of RecognizeStream: the call, and its first message. Default of `timeout`: none."""
        seconds = timeout or self.timeout or OPEN_END_SECONDS
        span = self._span("signet.v1.Recognizer/RecognizeStream")
        call = RetriedCall(self.retry, seconds, self.address, request_id, span=span, security=self.security)
        return call, options.to_message(*self._choose_model(model_name, model_version))

    def _choose_model(self, model_name: str, model_version: str) -> tuple[str, str]:
        if not model_version and model_name in {"", self.model_name}:
            model_version = self.model_version
        return model_name or self.model_name, model_version

    def recognize_request(self, clip: ClipInput, top_k: int, model_name: str = "", model_version: str = "") -> Any:
        """The message for a clip. A name of a model or version that is "" is that of the client.

        Raises:
            InvalidInput: `top_k` is negative.
        """
        if top_k < 0:
            raise InvalidInput(f"top_k={top_k}: ask for 1 gloss or more, or for 0, which means five.")
        model_name, model_version = self._choose_model(model_name, model_version)
        request = evaluator_pb2.RecognizeRequest(top_k=top_k, model_name=model_name, model_version=model_version)
        setattr(request, clip.kind, clip.data)
        return request

    def begin_question(self, method: str, timeout: float | None) -> RetriedCall:
        """Begin a call of a method that the evaluator answers from memory."""
        seconds = timeout or self.timeout or QUESTION_SECONDS
        return RetriedCall(self.retry, seconds, self.address, span=self._span(method), security=self.security)

    def _span(self, method: str) -> Callable[[str], CallSpan] | None:
        return partial(self.traces.begin_client_call, method) if self.traces is not None else None
