"""The gRPC servicer of the extractor."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from services.extractor import worker
from services.extractor.extraction import Extraction
from services.extractor.metrics import ExtractorMetrics
from services.extractor.progress import Progress, State
from services.extractor.selection import Choice, check_choice
from services.extractor.settings import ExtractorSettings
from services.extractor.wlasl import read_wlasl
from services.extractor.worker import Labels
from services.extractor.workers import Workers
from signet.errors import ClipError, InvalidInput, NotFound, NotReady
from signet.store import ObjectStore
from signet.v1 import extractor_pb2 as pb
from signet.v1 import extractor_pb2_grpc

_log = logging.getLogger(__name__)

DEFAULT_CORPUS = "wlasl"
# A watcher is told of changes at most this often.
_WATCH_SECONDS = 0.25
# Ended extractions that can still be watched; more are forgotten, oldest first.
_REMEMBERED = 100
_MAX_CLIP_ID = 200

_STATES = {
    State.SELECTING: pb.EXTRACTION_STATE_SELECTING,
    State.RUNNING: pb.EXTRACTION_STATE_RUNNING,
    State.SUCCEEDED: pb.EXTRACTION_STATE_SUCCEEDED,
    State.CANCELLED: pb.EXTRACTION_STATE_CANCELLED,
    State.FAILED: pb.EXTRACTION_STATE_FAILED,
}


class ExtractorServicer(extractor_pb2_grpc.ExtractorServicer):
    """Extractions in threads of their own, and single clips, through one pool of workers."""

    def __init__(
        self, settings: ExtractorSettings, store: ObjectStore, workers: Workers, metrics: ExtractorMetrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._extractions: dict[str, Extraction] = {}
        self._running: dict[str, asyncio.Future[Progress]] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="extraction")
        self._starting = asyncio.Lock()

    async def StartExtraction(self, request: pb.StartExtractionRequest, context: Any) -> pb.StartExtractionResponse:  # noqa: N802
        """See extractor.proto."""
        choice = Choice(
            max_glosses=request.max_glosses,
            samples_per_gloss=request.samples_per_gloss,
            splits=tuple(request.splits),
            glosses=tuple(request.glosses),
        )
        name = request.corpus or DEFAULT_CORPUS
        async with self._starting:
            corpus = await asyncio.to_thread(read_wlasl, self._settings.wlasl, self._settings.wlasl_clips)
            check_choice(corpus, choice)
            for key in self._running:
                if self._extractions[key].name == name:
                    raise NotReady(
                        f"corpus {name!r} is being extracted already, as {key}. Watch that one, or cancel it first."
                    )
            extraction = Extraction(
                name=name,
                corpus=corpus,
                choice=choice,
                store=self._store,
                workers=self._workers,
                metrics=self._metrics,
            )
            extraction_id = uuid.uuid4().hex
            self._remember(extraction_id, extraction)
            future = asyncio.get_running_loop().run_in_executor(self._threads, extraction.run)
            self._running[extraction_id] = future
            future.add_done_callback(lambda _: self._ended(extraction_id))
        _log.info("extraction %s of corpus %s: started", extraction_id, name)
        return pb.StartExtractionResponse(extraction_id=extraction_id)

    async def WatchExtraction(  # noqa: N802
        self, request: pb.WatchExtractionRequest, context: Any
    ) -> AsyncIterator[pb.WatchExtractionResponse]:
        """See extractor.proto."""
        extraction = self._find(request.extraction_id)
        told: pb.ExtractionProgress | None = None
        while True:
            progress = extraction.progress
            message = _to_message(request.extraction_id, extraction.name, progress)
            # Time alone is no change.
            if told is None or _without_time(message) != _without_time(told):
                yield pb.WatchExtractionResponse(progress=message)
                told = message
            if progress.ended:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    async def CancelExtraction(self, request: pb.CancelExtractionRequest, context: Any) -> pb.CancelExtractionResponse:  # noqa: N802
        """See extractor.proto. Answers when the clips under way are done; they go on if the caller leaves earlier."""
        extraction = self._find(request.extraction_id)
        extraction.cancel()
        running = self._running.get(request.extraction_id)
        if running is not None:
            await asyncio.wait([running])
        return pb.CancelExtractionResponse(
            progress=_to_message(request.extraction_id, extraction.name, extraction.progress)
        )

    async def ExtractClip(self, request: pb.ExtractClipRequest, context: Any) -> pb.ExtractClipResponse:  # noqa: N802
        """See extractor.proto."""
        clip_id = request.clip_id or "clip"
        if len(clip_id) > _MAX_CLIP_ID:
            raise InvalidInput(f"clip_id has {len(clip_id)} characters; at most {_MAX_CLIP_ID} are allowed.")
        try:
            extracted = await self._workers.one(
                worker.extract_bytes, (request.video, Labels(clip_id)), context.time_remaining()
            )
        except ClipError as error:
            self._metrics.count("broken", error.reason)
            raise
        self._metrics.count("extracted")
        self._metrics.frames.inc(extracted.frames)
        self._metrics.stage_seconds.labels("decode").observe(extracted.decode_seconds)
        self._metrics.stage_seconds.labels("landmarks").observe(extracted.landmark_seconds)
        return pb.ExtractClipResponse(
            landmarks=extracted.data,
            decode_seconds=extracted.decode_seconds,
            landmark_seconds=extracted.landmark_seconds,
        )

    async def drain(self) -> None:
        """Stop every extraction so that it can be resumed: after its clips under way, or after the drain time."""
        running = dict(self._running)
        for extraction_id in running:
            self._extractions[extraction_id].cancel()
        if running:
            await asyncio.wait(running.values(), timeout=self._settings.drain_seconds)

    def _find(self, extraction_id: str) -> Extraction:
        try:
            return self._extractions[extraction_id]
        except KeyError:
            raise NotFound(
                f"no extraction {extraction_id!r}: it was never started here, or before the last restart. Start it "
                "again: what is in the store is not done twice."
            ) from None

    def _remember(self, extraction_id: str, extraction: Extraction) -> None:
        self._extractions[extraction_id] = extraction
        ended = [key for key, known in self._extractions.items() if known.progress.ended]
        for key in ended[: max(0, len(self._extractions) - _REMEMBERED)]:
            del self._extractions[key]

    def _ended(self, extraction_id: str) -> None:
        del self._running[extraction_id]
        progress = self._extractions[extraction_id].progress
        _log.log(
            logging.ERROR if progress.error else logging.INFO,
            "extraction %s: %s: %d extracted, %d present, %d broken, %d missing%s",
            extraction_id, progress.state, progress.extracted, progress.present, progress.broken, progress.missing,
            f": {progress.error}" if progress.error else "",
        )  # fmt: skip


def _to_message(extraction_id: str, corpus: str, progress: Progress) -> pb.ExtractionProgress:
    return pb.ExtractionProgress(
        extraction_id=extraction_id,
        corpus=corpus,
        state=_STATES[progress.state],
        total=progress.total,
        extracted=progress.extracted,
        present=progress.present,
        broken=progress.broken,
        missing=progress.missing,
        frames=progress.frames,
        glosses=progress.glosses,
        failures=[
            pb.ClipFailure(clip_id=failure.clip_id, reason=failure.reason, message=failure.message)
            for failure in progress.failures
        ],
        elapsed_seconds=progress.elapsed_seconds,
        error=progress.error,
    )


def _without_time(message: pb.ExtractionProgress) -> pb.ExtractionProgress:
    timeless = pb.ExtractionProgress()
    timeless.CopyFrom(message)
    timeless.ClearField("elapsed_seconds")
    return timeless
