"""Where models are loaded and batches are computed: in this process (`pipeline`), or in others (`workers`)."""

from collections.abc import Callable, Sequence
from typing import Protocol

from services.evaluator.serving.loaded_model import Frames
from services.evaluator.serving.pipeline import ClipRequest, ProcessedClip
from services.evaluator.serving.servable_model import ServableModel
from signet.store import ObjectStore


class Compute(Protocol):
    """Loads models, and computes batches with them. Safe to use from several threads; each call blocks."""

    @property
    def parallel(self) -> int:
        """How many batches can be computed at the same time."""

    def is_ready(self) -> bool:
        """Whether batches can be computed now."""

    def load(
        self, store: ObjectStore, name: str, version: str, make_room: Callable[[int], None] | None = None
    ) -> ServableModel:
        """Read a version from the store, check it, and make it ready to answer.

        Args:
            store: has the version.
            name: the model.
            version: the version, and no alias.
            make_room: called with the bytes of memory that the model needs before it is loaded; it may raise.

        Raises:
            NotFound: there is no such version.
            DataLoss: it is damaged, or this evaluator cannot serve it.
            Unavailable: it cannot be loaded now.
        """

    def process(self, model: ServableModel, requests: Sequence[ClipRequest]) -> Sequence[ProcessedClip | Exception]:
        """Answer each request with the model, or with the error that refuses its landmarks.

        Raises:
            SignetError: the graph of the model failed.
            Unavailable: the batch cannot be computed now.
        """

    def log_probs(
        self, model: ServableModel, clips: Sequence[Frames], dominance: Sequence[float] | None = None
    ) -> Sequence[Frames]:
        """The log-probabilities of model inputs, each float32 [T, 75, 3]: for each clip float32 [T, C + 1].

        `dominance` is as of `LoadedModel.log_probs`, but a model without this input ignores it.

        Raises:
            SignetError: the graph of the model failed.
            Unavailable: the batch cannot be computed now.
        """
