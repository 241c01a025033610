"""Recognition of live signing by a running evaluator: landmarks go there, and events come back."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from services.standalone.stream_recognition import choose_threshold, sign_score
from signet.client.stream_results import StreamOpened, event_from_response
from signet.errors import Busy, SignetError, Unavailable
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.security.credentials import ChannelSecurity, ClientSettings
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns, StreamEvent
from signet.v1 import evaluator_pb2 as pb
from signet.v1 import evaluator_pb2_grpc, streaming_pb2

# Frames that wait for the server: ten seconds of them.
_MOST_WAITING = 100
# The server answers within this time at the start, and after the last frame.
_ANSWER_SECONDS = 20.0


class ServerStream:
    """A stream of an evaluator. It has the methods of `ModelStream`.

    Args:
        server: host:port.
        security: TLS and the token.
        config: the model.
        threshold: signs with a lower score are not shown, as by `ModelStream`.

    Raises:
        SignetError: the server cannot be reached, or refuses the stream.
    """

    def __init__(
        self, server: str, security: ClientSettings, config: pb.StreamConfig, threshold: float | None = None
    ) -> None:
        self._server = server
        self._given_threshold = threshold
        self._threshold = choose_threshold(threshold, None)
        self._requests: queue.Queue[pb.RecognizeStreamRequest | None] = queue.Queue(_MOST_WAITING)
        self._events: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self._started = threading.Event()
        self._error: SignetError | None = None
        self.model = ""
        self._requests.put(pb.RecognizeStreamRequest(config=config))
        channel_security = ChannelSecurity(security)
        channel_security.check_address(server)
        self._channel = channel_security.open_channel(server, CHANNEL_OPTIONS)
        stub = evaluator_pb2_grpc.RecognizerStub(self._channel)
        self._call = stub.RecognizeStream(self._messages(), metadata=channel_security.metadata())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._started.wait(_ANSWER_SECONDS)
        if self._error is not None:
            self.close()
            raise self._error

    def close(self) -> None:
        """End the stream and the connection."""
        self._call.cancel()
        self._channel.close()

    def add_frame(self, seconds: float, joints: npt.NDArray[np.floating[Any]]) -> list[StreamEvent]:
        """Send the landmarks [75, 3] of a frame, and return what the server has said meanwhile.

        Raises:
            SignetError: the stream has ended, or the server does not read.
        """
        frames = streaming_pb2.LandmarkFrames(seconds=[seconds], float16=joints.astype(np.float16).tobytes())
        try:
            self._requests.put_nowait(pb.RecognizeStreamRequest(frames=frames))
        except queue.Full:
            raise Busy(f"{self._server}: does not read the frames. Try again later, or leave out --server.") from None
        return self._take()

    def flush(self) -> list[StreamEvent]:
        """Return what the server has said. It notices pauses by the times of the frames."""
        return self._take()

    def finish(self) -> list[StreamEvent]:
        """Tell the server that there are no more frames, and return its last events."""
        self._requests.put(None)
        self._thread.join(_ANSWER_SECONDS)
        return self._take()

    def is_shown(self, sign: FinalSign) -> bool:
        """Whether the score of a sign reaches the threshold."""
        return sign_score(sign) >= self._threshold

    def _messages(self) -> Iterator[pb.RecognizeStreamRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            with signet_errors(self._server):
                for response in self._call:
                    event = event_from_response(response)
                    if isinstance(event, StreamOpened):
                        self.model = f"{event.model_name} {event.model_version}"
                        self._threshold = choose_threshold(self._given_threshold, event.threshold)
                        self._started.set()
                    elif isinstance(event, PartialSigns | FinalSign | NothingSignedSince):
                        self._events.put(event)
        except Unavailable as error:
            self._error = Unavailable(
                f"{self._server}: cannot be reached, or has ended the stream ({error}). Start an evaluator there, or "
                "leave out --server."
            )
        except SignetError as error:
            self._error = error
        self._started.set()

    def _take(self) -> list[StreamEvent]:
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        if self._error is not None and not events:
            raise self._error
        return events
