"""Calls that arrive while the model is busy run together once it is free. An idle model starts at once."""

import asyncio
from collections import deque
from dataclasses import dataclass

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import Frames, LoadedModel

# As many as one run of the model takes.
_MOST = 32


@dataclass(frozen=True, eq=False)
class _Waiting:
    model: LoadedModel
    clip: Frames
    answer: asyncio.Future[Frames]


class Batcher:
    """One model run at a time, with all the cores; whoever came meanwhile shares the next."""

    def __init__(self, metrics: EvaluatorMetrics) -> None:
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def log_probs(self, model: LoadedModel, clip: Frames) -> Frames:
        """One clip's log-probabilities, float32 [T, C + 1], by this version of the model."""
        waiting = _Waiting(model, clip, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            if not batch:
                continue
            try:
                answers = await asyncio.to_thread(
                    batch[0].model.log_probs, [waiting.clip for waiting in batch], self._metrics.batch_clips.observe
                )
            except Exception as error:  # noqa: BLE001  (each caller gets it, and the next batch still runs)
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                continue
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)

    def _next(self) -> list[_Waiting]:
        """The longest row of callers who still wait and who mean the same version."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < _MOST:
            if batch and self._waiting[0].model is not batch[0].model:
                break
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # else its caller's time ran out
                batch.append(waiting)
        return batch
