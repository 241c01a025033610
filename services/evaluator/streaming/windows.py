"""Windows of streams share the runs of the model: windows that wait at the same time are one batch."""

from collections.abc import Sequence

from services.evaluator.serving.batching import Batcher
from services.evaluator.serving.compute import Compute
from services.evaluator.serving.loaded_model import Frames
from services.evaluator.serving.servable_model import ServableModel
from signet.streaming import StreamWindow


class WindowQueue:
    """Computes windows in batches of their own: a batch of clips takes longer than a window may wait."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        # While a batch is computed, the event loop works on the streams of the batch before.
        self._queue = Batcher(self._process, "streams", compute.parallel).add_queue(share=compute.parallel + 1)

    async def log_probs(self, model: ServableModel, window: StreamWindow) -> Frames:
        """The log-probabilities float32 [T, C + 1] of a window.

        Raises:
            SignetError: the graph of the model failed.
        """
        return await self._queue.answer(model, window, len(window.frames))

    def _process(self, model: ServableModel, windows: list[StreamWindow]) -> Sequence[Frames]:
        return self._compute.log_probs(
            model, [window.frames for window in windows], [window.dominance for window in windows]
        )
