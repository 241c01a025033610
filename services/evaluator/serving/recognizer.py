"""Recognition of one clip: landmarks or a video in, ranked glosses out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.clip_limits import measure_clip
from services.evaluator.serving.compute import Compute
from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.lanes import Lane, Lanes
from services.evaluator.serving.loaded_model import DecodedClip
from services.evaluator.serving.pipeline import ClipRequest
from services.evaluator.serving.servable_model import ServableModel
from signet.errors import InvalidInput
from signet.landmarks import ClipLength, NothingSigned, count_model_frames
from signet.registry import ModelCard
from signet.telemetry.tracing import add_spans, span

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class RankedGloss:
    """One gloss and p(this gloss alone | clip), normalised over the vocabulary."""

    gloss: str
    probability: float


@dataclass(frozen=True, eq=False)
class RecognitionResult:
    """The answer to one call."""

    ranked: tuple[RankedGloss, ...]  # glosses, the most probable first; empty if nothing is signed
    decoded: DecodedClip | None  # all that was decoded; None if nothing is signed, because the model did not run
    nothing_signed: NothingSigned | None  # why nothing is signed; None if something may be signed
    frames: int  # number of frames after resampling
    card: ModelCard  # card of the model that answered
    seconds: dict[str, float]  # duration of each stage that ran, and "total"
    warnings: tuple[str, ...] = ()  # from the record of the landmarks


class Recognizer:
    """Recognises clips with the model of each call; `extractor` turns videos into landmarks."""

    def __init__(self, extractor: ExtractorClient, metrics: EvaluatorMetrics, compute: Compute) -> None:
        self._extractor = extractor
        self._metrics = metrics
        self._lanes = Lanes(compute)

    async def recognise_video(
        self, model: ServableModel, video: bytes, top_k: int = 0, deadline_seconds: float | None = None
    ) -> RecognitionResult:
        """Rank the vocabulary of a model for an encoded video.

        Raises:
            SignetError: the errors of `recognise` and of `ExtractorClient.landmarks`.
        """
        started = time.perf_counter()
        _check_top_k(model, top_k)
        if not video:
            raise InvalidInput("the video is empty. Send the bytes of an encoded video file.")
        seconds: dict[str, float] = {}
        with self._lanes.videos(len(video)).admit(len(video)):
            with self._stage("extract", seconds):
                landmarks = await self._extractor.landmarks(video, deadline_seconds)
            length = measure_clip(landmarks, "video")
            lane = self._lanes.lane(length, len(landmarks))
            return await self._recognise(model, ClipRequest(landmarks, "video"), length, lane, top_k, started, seconds)

    async def recognise(self, model: ServableModel, landmarks: bytes, top_k: int = 0) -> RecognitionResult:
        """Rank the vocabulary for one isolated clip, unless nothing is signed in it.

        Args:
            model: answers the call. Its owner keeps it in memory until the call has ended.
            landmarks: a landmark tensor v1.
            top_k: how many glosses to return; 0 means `DEFAULT_TOP_K`, or the whole vocabulary if that is smaller.

        Raises:
            InvalidInput: the landmarks cannot be used, or `top_k` is larger than the vocabulary.
            Busy: too many calls are under way.
        """
        started = time.perf_counter()
        _check_top_k(model, top_k)
        length = measure_clip(landmarks, "landmarks")
        lane = self._lanes.lane(length, len(landmarks))
        with lane.admission.admit(len(landmarks), length.seconds):
            return await self._recognise(model, ClipRequest(landmarks, "landmarks"), length, lane, top_k, started, {})

    async def _recognise(
        self,
        model: ServableModel,
        request: ClipRequest,
        length: ClipLength,
        lane: Lane,
        top_k: int,
        started: float,
        seconds: dict[str, float],
    ) -> RecognitionResult:
        clip = await lane.queue.answer(model, request, count_model_frames(length))
        for stage, duration in clip.seconds.items():
            self._metrics.observe_stage(stage, duration)
        add_spans(clip.seconds)
        ranked: tuple[RankedGloss, ...] = ()
        if clip.nothing_signed is not None:
            self._metrics.count_nothing_signed(clip.nothing_signed)
        if clip.decoded is not None:
            ranked = tuple(
                RankedGloss(model.vocabulary[index], float(clip.decoded.posterior[index]))
                for index in clip.decoded.ranking()[: top_k or DEFAULT_TOP_K]
            )
            self._metrics.count_prediction(model.card.name, ranked[0].gloss)
        seconds |= {**clip.seconds, "total": time.perf_counter() - started}
        return RecognitionResult(
            ranked, clip.decoded, clip.nothing_signed, clip.frames, model.card, seconds, clip.warnings
        )

    @contextmanager
    def _stage(self, stage: str, seconds: dict[str, float]) -> Iterator[None]:
        started = time.perf_counter()
        with span(stage):
            yield
        seconds[stage] = time.perf_counter() - started
        self._metrics.observe_stage(stage, seconds[stage])


def _check_top_k(model: ServableModel, top_k: int) -> None:
    if top_k > len(model.vocabulary):
        raise InvalidInput(
            f"top_k={top_k}: the model {model.name} knows {len(model.vocabulary)} glosses. Ask for at most that many, "
            f"or for 0, which means {DEFAULT_TOP_K}."
        )
