"""Batching of concurrent calls: calls that arrive while a batch is computed share the next batch."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.evaluator.serving.servable_model import ServableModel

# One batch takes as many clips.
_MAX_BATCH = 32
# Clips times frames of the longest one. Larger batches of long clips are no faster, and hold up the next batch.
_MAX_PADDED_FRAMES = 2_048
# A run of the model computes at most this many times the frames of its clips; the rest is padding.
_MAX_PADDING = 2

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class _PendingCall(Generic[Request, Answer]):
    model: ServableModel
    request: Request
    frames: int
    answer: "asyncio.Future[Answer]"
    loop: asyncio.AbstractEventLoop


_Batch = list[_PendingCall[Request, Answer]]


class Batcher(Generic[Request, Answer]):
    """Computes batches in threads of its own. An idle thread starts at once: no call waits for others.

    A thread takes its next batch itself. If the event loop gave it the batches, it would wait for the loop, which has
    much to do when a batch of answers is ready.

    Calls wait in queues. The queues take turns, so that many calls in one of them do not hold up the others.

    Args:
        process: computes the answers to the requests of a batch by one version of a model. An answer that is an
            exception is raised to its caller.
        name: the name of the threads.
        threads: so many batches are computed at the same time.
    """

    def __init__(
        self,
        process: Callable[[ServableModel, list[Request]], Sequence[Answer | Exception]],
        name: str,
        threads: int = 1,
    ) -> None:
        self._process = process
        self._most = threads
        self._threads = ThreadPoolExecutor(threads, name)
        # Guards all that follows, and the queues.
        self.lock = threading.Lock()
        self._queues: list[BatchQueue[Request, Answer]] = []
        self._turn = 0
        self._working = 0

    def add_queue(self, share: int = 1) -> "BatchQueue[Request, Answer]":
        """A new queue. A batch takes at most one `share`-th of its calls that are under way."""
        self._queues.append(BatchQueue(self, share))
        return self._queues[-1]

    def start(self) -> None:
        """Compute the waiting calls, unless all threads are busy already. The caller has the lock."""
        if self._working < self._most:
            self._working += 1
            self._threads.submit(self._work)

    def _work(self) -> None:
        """Compute batches until no call waits."""
        while True:
            with self.lock:
                batch: _Batch[Request, Answer] = []
                for _ in self._queues:
                    self._turn = (self._turn + 1) % len(self._queues)
                    if batch := self._queues[self._turn].next_batch():
                        break
                if not batch:
                    self._working -= 1
                    return
            self._run(batch)
            del batch

    def _run(self, batch: _Batch[Request, Answer]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = self._process(batch[0].model, [call.request for call in batch])
        except Exception as error:  # noqa: BLE001  (each caller of the batch gets it; the next batch still runs)
            answers = [error] * len(batch)
        with suppress(RuntimeError):  # the loop has ended
            batch[0].loop.call_soon_threadsafe(_deliver, batch, answers)


def _deliver(batch: _Batch[Request, Answer], answers: Sequence[Answer | Exception]) -> None:
    for call, answer in zip(batch, answers, strict=True):
        if call.answer.done():
            continue
        if isinstance(answer, Exception):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)


class BatchQueue(Generic[Request, Answer]):
    """Calls that wait for a batcher, in order of arrival."""

    def __init__(self, batcher: Batcher[Request, Answer], share: int) -> None:
        self._batcher = batcher
        self._share = share
        self._pending: deque[_PendingCall[Request, Answer]] = deque()
        self._under_way = 0

    async def answer(self, model: ServableModel, request: Request, frames: int) -> Answer:
        """The answer of this version of a model to a request with so many frames of the model."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        call = _PendingCall(model, request, frames, future, loop)
        self._under_way += 1
        with self._batcher.lock:
            self._pending.append(call)
            self._batcher.start()
        try:
            return await future
        except asyncio.CancelledError:
            with self._batcher.lock, suppress(ValueError):  # its batch has begun
                self._pending.remove(call)
            raise
        finally:
            self._under_way -= 1

    def next_batch(self) -> _Batch[Request, Answer]:
        """Take the oldest call, and the next calls that ask for the same version.

        Calls for other versions, and calls that would make the batch too large or pad it too much, keep their places.
        """
        batch: _Batch[Request, Answer] = []
        left_out: _Batch[Request, Answer] = []
        frames = longest = 0
        most = min(_MAX_BATCH, -(-self._under_way // self._share))
        while self._pending and len(batch) < most:
            call = self._pending.popleft()
            if call.answer.done():  # it was just cancelled
                continue
            if batch and call.model is not batch[0].model:
                left_out.append(call)
                continue
            padded = (len(batch) + 1) * max(longest, call.frames)
            if batch and padded > min(_MAX_PADDED_FRAMES, _MAX_PADDING * (frames + call.frames)):
                left_out.append(call)
                continue
            batch.append(call)
            frames, longest = frames + call.frames, max(longest, call.frames)
        self._pending.extendleft(reversed(left_out))
        return batch
