"""Batching of concurrent calls: calls that arrive while a batch is computed share the next batch."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.work_threads import WorkThreads

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
    model: LoadedModel
    request: Request
    frames: int
    answer: "asyncio.Future[Answer]"


class Batcher(Generic[Request, Answer]):
    """Computes one batch at a time, in a thread. An idle batcher starts at once: no call waits for others to come.

    Calls wait in queues. The queues take turns, so that many calls in one of them do not hold up the others.

    Args:
        process: computes the answers to the requests of a batch by one version of a model. An answer that is an
            exception is raised to its caller.
        threads: where `process` runs.
    """

    def __init__(
        self, process: Callable[[LoadedModel, list[Request]], Sequence[Answer | Exception]], threads: WorkThreads
    ) -> None:
        self._process = process
        self._threads = threads
        self._queues: list[BatchQueue[Request, Answer]] = []
        self._worker: asyncio.Task[None] | None = None

    def add_queue(self) -> "BatchQueue[Request, Answer]":
        """A new queue."""
        self._queues.append(BatchQueue(self))
        return self._queues[-1]

    def start(self) -> None:
        """Compute the waiting calls, if this is not under way."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run_pending())

    async def _run_pending(self) -> None:
        while waiting := [queue for queue in self._queues if queue]:
            for queue in waiting:
                if batch := queue.next_batch():
                    await self._run(batch)

    async def _run(self, batch: "list[_PendingCall[Request, Answer]]") -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._threads.run(self._process, batch[0].model, [call.request for call in batch])
        except Exception as error:  # noqa: BLE001  (each caller of the batch gets it; the next batch still runs)
            answers = [error] * len(batch)
        for call, answer in zip(batch, answers, strict=True):
            if call.answer.done():
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)


class BatchQueue(Generic[Request, Answer]):
    """Calls that wait for a batcher, in order of arrival."""

    def __init__(self, batcher: Batcher[Request, Answer]) -> None:
        self._batcher = batcher
        self._pending: deque[_PendingCall[Request, Answer]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    async def answer(self, model: LoadedModel, request: Request, frames: int) -> Answer:
        """The answer of this version of a model to a request with so many frames of the model."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        call = _PendingCall(model, request, frames, future)
        self._pending.append(call)
        self._batcher.start()
        try:
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # its batch has begun
                self._pending.remove(call)
            raise

    def next_batch(self) -> list[_PendingCall[Request, Answer]]:
        """Take the oldest call, and the next calls that ask for the same version.

        Calls for other versions, and calls that would make the batch too large or pad it too much, keep their places.
        """
        batch: list[_PendingCall[Request, Answer]] = []
        left_out: list[_PendingCall[Request, Answer]] = []
        frames = longest = 0
        while self._pending and len(batch) < _MAX_BATCH:
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
