"""From the landmarks of clips to decoded clips: the work of a batch of calls, in one thread."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from services.evaluator.serving.clip_limits import load_isolated_clip
from services.evaluator.serving.loaded_model import DecodedClip, Frames, LoadedModel
from services.evaluator.serving.servable_model import ServableModel
from signet.errors import SignetError
from signet.landmarks import Landmarks, NothingSigned, to_model_inputs, why_nothing_is_signed
from signet.store import ObjectStore

if TYPE_CHECKING:  # worker processes need no metrics
    from services.evaluator.metrics import EvaluatorMetrics


@dataclass(frozen=True)
class ClipRequest:
    """The landmarks of one clip, and their name in errors."""

    landmarks: bytes  # a landmark tensor v1
    name: str


@dataclass(eq=False)
class ProcessedClip:
    """What was found in one clip."""

    frames: int  # number of frames after resampling
    warnings: tuple[str, ...]  # from the record of the landmarks
    nothing_signed: NothingSigned | None  # why nothing is signed; then the model did not run
    decoded: DecodedClip | None = None
    # Duration of the stages. Clips of a batch go through each stage together, and it takes the same time for each.
    seconds: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Loads models and computes batches in this process.

    Args:
        metrics: counts the clips of each run of a model.
        threads: the number of threads inside one operator of a model; 0 means one per core.
    """

    # Several threads would wait for the same interpreter.
    parallel = 1

    def __init__(self, metrics: "EvaluatorMetrics", threads: int = 0) -> None:
        self._metrics = metrics
        self._threads = threads

    def is_ready(self) -> bool:
        """See `Compute.is_ready`."""
        return True

    def load(
        self, store: ObjectStore, name: str, version: str, make_room: Callable[[int], None] | None = None
    ) -> LoadedModel:
        """See `Compute.load`."""
        return LoadedModel.load(store, name, version, self._threads, make_room=make_room)

    def process(self, model: ServableModel, requests: Sequence[ClipRequest]) -> list[ProcessedClip | Exception]:
        """See `Compute.process`."""
        return process_clips(cast(LoadedModel, model), requests, self._metrics.batch_clips.observe)

    def log_probs(
        self, model: ServableModel, clips: Sequence[Frames], dominance: Sequence[float] | None = None
    ) -> list[Frames]:
        """See `Compute.log_probs`."""
        return cast(LoadedModel, model).log_probs(clips, self._metrics.batch_clips.observe, dominance)


def process_clips(
    model: LoadedModel, requests: Sequence[ClipRequest], before_run: Callable[[int], None]
) -> list[ProcessedClip | Exception]:
    """Prepare, recognise and decode the clips of a batch together.

    `before_run` is called with the number of clips before each run of the model.

    Raises:
        SignetError: the graph of the model failed.
    """
    started = time.perf_counter()
    loaded = [load_clip(request) for request in requests]
    clips = [clip for clip in loaded if isinstance(clip, Landmarks)]
    inputs = to_model_inputs(clips)
    processed = [
        ProcessedClip(len(frames), clip.record.warnings, why_nothing_is_signed(frames))
        for clip, frames in zip(clips, inputs, strict=True)
    ]
    signed = [index for index, clip in enumerate(processed) if clip.nothing_signed is None]
    prepared = time.perf_counter()
    for clip in processed:
        clip.seconds["prepare"] = prepared - started
    if signed:
        log_probs = model.log_probs([inputs[index] for index in signed], before_run)
        computed = time.perf_counter()
        decoded = model.decode_all(log_probs)
        ended = time.perf_counter()
        for index, answer in zip(signed, decoded, strict=True):
            processed[index].decoded = answer
            processed[index].seconds |= {"model": computed - prepared, "decode": ended - computed}
    answers = iter(processed)
    return [next(answers) if isinstance(clip, Landmarks) else clip for clip in loaded]


def load_clip(request: ClipRequest) -> Landmarks | SignetError:
    """Decode the landmarks of a request, or return the error that refuses them."""
    try:
        return load_isolated_clip(request.landmarks, request.name)
    except SignetError as error:
        return error
