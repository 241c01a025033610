"""One call of TranscribeVideo: a video in chunks to the evaluator, and progress and signs back.

Both clients use gRPC's calls for threads here, as `signet.client.extraction` does and for the same reason.
"""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc

from signet.client.parts import VideoChunks, open_chunks
from signet.client.retries import RetriedCall
from signet.client.stream_results import FrameStatistics, StreamOpened, event_from_response
from signet.errors import SignetError, Unavailable
from signet.streaming import FinalSign, NothingSignedSince
from signet.v1 import evaluator_pb2 as pb

# The time in seconds by which an event may differ when a video is sent again.
_SAME_SECONDS = 0.05
_CHANGED = "the server was lost in the middle, and found other signs when the video was sent again. Start once more."


class TranscriptionStage(StrEnum):
    """What a server does with a video."""

    RECEIVING = "receiving"
    EXTRACTING = "extracting"
    RECOGNISING = "recognising"


@dataclass(frozen=True)
class VideoProgress:
    """How far the transcription of a video is.

    Attributes:
        stage: what the server does.
        received_bytes: the bytes of the video that the server has.
        total_bytes: the bytes of the video; 0 if that is not known.
        extracted_share: how much of the video is turned into landmarks, 0 to 1; 0 if that is not known.
        recognised_seconds: how much of it is recognised, in seconds.
        total_seconds: the length of the video; 0 if that is not known yet.
        warnings: facts about the video that make the signs doubtful, as sentences, as soon as they are known.
    """

    stage: TranscriptionStage
    received_bytes: int
    total_bytes: int = 0
    extracted_share: float = 0.0
    recognised_seconds: float = 0.0
    total_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TranscriptionRetry:
    """The server did not finish the video. It is sent again after a pause.

    Attributes:
        error: what the server said.
        seconds: the pause.
    """

    error: SignetError
    seconds: float


TranscriptionEvent = (
    StreamOpened | VideoProgress | FinalSign | NothingSignedSince | FrameStatistics | TranscriptionRetry
)

_STAGES = {
    pb.TRANSCRIPTION_STAGE_RECEIVING: TranscriptionStage.RECEIVING,
    pb.TRANSCRIPTION_STAGE_EXTRACTING: TranscriptionStage.EXTRACTING,
    pb.TRANSCRIPTION_STAGE_RECOGNISING: TranscriptionStage.RECOGNISING,
}


class TranscribedVideo:
    """The events of a video, as they arrive. The call begins with the first `next`.

    Args:
        method: the stub's method.
        call: the call.
        config: the configuration of the first message.
        video: a path, bytes, or chunks of bytes. The call is not sent again after the first chunk of an iterator.
    """

    def __init__(
        self, method: Callable[..., Any], call: RetriedCall, config: pb.StreamConfig, video: VideoChunks
    ) -> None:
        self._method = method
        self._call = call
        self._config = config
        self._video = video
        self._cancelled = threading.Event()
        self._stream: Any = None
        self._opened: StreamOpened | None = None
        self._found: list[FinalSign | NothingSignedSince] = []
        self._events = self._receive()

    def __iter__(self) -> "TranscribedVideo":
        return self

    def __next__(self) -> TranscriptionEvent:
        return next(self._events)

    def cancel(self) -> None:
        """End the call, also while another thread waits for its next event."""
        self._cancelled.set()
        if self._stream is not None:
            self._stream.cancel()

    def _cancel_attempt(self) -> None:
        self._stream.cancel()

    def _receive(self) -> Iterator[TranscriptionEvent]:
        with self._call as call:
            while not self._cancelled.is_set():
                upload = _VideoUpload(self._config, self._video, self._cancel_attempt)
                self._stream = self._method(upload, timeout=call.remaining(), metadata=call.metadata)
                try:
                    yield from self._read(upload)
                except grpc.RpcError as error:
                    if upload.failure is not None:
                        raise upload.failure from error
                    again = upload.can_be_repeated and not self._cancelled.is_set()
                    seconds = call.wait_after(error) if again else None
                    raised = call.to_error(error)
                    if seconds is None:
                        raise raised from error
                else:
                    return
                finally:
                    upload.stop()
                yield TranscriptionRetry(raised, seconds)
                self._cancelled.wait(seconds)

    def _read(self, upload: "_VideoUpload") -> Iterator[TranscriptionEvent]:
        """The events of one attempt. Signs that an earlier attempt gave are not given again."""
        repeated = iter(tuple(self._found))
        for response in self._stream:
            event = _convert(response, upload.size)
            if isinstance(event, StreamOpened):
                if self._found and event != self._opened:
                    raise Unavailable(_CHANGED)
                self._opened = event
                upload.begin()
            elif isinstance(event, FinalSign | NothingSignedSince):
                if (earlier := next(repeated, None)) is not None:
                    if not _are_same(earlier, event):
                        raise Unavailable(_CHANGED)
                    continue
                self._found.append(event)
            if event is not None:
                yield event


class _VideoUpload:
    """The messages of one attempt: the configuration, and the chunks as soon as the server has a place for the call.

    gRPC reads them in a thread, where an error would be lost. It is kept in `failure`, and ends the call.
    """

    def __init__(self, config: pb.StreamConfig, video: VideoChunks, cancel: Callable[[], None]) -> None:
        self.size, self._chunks = open_chunks(video)
        self.failure: Exception | None = None
        self._cancel = cancel
        self._reads_once = isinstance(video, Iterator)
        self._began, self._stopped, self._took = threading.Event(), False, False
        self._messages = self._make_messages(pb.TranscribeVideoRequest(config=config, size=self.size))

    @property
    def can_be_repeated(self) -> bool:
        """Whether the video can be sent again from its beginning."""
        return not (self._reads_once and self._took)

    def begin(self) -> None:
        """Send the chunks."""
        self._began.set()

    def stop(self) -> None:
        """Send no more chunks."""
        self._stopped = True
        self._began.set()

    def __iter__(self) -> "_VideoUpload":
        return self

    def __next__(self) -> pb.TranscribeVideoRequest:
        return next(self._messages)

    def _make_messages(self, first: pb.TranscribeVideoRequest) -> Iterator[pb.TranscribeVideoRequest]:
        yield first
        self._began.wait()
        try:
            while not self._stopped:
                self._took = True
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                yield pb.TranscribeVideoRequest(chunk=chunk)
        except Exception as error:  # noqa: BLE001  (gRPC would only log it; `_receive` raises it)
            self.failure = error
            self._cancel()


def _convert(response: pb.TranscribeVideoResponse, total_bytes: int) -> TranscriptionEvent | None:
    """Convert a message; None for an event that only a newer client knows."""
    if response.WhichOneof("event") == "progress":
        return _to_progress(response.progress, total_bytes)
    event = event_from_response(response)
    return event if isinstance(event, StreamOpened | FinalSign | NothingSignedSince | FrameStatistics) else None


def _to_progress(progress: pb.TranscriptionProgress, total_bytes: int) -> VideoProgress | None:
    stage = _STAGES.get(progress.stage)
    if stage is None:
        return None
    return VideoProgress(
        stage=stage,
        received_bytes=progress.received_bytes,
        total_bytes=total_bytes,
        extracted_share=progress.extracted_share,
        recognised_seconds=progress.recognised_seconds,
        total_seconds=progress.total_seconds,
        warnings=tuple(progress.warnings),
    )


def _are_same(earlier: FinalSign | NothingSignedSince, event: FinalSign | NothingSignedSince) -> bool:
    """Whether two attempts have found the same."""
    if isinstance(earlier, FinalSign) and isinstance(event, FinalSign):
        return earlier.gloss == event.gloss and math.isclose(earlier.end, event.end, abs_tol=_SAME_SECONDS)
    return type(earlier) is type(event)
