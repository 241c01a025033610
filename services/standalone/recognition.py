"""Recognition of single clips in this process. A worker process with limits decodes the videos."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from services.evaluator.serving.clip_limits import load_isolated_clip
from services.evaluator.serving.loaded_model import LoadedModel
from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality
from services.standalone.models import ChosenModel, ModelChoice, load_chosen_model
from signet.client import Recognition
from signet.client.inputs import is_landmark_file, read_clip
from signet.client.results import Moment, Prediction, Timing
from signet.errors import InvalidInput
from signet.landmarks import to_model_input, why_nothing_is_signed

# As many as a call without `top_k` gets from an evaluator.
DEFAULT_TOP_K = 5


class StandaloneRecognizer:
    """Recognises one clip after the other. Its worker process and its model are started at the same time.

    Args:
        choice: the model.
        quality: how videos are tracked.
    """

    def __init__(self, choice: ModelChoice, quality: TrackingQuality = TrackingQuality.FAST) -> None:
        self._quality = quality
        self._workers = WorkerPool(1)
        self._loader = ThreadPoolExecutor(1, "model")
        self._loading: Future[ChosenModel] = self._loader.submit(load_chosen_model, choice)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker process."""
        self._workers.close()
        self._loader.shutdown()

    @property
    def note(self) -> str:
        """What the user should know about the choice of the model; "" if there is nothing to say."""
        return self._loading.result().note

    def recognise(self, path: Path, top_k: int = 0, timeout: float | None = None) -> Recognition:
        """Recognise the sign in a video, or in a landmark tensor.

        Args:
            path: the file of the clip.
            top_k: how many glosses to return; 0 means `DEFAULT_TOP_K`.
            timeout: give the video up after so many seconds; None allows as long as a clip of its length may take.

        Raises:
            InvalidInput: the clip cannot be used, or is too long for one sign.
            DeadlineExceeded: the time is over.
            SignetError: the errors of `load_chosen_model`.
        """
        started = time.perf_counter()
        if is_landmark_file(path):
            landmarks, extract_seconds = read_clip(path).data, 0.0
        else:
            landmarks = self._extract(path, timeout).data
            extract_seconds = time.perf_counter() - started
        model = self._loading.result().model
        _check_top_k(model, top_k)
        prepared_from = time.perf_counter()
        try:
            clip = load_isolated_clip(landmarks, "video" if extract_seconds else "landmarks")
        except InvalidInput as error:
            raise type(error)(f"{path}: {error} `signet transcribe` finds the signs in a long video.") from error
        frames = to_model_input(clip)
        nothing_signed = why_nothing_is_signed(frames)
        computed_from = time.perf_counter()
        log_probs = [] if nothing_signed else model.log_probs([frames])
        decoded_from = time.perf_counter()
        decoded = model.decode(log_probs[0]) if log_probs else None
        ended = time.perf_counter()
        return Recognition(
            predictions=() if decoded is None else tuple(
                Prediction(model.vocabulary[index], float(decoded.posterior[index]))
                for index in decoded.ranking()[: top_k or DEFAULT_TOP_K]
            ),
            nothing_signed=nothing_signed,
            model_name=model.card.name,
            model_version=model.card.version,
            moment=None if decoded is None else Moment(decoded.time_span.start, decoded.time_span.end),
            in_vocabulary=None if decoded is None else decoded.in_vocabulary,
            continuous_glosses=() if decoded is None else decoded.continuous,
            greedy_glosses=() if decoded is None else decoded.greedy,
            blank_ratio=0.0 if decoded is None else decoded.blank_ratio,
            frames=len(frames),
            vocabulary_size=len(model.vocabulary),
            warnings=clip.record.warnings,
            timing=Timing(
                extract_seconds,
                computed_from - prepared_from,
                decoded_from - computed_from,
                ended - decoded_from,
                ended - started,
            ),
        )  # fmt: skip

    def _extract(self, path: Path, timeout: float | None) -> Extracted:
        labels = Labels(clip_name(path))
        return asyncio.run(self._workers.one(worker.extract_upload, (labels, path, self._quality), timeout))


def clip_name(path: Path) -> str:
    """The name of a video in messages, and in the record of its landmarks."""
    printable = "".join(character if character.isprintable() else "?" for character in path.name)
    return printable.encode(errors="replace").decode()[:200] or "video"


def _check_top_k(model: LoadedModel, top_k: int) -> None:
    if top_k > len(model.vocabulary):
        raise InvalidInput(f"--top-k {top_k}: the model {model.name} knows {len(model.vocabulary)} glosses.")
