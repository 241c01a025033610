"""Receives the requests of calls, with limits for the time and the memory of requests that do not arrive completely.

gRPC gives a message to Python when it is complete, and holds what has arrived of it in memory. Nothing in gRPC's
options limits this memory. A call of Signet reads its request itself, so that a reading can be ended.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from signet.errors import Busy, DeadlineExceeded, SignetError
from signet.process_memory import ProcessMemory

# A clip of 5 MB arrives in 40 s over 1 Mbit/s. The largest request of 32 MiB needs 2.3 Mbit/s.
RECEIVE_SECONDS = 120.0
# How often unfinished requests are checked. A request is slow if it was unfinished at one check and is at the next one.
# Over a fast network, eight of the largest requests arrive in 0.1 s.
_CHECK_SECONDS = 0.03
# A stream that got a message so short a time ago is live. Of its next message, only what came since then is held.
_LIVE_SECONDS = 1.0
# So many slow requests are received at a time. A phone with a slow network needs one for some seconds.
MAX_SLOW_REQUESTS = 64
# As soon as the process has grown by so much since there were no slow requests, only the newest may go on.
# An evaluator of 600 MB has room for it, for two more that are not slow yet, and for two that are worked on, of
# 32 MiB each.
_MAX_GROWTH_BYTES = 128 << 20
_FEW_SLOW_REQUESTS = 1
# Less growth than this is no growth of requests: what the process needs otherwise may change slowly.
_DRIFT_BYTES = 4 << 20
# Memory that is free is given back to the system at most so often. It takes some milliseconds.
_TRIM_SECONDS = 0.2
# gRPC may hold the last parts of a message for some seconds.
_TRIMS = 20
# For so long after a very large request, only two requests are received at a time, until they are slow. Otherwise eight
# of them could arrive before the first check.
_VERY_LARGE_BYTES = 4 << 20
_CAUTIOUS_SECONDS = 10.0
_CAUTIOUS_TURNS = 2
# Requests that calls work on. Clips of signs have less than 4 MB. A clip is copied up to four times on its way to the
# extractor, so that only one of the largest is worked on at a time.
LARGE_REQUEST_BYTES = 4 << 20
MAX_LARGE_REQUESTS_BYTES = 48 << 20
MAX_REQUESTS_BYTES = 128 << 20
# After this time, a refused client should try again.
_RETRY_SECONDS = 2.0


@dataclass(eq=False)
class _Unfinished:
    """A request that has not arrived completely."""

    method: str
    context: Any
    task: "asyncio.Task[Any]"
    one_of_many: bool
    has_turn: bool
    follows: bool  # the call got a message before
    began: float = field(default_factory=time.monotonic)
    refusal: SignetError | None = None

    def is_live(self, now: float) -> bool:
        """Whether this is a stream, such as that of a camera, that got its last message just now."""
        return self.one_of_many and self.follows and now - self.began < _LIVE_SECONDS

    def refuse(self, error: SignetError) -> None:
        """End the call with this error."""
        self.refusal = error
        self.task.cancel()


class RequestReceiver:
    """Receives the requests of a server's calls, and counts the bytes of those that are worked on."""

    def __init__(self) -> None:
        # In the order of their beginning.
        self._unfinished: dict[_Unfinished, None] = {}
        self._readings: set[asyncio.Future[Any]] = set()
        self._check: asyncio.TimerHandle | None = None
        self._memory = ProcessMemory()
        # The memory of the process when there were no slow requests.
        self._before = 0
        self._trimmed = 0.0
        # How often the memory will be trimmed, because large requests leave it.
        self._trims_due = 0
        self._turns = _Turns()
        self._held = 0
        self._held_by_large = 0

    async def receive(self, method: str, context: Any, *, one_of_many: bool = False, follows: bool = False) -> Any:
        """Receive the next message of a call: its bytes, or `grpc.aio.EOF`.

        The client may take any time before the next one of many messages. `follows` says that the call got one before.

        Raises:
            DeadlineExceeded: the message did not arrive within `RECEIVE_SECONDS`.
            Busy: too many unfinished requests fill the memory, and this one is not among the newest.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (gRPC runs each call as a task)
        # A request that waits for its turn takes no memory, and so it is not slow yet.
        has_turn = await self._turns.wait(context)
        unfinished = _Unfinished(method, context, task, one_of_many, has_turn, follows)
        self._unfinished[unfinished] = None
        if self._check is None:
            self._note_memory(self._memory.measure())
            self._schedule()
        try:
            # gRPC never frees a message that arrives while its reading is cancelled. So the reading goes on to the end
            # of the call.
            reading = asyncio.ensure_future(context.read())
            self._readings.add(reading)
            reading.add_done_callback(self._end_reading)
            data = await asyncio.shield(reading)
            if len(data) > LARGE_REQUEST_BYTES:
                self._trim_later()
            if len(data) > _VERY_LARGE_BYTES:
                self._turns.limit()
        except asyncio.CancelledError:
            # The caller may have left at the same time.
            if unfinished.refusal is not None and task.uncancel() == 0:
                raise unfinished.refusal from None
            raise
        finally:
            del self._unfinished[unfinished]
            self._end_turn(unfinished)
        return data

    def _end_reading(self, reading: "asyncio.Future[Any]") -> None:
        self._readings.discard(reading)
        if not reading.cancelled():
            # Its call has handled the error, or has ended before.
            reading.exception()

    def _end_turn(self, request: _Unfinished) -> None:
        if request.has_turn:
            request.has_turn = False
            self._turns.end()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a received request of so many bytes while a call works on it.

        Raises:
            Busy: other requests have too many bytes already.
        """
        large = size if size > LARGE_REQUEST_BYTES else 0
        if (self._held_by_large and large and self._held_by_large + large > MAX_LARGE_REQUESTS_BYTES) or (
            self._held and self._held + size > MAX_REQUESTS_BYTES
        ):
            raise Busy(
                f"other large requests are worked on, and this one has {size} bytes. Try again in "
                f"{_RETRY_SECONDS:g} s, or send a smaller clip.",
                _RETRY_SECONDS,
            )
        self._held += size
        self._held_by_large += large
        try:
            yield
        finally:
            self._held -= size
            self._held_by_large -= large
            if large:
                self._trim_later()

    def _note_memory(self, memory: int) -> None:
        """Note the memory of the process while there are no slow requests."""
        if not self._before:
            self._before = memory
        elif not self._held_by_large:
            self._before = min(self._before + _DRIFT_BYTES, memory)

    def _trim_later(self) -> None:
        self._trims_due = _TRIMS
        if self._check is None:
            self._schedule()

    def _schedule(self) -> None:
        self._check = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check_unfinished)

    def _check_unfinished(self) -> None:
        """Refuse requests that take too long or too much memory, and check again later if there are any."""
        self._check = None
        now = time.monotonic()
        if self._trims_due and now - self._trimmed >= _TRIM_SECONDS:
            self._trimmed = now
            self._trims_due -= 1
            self._memory.trim()
        if not self._unfinished and not self._trims_due:
            return
        self._schedule()
        memory = self._memory.measure()
        slow = [
            request
            for request in self._unfinished
            if now - request.began >= _CHECK_SECONDS and not request.is_live(now)
        ]
        if not slow:
            self._note_memory(memory)
            return
        for request in slow:
            self._end_turn(request)
            if now - request.began > RECEIVE_SECONDS and not request.one_of_many:
                request.refuse(
                    DeadlineExceeded(
                        f"{request.method}: the request did not arrive completely within {RECEIVE_SECONDS:g} s."
                    )
                )
        full = memory - self._before > _MAX_GROWTH_BYTES
        if full:
            self._trim_later()
        if full:
            too_many = _newest_of_each_connection(slow)[_FEW_SLOW_REQUESTS:]
        else:
            too_many = _newest_of_each_connection([one for one in slow if not one.one_of_many])[MAX_SLOW_REQUESTS:]
        for request in too_many:
            request.refuse(
                Busy(
                    f"{request.method}: the server receives too many requests that arrive slowly. Try again in "
                    f"{_RETRY_SECONDS:g} s.",
                    _RETRY_SECONDS,
                )
            )


def _newest_of_each_connection(requests: list[_Unfinished]) -> list[_Unfinished]:
    """The requests that are not refused, so that a connection with many requests has no advantage over the others.

    First the newest request of each connection, then the second of each, and so on. A request that stalls becomes old.
    """
    seen: Counter[str] = Counter()
    ranked = []
    for age, request in enumerate(reversed(requests)):
        if request.refusal is None:
            connection = request.context.peer()
            ranked.append((seen[connection], age, request))
            seen[connection] += 1
    return [request for *_, request in sorted(ranked, key=lambda entry: entry[:2])]


class _Turns:
    """Who may receive now, while large requests come. The connections wait in turn, however many requests one has."""

    def __init__(self) -> None:
        self._limited_until = 0.0
        self._taken = 0
        self._waiting: dict[asyncio.Future[None], str] = {}
        # How many turns each connection had since there was a limit.
        self._served: Counter[str] = Counter()

    def limit(self) -> None:
        """Limit the turns for some seconds."""
        self._limited_until = time.monotonic() + _CAUTIOUS_SECONDS

    async def wait(self, context: Any) -> bool:
        """Wait for a turn, which must be ended; False if there is no limit now."""
        if time.monotonic() > self._limited_until and not self._taken:
            self._served.clear()
            return False
        connection = context.peer()
        if self._taken >= _CAUTIOUS_TURNS:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[turn] = connection
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.end()
                raise
            finally:
                self._waiting.pop(turn, None)
        else:
            self._taken += 1
        self._served[connection] += 1
        return True

    def end(self) -> None:
        """Give a turn to the waiting request whose connection had the fewest; to the oldest one of these."""
        self._taken -= 1
        while self._waiting:
            turn = min(self._waiting, key=lambda turn: self._served[self._waiting[turn]])
            del self._waiting[turn]
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
                return
