"""A bound on the calls that are under way: further ones are refused at once, and told when to try again."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from signet.errors import Busy


class Admission:
    """Counts the calls of one kind that are under way, the bytes of their requests, and the seconds of their clips.

    A call that exceeds a bound by itself is taken if no other one is under way.

    Args:
        kind: what the calls send, for messages.
        max_calls: as many calls may be under way.
        max_bytes: their requests may have so many bytes together.
        max_seconds: their clips may last so long together.
        retry_seconds: after this time, a refused caller should try again.
    """

    def __init__(
        self, kind: str, *, max_calls: int, max_bytes: int, max_seconds: float = math.inf, retry_seconds: float
    ) -> None:
        self._kind = kind
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._retry_seconds = retry_seconds
        self._calls = 0
        self._bytes = 0
        self._seconds = 0.0

    @contextmanager
    def admit(self, size: int, seconds: float = 0.0) -> Iterator[None]:
        """Count a call as long as the context is open: the bytes of its request, and the seconds of its clip.

        Raises:
            Busy: too much is under way.
        """
        full = (
            self._calls >= self._max_calls
            or self._bytes + size > self._max_bytes
            or self._seconds + seconds > self._max_seconds
        )
        if self._calls and full:
            raise Busy(
                f"the evaluator works on {self._calls} {self._kind}, and takes no more. Retry in "
                f"{self._retry_seconds:g} s.",
                self._retry_seconds,
            )
        self._calls += 1
        self._bytes += size
        self._seconds += seconds
        try:
            yield
        finally:
            self._calls -= 1
            self._bytes -= size
            self._seconds = self._seconds - seconds if self._calls else 0.0
