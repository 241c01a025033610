"""Transcribes a video of any length: worker processes track its parts, and this process recognises them in order.

Memory is bounded: at most one part for each worker is under way, and finished parts are on the disk until their turn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.evaluator.serving.loaded_model import LoadedModel
from services.extractor.jobs.board import Progress
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality, fingerprint
from services.standalone import video_parts
from services.standalone.part_cache import PartCache
from services.standalone.recognition import clip_name
from services.standalone.stream_recognition import ModelStream, to_transcript_sign
from services.standalone.video_parts import VideoPart, VideoPlan, extract_part, plan_parts
from signet.errors import ClipError
from signet.streaming import FinalSign, StreamEvent
from signet.transcripts import Media, Sign, Transcript, TranscriptModel


@dataclass(frozen=True)
class TranscriptionProgress:
    """How far a transcription is.

    Attributes:
        seconds: the time of the video that is tracked.
        total_seconds: the length of the video.
        resumed_seconds: how much of it was tracked by an earlier call.
        signs: the number of signs so far.
        stage: what a server has done with the share `stage_share` of the video; "" without a server.
        stage_share: 0 to 1; 0 if it is not known.
    """

    seconds: float
    total_seconds: float
    resumed_seconds: float
    signs: int
    stage: str = ""
    stage_share: float = 0.0


class Transcription:
    """The transcription of one video.

    Args:
        path: the video.
        workers: the worker processes.
        cache: the directory for the landmarks of finished parts; None keeps them in memory.
    """

    def __init__(self, path: Path, workers: WorkerPool, cache: Path | None) -> None:
        self._path = path
        self._workers = workers
        self._warnings: dict[str, None] = {}
        self._plan = self._make_plan()
        self._shares: dict[VideoPart, float] = {}
        self._parts = PartCache(cache, self._plan, fingerprint(TrackingQuality.FAST))

    def run(
        self, model: LoadedModel, threshold: float | None, on_progress: Callable[[TranscriptionProgress], None]
    ) -> Transcript:
        """Transcribe the video. A part that cannot be read is named in the warnings, and the others go on.

        Raises:
            ClipError: no part can be read.
            WorkersStopped: the workers were closed.
        """
        stream = ModelStream(model, threshold)
        signs: list[Sign] = []
        parts = self._plan.parts
        self._shares = {part: 1.0 for part in parts if self._parts.find(part) is not None}
        resumed = self.finished_seconds

        def take(events: list[StreamEvent]) -> None:
            found = (event for event in events if isinstance(event, FinalSign))
            signs.extend(to_transcript_sign(sign) for sign in found if stream.is_shown(sign))

        def report() -> None:
            # The last part ends after the last frame.
            tracked = min(self._plan.seconds, sum(share * part.seconds for part, share in self._shares.items()))
            on_progress(TranscriptionProgress(tracked, self._plan.seconds, resumed, len(signs)))

        report()
        failures: list[ClipError] = []
        for part, failure in self._track(report):
            tracked = self._parts.find(part)
            if failure is not None or tracked is None:
                failures.append(failure or ClipError("unreadable", f"{self._path}: the landmarks of a part are lost."))
                self._warn(f"{part.start_seconds:.1f} to {part.end_seconds:.1f} s cannot be read: {failures[-1]}")
                take(stream.flush())
            else:
                for warning in tracked.warnings:
                    self._warn(warning)
                for seconds, joints in zip(tracked.seconds.tolist(), tracked.joints, strict=True):
                    take(stream.add_frame(seconds, joints))
            report()
        if len(failures) == len(parts):
            raise failures[0]
        take(stream.finish())
        card = model.card
        return Transcript(
            media=Media(name=clip_name(self._path), sha256=self._plan.sha256, duration=self._plan.seconds),
            model=TranscriptModel(
                name=card.name,
                version=card.version,
                vocabulary_size=len(card.vocabulary),
                threshold=stream.threshold,
            ),
            signs=tuple(signs),
            warnings=tuple(self._warnings),
        )

    @property
    def finished_seconds(self) -> float:
        """How much of the video is in finished parts. They are kept for another call."""
        finished = sum(part.seconds for part, share in self._shares.items() if share == 1.0)
        return min(self._plan.seconds, finished)

    def forget(self) -> None:
        """Delete the kept landmarks: the transcript is saved."""
        self._parts.delete()

    def _make_plan(self) -> VideoPlan:
        ((_, outcome),) = self._workers.each(plan_parts, [(None, (self._path, video_parts.PART_SECONDS))])
        if isinstance(outcome, ClipError):
            raise outcome
        return outcome

    def _track(self, report: Callable[[], None]) -> Iterator[tuple[VideoPart, ClipError | None]]:
        """Track the parts that are not kept. Yields each part in order, with the error if it cannot be read."""
        missing = [part for part in self._plan.parts if part not in self._shares]
        jobs = ((part, (self._path, self._plan.sha256, part)) for part in missing)

        def watch(part: VideoPart, progress: Progress) -> None:
            self._note_share(part, progress)
            report()

        outcomes = self._workers.each(extract_part, jobs, watch=watch)
        failed: dict[VideoPart, ClipError] = {}
        waiting = set(missing)
        for part in self._plan.parts:
            while part in waiting:
                done, outcome = next(outcomes)
                waiting.discard(done)
                self._shares[done] = 1.0
                if isinstance(outcome, ClipError):
                    failed[done] = outcome
                else:
                    self._parts.add(done, outcome)
            yield part, failed.get(part)

    def _note_share(self, part: VideoPart, progress: Progress) -> None:
        self._shares[part] = min(0.99, progress.done / progress.total) if progress.total else 0.0

    def _warn(self, text: str) -> None:
        self._warnings.setdefault(text)
