"""One call of RecognizeStream: frames to the evaluator, and events back.

Both clients use gRPC's calls for threads here. In a call of grpc.aio, a frame that is being sent while the server ends
the stream replaces the status of the server by INTERNAL.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np

from signet.client.retries import RetriedCall
from signet.client.stream_results import ImageFrame, LandmarkFrame, RecognitionEvent, event_from_response
from signet.errors import InvalidInput
from signet.v1 import evaluator_pb2 as pb
from signet.v1.streaming_pb2 import EncodedImage, LandmarkFrames

StreamFrame = LandmarkFrame | ImageFrame

# Frames that are sent together cost the server less. This is the time of a model's frame.
GROUP_SECONDS = 0.1
# The most frames of one message.
_MAX_GROUP = 60

_HANDS = {
    "auto": pb.SIGNING_HAND_UNSPECIFIED,
    "left": pb.SIGNING_HAND_LEFT,
    "right": pb.SIGNING_HAND_RIGHT,
}


@dataclass(frozen=True)
class RecognitionOptions:
    """How a stream is recognised.

    Attributes:
        hand: the dominant hand; "auto" lets the server decide.
        alternatives: the glosses of each final sign, at most 20; 0 means five.
        threshold: signs with a lower probability of being in the vocabulary are rejected, 0 to 1. None takes that of
            the model.
        partial_seconds: the time between two partial events, at least; 0 means 0.3 s.
        statistics_seconds: the time between two statistics, at least 1; 0 gives them at the end only.
        drop_when_behind: for pictures of a camera: drop those that the extractor cannot track in time.
        group_seconds: landmark frames of so much time are sent together, which delays each event by as much at most.

    Raises:
        InvalidInput: the hand has another name.
    """

    hand: Literal["auto", "left", "right"] = "auto"
    alternatives: int = 0
    threshold: float | None = None
    partial_seconds: float = 0.0
    statistics_seconds: float = 0.0
    drop_when_behind: bool = False
    group_seconds: float = GROUP_SECONDS

    def __post_init__(self) -> None:
        if self.hand not in _HANDS:
            raise InvalidInput(f"hand={self.hand!r}: give auto, left or right.")

    def to_message(self, model_name: str, model_version: str) -> pb.StreamConfig:
        """The message `StreamConfig`."""
        return pb.StreamConfig(
            model_name=model_name,
            model_version=model_version,
            hand=_HANDS[self.hand],
            alternatives=self.alternatives,
            threshold=self.threshold,
            partial_seconds=self.partial_seconds,
            statistics_seconds=self.statistics_seconds,
            drop_when_behind=self.drop_when_behind,
        )


class SignRecognition:
    """The events of a stream, as they arrive. The call begins with the first `next`.

    Args:
        method: the stub's method.
        call: the call. It is sent again only before the stream is open: frames are taken from then on.
        config: the first message.
        frames: the frames. A thread of gRPC reads them. An error that they raise is raised after the last event.
        group_seconds: frames of so much time are sent together.
    """

    def __init__(
        self,
        method: Callable[..., Any],
        call: RetriedCall,
        config: pb.StreamConfig,
        frames: Iterable[StreamFrame],
        group_seconds: float,
    ) -> None:
        self._method = method
        self._call = call
        self._config = config
        self._frames = frames
        self._group_seconds = group_seconds
        self._open, self._cancelled = threading.Event(), threading.Event()
        self._stream: Any = None
        self._failure: Exception | None = None
        self._events = self._receive()

    def __iter__(self) -> "SignRecognition":
        return self

    def __next__(self) -> RecognitionEvent:
        return next(self._events)

    def cancel(self) -> None:
        """End the call, also while another thread waits for its next event."""
        self._cancelled.set()
        self._open.set()
        if self._stream is not None:
            self._stream.cancel()

    def _receive(self) -> Iterator[RecognitionEvent]:
        with self._call as call:
            while not self._cancelled.is_set():
                self._stream = self._method(self._requests(), timeout=call.remaining(), metadata=call.metadata)
                try:
                    for response in self._stream:
                        self._open.set()
                        if (event := event_from_response(response)) is not None:
                            yield event
                except grpc.RpcError as error:
                    seconds = None if self._open.is_set() else call.wait_after(error)
                    if seconds is None:
                        raise call.to_error(error) from error
                    self._cancelled.wait(seconds)
                    continue
                if self._failure is not None:
                    raise self._failure
                return

    def _requests(self) -> Iterator[pb.RecognizeStreamRequest]:
        stream = self._stream
        yield pb.RecognizeStreamRequest(config=self._config)
        while not self._open.wait(0.1):
            if stream is not self._stream:
                return  # the call was refused, and is sent again
        try:
            yield from self._messages()
        except Exception as error:  # noqa: BLE001  (gRPC would only log it; `_receive` raises it)
            self._failure = error

    def _messages(self) -> Iterator[pb.RecognizeStreamRequest]:
        group: list[LandmarkFrame] = []
        for frame in self._frames:
            if self._cancelled.is_set():
                return
            if isinstance(frame, ImageFrame):
                yield pb.RecognizeStreamRequest(image=EncodedImage(seconds=frame.seconds, data=frame.data))
                continue
            group.append(frame)
            if frame.seconds - group[0].seconds >= self._group_seconds or len(group) >= _MAX_GROUP:
                yield _join(group)
                group = []
        if group:
            yield _join(group)


def _join(group: list[LandmarkFrame]) -> pb.RecognizeStreamRequest:
    joints = np.stack([frame.joints for frame in group])
    seconds = [frame.seconds for frame in group]
    if joints.dtype == np.float16:
        return pb.RecognizeStreamRequest(frames=LandmarkFrames(seconds=seconds, float16=joints.astype("<f2").tobytes()))
    return pb.RecognizeStreamRequest(frames=LandmarkFrames(seconds=seconds, float32=joints.astype("<f4").tobytes()))


class AsyncFrames:
    """Gives the frames of an asynchronous iterator to a thread. Make it inside the event loop of the iterator."""

    def __init__(self, frames: AsyncIterator[StreamFrame]) -> None:
        self._frames = frames
        self._loop = asyncio.get_running_loop()
        self._waiting: Future[StreamFrame | None] | None = None
        self._closed = False

    def __iter__(self) -> "AsyncFrames":
        return self

    def __next__(self) -> StreamFrame:
        async def take_next() -> StreamFrame | None:
            return await anext(self._frames, None)

        if self._closed:
            raise StopIteration
        self._waiting = asyncio.run_coroutine_threadsafe(take_next(), self._loop)
        try:
            frame = self._waiting.result()
        except CancelledError:
            frame = None
        if frame is None:
            raise StopIteration
        return frame

    def close(self) -> None:
        """Stop waiting for frames."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
