"""The extractions of one extractor process: each runs in its own thread, and one per corpus at a time."""

import asyncio
import logging
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria, check_criteria
from services.extractor.sources.wlasl import read_wlasl
from signet.errors import NotFound, NotReady
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

# Seconds between two log lines about the progress of an extraction.
_LOG_SECONDS = 15.0

# The number of ended extractions that can still be watched. The oldest are forgotten first.
_REMEMBERED = 100


class ExtractionQueue:
    """Starts, finds, cancels and drains extractions. `wlasl` and `clips` are the arguments of `read_wlasl`."""

    def __init__(
        self, wlasl: Path, clips: Path | None, store: ObjectStore, workers: WorkerPool, metrics: ExtractorMetrics
    ) -> None:
        self._wlasl = wlasl
        self._clips = clips
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._known: dict[str, Extraction] = {}
        self._running: dict[str, Future[ExtractionProgress]] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="extraction")
        self._lock = threading.Lock()

    def start(self, name: str, choice: SelectionCriteria) -> str:
        """Start an extraction of the clips that are in the directory now, and return its id.

        The name is that of the corpus in the store. The call blocks while the metadata is read.

        Raises:
            NotFound: there is no metadata or no clip.
            InvalidInput: WLASL has no such gloss or split, or the name is invalid.
            NotReady: an extraction of this corpus is running.
            Unavailable: the store cannot be used. Automatic extraction says so once, and tries again.
        """
        next(iter(self._store.list(keys.corpus_manifest(name))), None)
        corpus = read_wlasl(self._wlasl, self._clips)
        for note in corpus.notes:
            _log.warning("%s", note)
        check_criteria(corpus, choice)
        extraction = Extraction(
            name=name,
            corpus=corpus,
            choice=choice,
            store=self._store,
            workers=self._workers,
            metrics=self._metrics,
            on_change=_ProgressLogger(name).log,
        )
        extraction_id = uuid.uuid4().hex
        with self._lock:
            for key in self._running:
                if self._known[key].name == name:
                    raise NotReady(
                        f"corpus {name!r} is being extracted already, as {key}. Watch that one, or cancel it first."
                    )
            self._remember(extraction_id, extraction)
            future = self._running[extraction_id] = self._threads.submit(extraction.run)
        _log.info("extraction %s of corpus %s: started", extraction_id, name)
        future.add_done_callback(lambda _: self._ended(extraction_id))
        return extraction_id

    def find(self, extraction_id: str) -> Extraction:
        """Find an extraction of this process.

        Raises:
            NotFound: there is no extraction with this id.
        """
        try:
            return self._known[extraction_id]
        except KeyError:
            raise NotFound(
                f"no extraction {extraction_id!r}: it was not started here, or it was started before the last restart. "
                "Start it again: stored clips are not extracted twice."
            ) from None

    async def ended(self, extraction_id: str) -> ExtractionProgress:
        """Wait for the end of an extraction. It continues if the caller is cancelled.

        Raises:
            NotFound: there is no extraction with this id.
        """
        extraction = self.find(extraction_id)
        running = self._running.get(extraction_id)
        if running is not None:
            await asyncio.wait([asyncio.wrap_future(running)])
        return extraction.progress

    async def drain(self, seconds: float) -> None:
        """Stop every extraction after its current clips, and wait at most this many seconds. They can be resumed."""
        running = dict(self._running)
        for extraction_id in running:
            self._known[extraction_id].cancel()
        if running:
            await asyncio.wait([asyncio.wrap_future(future) for future in running.values()], timeout=seconds)

    def _remember(self, extraction_id: str, extraction: Extraction) -> None:
        self._known[extraction_id] = extraction
        ended = [key for key, job in self._known.items() if job.progress.ended]
        for key in ended[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[key]

    def _ended(self, extraction_id: str) -> None:
        with self._lock:
            del self._running[extraction_id]
        progress = self._known[extraction_id].progress
        _log.log(
            logging.ERROR if progress.error else logging.INFO,
            "extraction %s: %s: %d extracted, %d present, %d broken, %d missing%s",
            extraction_id, progress.state, progress.extracted, progress.present, progress.broken, progress.missing,
            f": {progress.error}" if progress.error else "",
        )  # fmt: skip


class _ProgressLogger:
    """Logs the progress of an extraction at intervals."""

    def __init__(self, corpus: str) -> None:
        self._corpus = corpus
        self._logged = time.monotonic()

    def log(self, progress: ExtractionProgress) -> None:
        if progress.ended or time.monotonic() - self._logged < _LOG_SECONDS:
            return
        self._logged = time.monotonic()
        if progress.state is ExtractionState.SELECTING:
            _log.info("corpus %s: selecting, %d clips verified", self._corpus, progress.verified)
        else:
            _log.info(
                "corpus %s: %d of %d clips, %d of them broken, %.0f frames/s", self._corpus, progress.done,
                progress.total, progress.broken, progress.frames / progress.elapsed_seconds,
            )  # fmt: skip
