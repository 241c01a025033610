"""Callers that record when each call began and ended, and which version answered. They run in a thread."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
import numpy as np

from bench.serving.servers import RECOGNIZE
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.v1 import evaluator_pb2

_CALL_SECONDS = 60.0
_JOIN_SECONDS = 90.0


@dataclass(frozen=True)
class RecordedCall:
    """A call. Times are of the monotonic clock.

    Attributes:
        version: the version that answered; "" for a call that failed.
        status: how the call ended, such as OK.
        details: the message of a call that failed.
    """

    begun: float
    ended: float
    version: str
    status: str = "OK"
    details: str = ""


class RecordedLoad:
    """A closed loop of callers on one connection, as a context manager.

    Args:
        address: host:port of an evaluator.
        clips: the landmarks that are sent in turn.
        callers: so many calls are under way at a time.
        end_at_failure: whether a caller ends with its first call that fails. Otherwise, it goes on.
    """

    def __init__(self, address: str, clips: Sequence[bytes], callers: int, *, end_at_failure: bool = False) -> None:
        self.calls: list[RecordedCall] = []
        self._address = address
        self._requests = [evaluator_pb2.RecognizeRequest(landmarks=clip).SerializeToString() for clip in clips]
        self._callers = callers
        self._end_at_failure = end_at_failure
        self._stopped = threading.Event()
        self._next = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)

    @property
    def running(self) -> bool:
        """Whether a caller still calls."""
        return self._thread.is_alive()

    @property
    def failed(self) -> list[RecordedCall]:
        """The calls that failed."""
        return [call for call in self.calls if call.status != "OK"]

    def wait_for_answers(self, count: int, seconds: float) -> None:
        """Wait for so many more answers. Raises `TimeoutError` after so many seconds."""
        before, end = len(self.calls), time.monotonic() + seconds
        while len(self.calls) < before + count:
            if time.monotonic() > end or not self.running:
                raise TimeoutError(f"only {len(self.calls) - before} of {count} calls ended in {seconds:g} s")
            time.sleep(0.01)

    def wait_for_version(self, version: str, begun_after: float, seconds: float) -> float:
        """Wait until a call that began after a time is answered by this version; the time of that answer."""
        end, seen = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            calls = self.calls[seen:]
            seen += len(calls)
            for call in calls:
                if call.version == version and call.begun >= begun_after:
                    return call.ended
            time.sleep(0.01)
        raise TimeoutError(f"no answer of version {version} in {seconds:g} s")

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            await asyncio.gather(*(self._call(channel.unary_unary(RECOGNIZE)) for _ in range(self._callers)))

    async def _call(self, recognize: Any) -> None:
        while not self._stopped.is_set():
            request = self._requests[self._next % len(self._requests)]
            self._next += 1
            begun = time.monotonic()
            try:
                data = await recognize(request, timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.calls.append(RecordedCall(begun, time.monotonic(), "", error.code().name, str(error.details())))
                if self._end_at_failure:
                    return
                await asyncio.sleep(0.01)
                continue
            ended = time.monotonic()
            version = evaluator_pb2.RecognizeResponse.FromString(data).model_version
            self.calls.append(RecordedCall(begun, ended, version))


def percentile_ms(calls: Sequence[RecordedCall], share: float) -> float:
    """A percentile of the time of answered calls in ms; 0 if none was answered."""
    times = [call.ended - call.begun for call in calls if call.status == "OK"]
    return round(float(np.percentile(times, share)) * 1e3, 2) if times else 0.0
