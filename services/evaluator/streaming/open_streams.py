"""The streams that are open: how many there may be, how they end, and their end when the server stops."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from services.evaluator.streaming.metrics import StreamMetrics
from signet.errors import Busy, SignetError, Unavailable

# A refused client should try again after this time.
_RETRY_SECONDS = 5


class OpenStream(Protocol):
    """What is open."""

    outcome: str

    @property
    def frames_behind(self) -> int:
        """Model frames that have arrived and are not recognised yet."""

    def stop(self, outcome: str, error: SignetError | None = None) -> None:
        """End the stream after its last signs, with this error."""


class OpenStreams:
    """Counts the streams that are open.

    Args:
        most: the number of streams at a time.
        metrics: counts them.
    """

    def __init__(self, most: int, metrics: StreamMetrics) -> None:
        self.metrics = metrics
        self._most = most
        self._open: set[OpenStream] = set()
        metrics.show_behind(lambda: sum(stream.frames_behind for stream in tuple(self._open)))

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def enter(self, stream: OpenStream) -> Iterator[None]:
        """Count a stream as long as the context is open.

        Raises:
            Busy: too many streams are open.
        """
        if len(self._open) >= self._most:
            raise Busy(
                f"the evaluator has {len(self._open)} open streams, and takes no more. Retry in {_RETRY_SECONDS} s.",
                _RETRY_SECONDS,
            )
        self._open.add(stream)
        self.metrics.count_begin()
        began = time.monotonic()
        try:
            yield
        except GeneratorExit:
            stream.outcome = "cancelled"
            raise
        except BaseException as error:
            if not isinstance(error, SignetError):
                stream.outcome = "failed" if isinstance(error, Exception) else "cancelled"
            raise
        finally:
            self._open.discard(stream)
            self.metrics.count_end(stream.outcome, time.monotonic() - began)

    def stop(self) -> None:
        """Tell all streams to end, because the server stops."""
        for stream in tuple(self._open):
            stream.stop("drained", Unavailable("this server is stopping. Open the stream again, or at another server."))
