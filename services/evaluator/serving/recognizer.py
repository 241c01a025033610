"""Which sign is this: one clip in, ranked glosses out."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.batching import Batcher
from services.evaluator.serving.extractor_client import VideoExtractor
from services.evaluator.serving.loaded_model import Frames, LoadedModel, Moment
from services.evaluator.serving.served_model import ServedModel
from signet.errors import InvalidInput
from signet.landmarks import load, to_model_input

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class Ranked:
    """One gloss and p(this gloss alone | clip), normalised over the vocabulary."""

    gloss: str
    probability: float


@dataclass(frozen=True)
class Recognition:
    """What a clip was recognised as. `moment` is the first of `ranked`'s; `seconds` is by stage, and "total"."""

    ranked: tuple[Ranked, ...]
    moment: Moment
    continuous: tuple[str, ...]
    model_name: str
    model_version: str
    greedy: tuple[str, ...]
    blank_ratio: float
    frames: int
    seconds: dict[str, float] = field(default_factory=dict)


class Recognizer:
    """Recognises clips with the served model.

    Args:
        served: which model that is.
        video: turns videos into landmarks.
        metrics: told what was predicted, and where the time went.
    """

    def __init__(self, served: ServedModel, video: VideoExtractor, metrics: EvaluatorMetrics) -> None:
        self._served = served
        self._video = video
        self._metrics = metrics
        self._batcher = Batcher(metrics)

    async def recognise_video(self, video: bytes, top_k: int = 0, deadline_seconds: float | None = None) -> Recognition:
        """Rank the vocabulary for an encoded video. See `recognise`; further errors are `VideoExtractor.landmarks`'."""
        started = time.perf_counter()
        self._check(top_k)
        if not video:
            raise InvalidInput("the video is empty. Send the bytes of an encoded video file.")
        seconds: dict[str, float] = {}
        with self._stage("extract", seconds):
            landmarks = await self._video.landmarks(video, deadline_seconds)
        return await self._recognise(landmarks, top_k, "the video's landmarks", started, seconds)

    async def recognise(self, landmarks: bytes, top_k: int = 0) -> Recognition:
        """Rank the vocabulary for one isolated clip.

        Args:
            landmarks: a landmark tensor v1.
            top_k: how many glosses, best first; 0 means `DEFAULT_TOP_K`, or the whole vocabulary if that is less.

        Raises:
            NotReady: no model is served yet.
            InvalidInput: the landmarks cannot be used, or `top_k` is more than the vocabulary holds.
        """
        started = time.perf_counter()
        self._check(top_k)
        return await self._recognise(landmarks, top_k, "landmarks", started, {})

    async def _recognise(
        self, landmarks: bytes, top_k: int, name: str, started: float, seconds: dict[str, float]
    ) -> Recognition:
        # One version from here to the end, whatever is published meanwhile.
        model = self._check(top_k)
        with self._stage("prepare", seconds):
            clip = await asyncio.to_thread(_prepare, landmarks, name)
        with self._stage("model", seconds):
            log_probs = await self._batcher.log_probs(model, clip)
        with self._stage("decode", seconds):
            reading = await asyncio.to_thread(model.read, log_probs)
        ranked = tuple(
            Ranked(model.vocabulary[index], float(reading.posterior[index]))
            for index in reading.ranking()[: top_k or DEFAULT_TOP_K]
        )
        self._metrics.predicted(ranked[0].gloss)
        return Recognition(
            ranked=ranked,
            moment=reading.moment,
            continuous=reading.continuous,
            model_name=model.card.name,
            model_version=model.card.version,
            greedy=reading.greedy,
            blank_ratio=reading.blank_ratio,
            frames=reading.frames,
            seconds={**seconds, "total": time.perf_counter() - started},
        )

    def _check(self, top_k: int) -> LoadedModel:
        model = self._served.current()
        if top_k > len(model.vocabulary):
            raise InvalidInput(
                f"top_k={top_k}: the model {model.name} knows {len(model.vocabulary)} glosses. Ask for at most that "
                f"many, or for 0, which means {DEFAULT_TOP_K}."
            )
        return model

    @contextmanager
    def _stage(self, stage: str, seconds: dict[str, float]) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[stage] = time.perf_counter() - started
        self._metrics.spent(stage, seconds[stage])


def _prepare(landmarks: bytes, name: str) -> Frames:
    clip = load(landmarks, name)
    if not clip.presence.any():
        raise InvalidInput(
            f"{name}: no body and no hand was found in any of {clip.frames} frames, so there is nothing to recognise. "
            "Is the signer in the picture, from the waist up?"
        )
    return to_model_input(clip)
