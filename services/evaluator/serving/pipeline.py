"""From the landmarks of clips to decoded clips: the work of a batch of calls, in one thread."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.clip_limits import load_isolated_clip
from services.evaluator.serving.loaded_model import DecodedClip, LoadedModel
from signet.errors import SignetError
from signet.landmarks import Landmarks, NothingSigned, to_model_inputs, why_nothing_is_signed


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
    """Prepares, recognises and decodes the clips of a batch together."""

    def __init__(self, metrics: EvaluatorMetrics) -> None:
        self._metrics = metrics

    def process(self, model: LoadedModel, requests: Sequence[ClipRequest]) -> list[ProcessedClip | Exception]:
        """Answer each request with the model, or with the error that refuses its landmarks.

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
            log_probs = model.log_probs([inputs[index] for index in signed], self._metrics.batch_clips.observe)
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
