"""The extractions of one extractor process: each runs in its own thread, and one per corpus at a time."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria, check_criteria, check_splits
from services.extractor.sources.wlasl import read_wlasl
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import Busy, NotFound, NotReady, quote
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

# Seconds between two log lines about the progress of an extraction.
_LOG_SECONDS = 15.0

# Extractions that run at the same time. They share the workers, and each has the metadata of WLASL in memory (20 MB).
MAX_EXTRACTIONS = 4
# When to try again if so many are running: an extraction takes minutes to hours.
_RETRY_SECONDS = 60.0

# The number of ended extractions that can still be watched. The oldest are forgotten first. Each may name thousands of
# broken clips.
_REMEMBERED = 20


class ExtractionQueue:
    """Starts, finds, cancels and drains extractions. `wlasl` and `clips` are the arguments of `read_wlasl`."""

    def __init__(
        self,
        wlasl: Path,
        clips: Path | None,
        store: ObjectStore,
        workers: WorkerPool,
        metrics: ExtractorMetrics,
        quality: TrackingQuality = TrackingQuality.FAST,
    ) -> None:
        self._wlasl = wlasl
        self._clips = clips
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._quality = quality
        self._known: dict[str, Extraction] = {}
        self._running: dict[str, Future[ExtractionProgress]] = {}
        self._starting: set[str] = set()  # corpora whose extraction is about to run
        self._threads = ThreadPoolExecutor(MAX_EXTRACTIONS, thread_name_prefix="extraction")
        self._lock = threading.Lock()

    def start(self, name: str, choice: SelectionCriteria) -> str:
        """Start an extraction of the clips that are in the directory now, and return its id.

        The name is that of the corpus in the store. The call blocks while the metadata is read. The id is the right to
        cancel the extraction: no message to another caller contains it.

        Raises:
            NotFound: there is no metadata or no clip.
            InvalidInput: the corpus has no such gloss, there is no such split, or the name is invalid.
            NotReady: an extraction of this corpus is running.
            Busy: too many extractions are running.
            Unavailable: the store cannot be used. Automatic extraction says so once, and tries again.
        """
        keys.check_name("corpus", name)
        check_splits(choice)
        with self._reserved(name):
            return self._start(name, choice)

    def _start(self, name: str, choice: SelectionCriteria) -> str:
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
            quality=self._quality,
            on_change=_ProgressLogger(name).log,
        )
        extraction_id = uuid.uuid4().hex
        with self._lock:
            self._remember(extraction_id, extraction)
            future = self._running[extraction_id] = self._threads.submit(extraction.run)
        _log.info("extraction %s of corpus %s: started", extraction_id, name)
        future.add_done_callback(lambda _: self._ended(extraction_id, extraction))
        return extraction_id

    @contextmanager
    def _reserved(self, name: str) -> Iterator[None]:
        """Keep a place for the extraction of a corpus while its start is prepared."""
        with self._lock:
            taken = {self._known[key].name for key in self._running} | self._starting
            if name in taken:
                raise NotReady(
                    f"corpus {quote(name)} is being extracted already. Wait for its end, or cancel it with the id that "
                    "its start returned; the log of the extractor has the id."
                )
            if len(taken) >= MAX_EXTRACTIONS:
                raise Busy(
                    f"{MAX_EXTRACTIONS} extractions are running. Cancel one of them, or try again when one has ended.",
                    _RETRY_SECONDS,
                )
            self._starting.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._starting.discard(name)

    def find(self, extraction_id: str) -> Extraction:
        """Find an extraction of this process.

        Raises:
            NotFound: there is no extraction with this id.
        """
        try:
            return self._known[extraction_id]
        except KeyError:
            raise NotFound(
                f"no extraction {quote(extraction_id)}: it was not started here, or it was started before the last "
                "restart. Start it again: stored clips are not extracted twice."
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

    def _ended(self, extraction_id: str, extraction: Extraction) -> None:
        with self._lock:
            del self._running[extraction_id]
        extraction.release_inputs()
        progress = extraction.progress
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
