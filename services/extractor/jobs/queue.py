"""The extractions of one extractor: each in a thread of its own, one of a corpus at a time, for whoever watches."""

import asyncio
import logging
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.progress import Progress, State
from services.extractor.jobs.workers import Workers
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import Choice, check_choice
from services.extractor.sources.wlasl import read_wlasl
from signet.errors import NotFound, NotReady
from signet.store import ObjectStore

_log = logging.getLogger(__name__)

# How often an extraction says how far it is.
_TELL_SECONDS = 15.0

# Ended extractions that can still be watched; more are forgotten, oldest first.
_REMEMBERED = 100


class Extractions:
    """Starts, finds, cancels and drains extractions.

    Args:
        wlasl: see `read_wlasl`.
        clips: likewise.
        store: where landmarks go.
        workers: who does the work, for all of them.
        metrics: where it is counted.
    """

    def __init__(
        self, wlasl: Path, clips: Path | None, store: ObjectStore, workers: Workers, metrics: ExtractorMetrics
    ) -> None:
        self._wlasl = wlasl
        self._clips = clips
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._known: dict[str, Extraction] = {}
        self._running: dict[str, Future[Progress]] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="extraction")
        self._lock = threading.Lock()

    def start(self, name: str, choice: Choice) -> str:
        """Start an extraction of what is in the directory now; its id. Blocks while the metadata is read.

        Args:
            name: the corpus's, in the store.
            choice: what to take.

        Raises:
            NotFound: the metadata or the clips are not there.
            InvalidInput: what is asked for is not in WLASL, or the name cannot be one.
            NotReady: this corpus is being extracted already.
        """
        corpus = read_wlasl(self._wlasl, self._clips)
        check_choice(corpus, choice)
        extraction = Extraction(
            name=name,
            corpus=corpus,
            choice=choice,
            store=self._store,
            workers=self._workers,
            metrics=self._metrics,
            on_change=_Teller(name).tell,
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
        """An extraction of this process.

        Raises:
            NotFound: it has none of this id.
        """
        try:
            return self._known[extraction_id]
        except KeyError:
            raise NotFound(
                f"no extraction {extraction_id!r}: it was never started here, or before the last restart. Start it "
                "again: what is in the store is not done twice."
            ) from None

    async def ended(self, extraction_id: str) -> Progress:
        """Its final state, once it has ended; it goes on if the caller leaves earlier.

        Raises:
            NotFound: there is none of this id.
        """
        extraction = self.find(extraction_id)
        running = self._running.get(extraction_id)
        if running is not None:
            await asyncio.wait([asyncio.wrap_future(running)])
        return extraction.progress

    async def drain(self, seconds: float) -> None:
        """Stop every extraction so that it can be resumed: after its clips under way, or after so many seconds."""
        running = dict(self._running)
        for extraction_id in running:
            self._known[extraction_id].cancel()
        if running:
            await asyncio.wait([asyncio.wrap_future(future) for future in running.values()], timeout=seconds)

    def _remember(self, extraction_id: str, extraction: Extraction) -> None:
        self._known[extraction_id] = extraction
        ended = [key for key, known in self._known.items() if known.progress.ended]
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


class _Teller:
    """Logs how far an extraction is, every so often."""

    def __init__(self, corpus: str) -> None:
        self._corpus = corpus
        self._told = time.monotonic()

    def tell(self, progress: Progress) -> None:
        if progress.ended or time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._told = time.monotonic()
        if progress.state is State.SELECTING:
            _log.info("corpus %s: choosing, %d clips verified", self._corpus, progress.verified)
        else:
            _log.info(
                "corpus %s: %d of %d clips, %d of them broken, %.0f frames/s",
                self._corpus,
                progress.done,
                progress.total,
                progress.broken,
                progress.frames / progress.elapsed_seconds,
            )
