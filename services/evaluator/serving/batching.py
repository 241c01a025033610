"""Batching of concurrent calls: clips that arrive while the model runs share the next run."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import Frames, LoadedModel
from services.evaluator.serving.work_threads import WorkThreads

# One run of the graph takes as many clips.
_MAX_BATCH = 32
# Clips times frames of the longest one. Larger batches of long clips are no faster, and hold up the next run.
_MAX_PADDED_FRAMES = 2_048
# A run computes at most this many times the frames of its clips; the rest is padding.
_MAX_PADDING = 2


@dataclass(frozen=True, eq=False)
class _PendingCall:
    model: LoadedModel
    clip: Frames
    answer: asyncio.Future[Frames]


class Batcher:
    """Runs one batch at a time, so that each run has all cores. An idle batcher starts a run at once.

    A run waits for a thread like other work of the calls, and more clips come together meanwhile.
    """

    def __init__(self, metrics: EvaluatorMetrics, threads: WorkThreads) -> None:
        self._metrics = metrics
        self._threads = threads
        self._pending: deque[_PendingCall] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def log_probs(self, model: LoadedModel, clip: Frames) -> Frames:
        """Log-probabilities of one clip, float32 [T, C + 1], computed by this version of the model."""
        call = _PendingCall(model, clip, asyncio.get_running_loop().create_future())
        self._pending.append(call)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run_pending())
        try:
            return await call.answer
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # its run has begun
                self._pending.remove(call)
            raise

    async def _run_pending(self) -> None:
        while self._pending:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                answers = await self._threads.run(
                    batch[0].model.log_probs, [call.clip for call in batch], self._metrics.batch_clips.observe
                )
            except Exception as error:  # noqa: BLE001  (each caller of the batch gets it; the next batch still runs)
                for call in batch:
                    if not call.answer.done():
                        call.answer.set_exception(error)
                continue
            for call, answer in zip(batch, answers, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)

    def _next_batch(self) -> list[_PendingCall]:
        """Take the next calls in order of arrival, up to the first that asks for another version.

        Calls that would make the batch too large, or pad it too much, keep their places for the next batch.
        """
        batch: list[_PendingCall] = []
        left_out: list[_PendingCall] = []
        frames = longest = 0
        while self._pending and len(batch) < _MAX_BATCH:
            if batch and self._pending[0].model is not batch[0].model:
                break
            call = self._pending.popleft()
            if call.answer.done():  # it was just cancelled
                continue
            length = len(call.clip)
            padded = (len(batch) + 1) * max(longest, length)
            if batch and padded > min(_MAX_PADDED_FRAMES, _MAX_PADDING * (frames + length)):
                left_out.append(call)
                continue
            batch.append(call)
            frames, longest = frames + length, max(longest, length)
        self._pending.extendleft(reversed(left_out))
        return batch
