"""The extractions of one extractor process: each runs in its own thread, and one per corpus at a time."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.extractor.jobs import leases
from services.extractor.jobs.extraction import ClipWorkers, Extraction
from services.extractor.jobs.leases import JobLeases, Verdict
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_jobs import MOST_ENDED, StoredJob, StoredJobs, job_name
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.detection import read_corpus
from services.extractor.sources.selection import SelectionCriteria, check_criteria, check_splits
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import Busy, NotFound, NotReady, SignetError, Unavailable, quote
from signet.rpc.polling import StatusLog
from signet.store import ObjectStore, keys
from signet.terminal.characters import escape_control_characters

_log = logging.getLogger(__name__)

# Seconds between two log lines about the progress of an extraction.
_LOG_SECONDS = 15.0

# Extractions that run at the same time. They share the workers, and each has the metadata of WLASL in memory (20 MB).
MAX_EXTRACTIONS = 4
# When to try again if so many are running: an extraction takes minutes to hours.
_RETRY_SECONDS = 60.0

# The ended extractions in memory; the store has the same number. Each may name thousands of broken clips.
_REMEMBERED = MOST_ENDED

# How often the state of an extraction of another process is read.
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class ExtractionView:
    """What a client can see of an extraction.

    Attributes:
        corpus: the name of its corpus.
        progress: its progress; that of a job of another process is some seconds old.
        here: whether this process runs it.
    """

    corpus: str
    progress: ExtractionProgress
    here: bool = True


class ExtractionQueue:
    """Starts, finds, cancels, drains and resumes extractions. `path` and `clips` are the arguments of `read_corpus`.

    Extractions are kept in the store (see `stored_jobs`), and `keep` resumes those of a process that has ended.
    """

    def __init__(
        self,
        path: Path,
        clips: Path | None,
        store: ObjectStore,
        workers: ClipWorkers,
        metrics: ExtractorMetrics,
        quality: TrackingQuality = TrackingQuality.FAST,
    ) -> None:
        self._path = path
        self._clips = clips
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._quality = quality
        self._jobs = StoredJobs(store)
        self._leases = JobLeases(self._jobs)
        # By the names of their objects in the store.
        self._known: dict[str, Extraction] = {}
        self._running: dict[str, Future[ExtractionProgress]] = {}
        # The stored jobs that another process runs, or will run, although this process has begun them.
        self._given_up: set[str] = set()
        # Ends that could not be stored yet.
        self._unstored: dict[str, ExtractionProgress] = {}
        self._starting: set[str] = set()  # corpora whose extraction is about to run
        self._threads = ThreadPoolExecutor(MAX_EXTRACTIONS, thread_name_prefix="extraction")
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._keeper: threading.Thread | None = None
        self._status = StatusLog(_log)

    def keep(self) -> None:
        """Begin to show that this process runs its jobs, and to resume those of ended processes, in a thread."""
        self._keeper = threading.Thread(target=self._keep, name="extractions", daemon=True)
        self._keeper.start()

    def start(self, name: str, choice: SelectionCriteria, *, stored: bool = True) -> str:
        """Start an extraction of the clips that are in the directory now, and return its id.

        The name is that of the corpus in the store. The call blocks while the metadata is read. The id is the right to
        cancel the extraction: no message to another caller contains it. Unless it is `stored`, the extraction ends with
        this process.

        Raises:
            NotFound: there is no metadata or no clip.
            InvalidInput: WLASL has no such gloss or split, or the name is invalid.
            NotReady: an extraction of this corpus is running, here or in another process.
            Busy: too many extractions are running.
            Unavailable: the store cannot be used. Automatic extraction says so once, and tries again.
        """
        keys.check_name("corpus", name)
        check_splits(choice)
        with self._reserved(name):
            extraction = self._prepare(name, choice, self._quality)
            extraction_id = uuid.uuid4().hex
            job = job_name(extraction_id)
            if stored:
                self._leases.start(job, name, choice, self._quality)
            self._run(job, extraction, f"extraction {extraction_id}", stored=stored)
            _log.info("extraction %s of corpus %s: started", extraction_id, name)
            return extraction_id

    def _prepare(self, name: str, choice: SelectionCriteria, quality: TrackingQuality) -> Extraction:
        next(iter(self._store.list(keys.corpus_manifest(name))), None)
        corpus = read_corpus(self._path, self._clips)
        for note in corpus.notes:
            _log.warning("%s", note)
        check_criteria(corpus, choice)
        return Extraction(
            name=name,
            corpus=corpus,
            choice=choice,
            store=self._store,
            workers=self._workers,
            metrics=self._metrics,
            quality=quality,
            on_change=_ProgressLogger(name).log,
        )

    def _run(self, job: str, extraction: Extraction, title: str, *, stored: bool) -> None:
        """Run an extraction in a thread; `title` names it in the log."""
        with self._lock:
            self._remember(job, extraction)
            future = self._running[job] = self._threads.submit(extraction.run)
        future.add_done_callback(lambda _: self._end(job, extraction, title, stored=stored))

    @contextmanager
    def _reserved(self, name: str) -> Iterator[None]:
        """Keep a place for the extraction of a corpus while its start is prepared."""
        elsewhere = self._leases.corpora_of_others()
        with self._lock:
            taken = self._busy_corpora()
            if name in taken | elsewhere:
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

    def _busy_corpora(self) -> set[str]:
        return {self._known[job].name for job in self._running} | self._starting

    def find(self, extraction_id: str) -> Extraction | None:
        """An extraction of this process; None if this process does not run it and did not end it recently."""
        job = job_name(extraction_id)
        return None if job in self._given_up else self._known.get(job)

    async def view(self, extraction_id: str) -> ExtractionView:
        """What a client can see of an extraction, of this process or of another one.

        Raises:
            NotFound: there is no extraction with this id.
            Unavailable: this process ends, and the extraction will be resumed.
        """
        extraction = self.find(extraction_id)
        if extraction is not None:
            return ExtractionView(extraction.name, extraction.progress)
        if self._draining.is_set():
            raise Unavailable(
                "the extractor is being stopped. It continues this extraction when it is started again: watch it then."
            )
        stored = await asyncio.to_thread(self._load, extraction_id)
        return ExtractionView(stored.corpus, stored.progress, here=False)

    def _load(self, extraction_id: str) -> StoredJob:
        try:
            return self._jobs.load(job_name(extraction_id)).job
        except NotFound:
            raise NotFound(
                f"no extraction {quote(extraction_id)}: it was not started here, or it ended long ago. Start it again: "
                "stored clips are not extracted twice."
            ) from None

    async def cancel(self, extraction_id: str) -> None:
        """Stop an extraction after the clips that are being extracted, also if another process runs it.

        Raises:
            NotFound: there is no extraction with this id.
        """
        extraction = self.find(extraction_id)
        try:
            if extraction is None or not extraction.progress.ended:
                await asyncio.to_thread(self._leases.request_cancel, job_name(extraction_id))
        except NotFound:
            if extraction is None:
                await asyncio.to_thread(self._load, extraction_id)  # raises the error for a client
        except Unavailable as error:
            # Without the store it may be resumed after a restart, but now it must stop.
            self._status.report(f"{error} A cancelled extraction could not be noted.")
        if extraction is not None:
            extraction.cancel()

    async def ended(self, extraction_id: str) -> ExtractionView:
        """Wait for the end of an extraction. It continues if the caller is cancelled.

        Raises:
            NotFound: there is no extraction with this id.
            Unavailable: this process ends, and the extraction will be resumed.
        """
        while True:
            running = self._running.get(job_name(extraction_id))
            if running is not None:
                await asyncio.wait([asyncio.wrap_future(running)])
            view = await self.view(extraction_id)
            if view.progress.ended:
                return view
            await asyncio.sleep(POLL_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Stop every extraction after its current clips, and wait at most this many seconds. They can be resumed."""
        self._draining.set()
        running = dict(self._running)
        for job in running:
            if self._leases.will_be_resumed(job):
                self._given_up.add(job)
            self._known[job].cancel()
        if running:
            await asyncio.wait([asyncio.wrap_future(future) for future in running.values()], timeout=seconds)
        for job in dict(self._running):
            await asyncio.to_thread(self._store_end, job, self._known[job].progress)
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.join, seconds)

    def _remember(self, job: str, extraction: Extraction) -> None:
        self._given_up.discard(job)
        self._known[job] = extraction
        ended = [key for key, other in self._known.items() if other.progress.ended and key not in self._running]
        for key in ended[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[key]

    def _end(self, job: str, extraction: Extraction, title: str, *, stored: bool) -> None:
        """Note the end of an extraction, in its thread."""
        progress = extraction.progress
        try:
            if stored:
                self._store_end(job, progress)
        finally:
            with self._lock:
                del self._running[job]
            extraction.release_inputs()
        _log.log(
            logging.ERROR if progress.error else logging.INFO,
            "%s: %s: %d extracted, %d present, %d broken, %d missing%s",
            title, progress.state, progress.extracted, progress.present, progress.broken, progress.missing,
            f": {progress.error}" if progress.error else "",
        )  # fmt: skip

    def _store_end(self, job: str, progress: ExtractionProgress) -> None:
        """Store that an extraction has ended, or that another process may resume it, because this one ends."""
        interrupted = self._draining.is_set() and progress.state not in {
            ExtractionState.SUCCEEDED,
            ExtractionState.FAILED,
        }
        try:
            if interrupted:
                self._leases.release(job)
            elif self._leases.end(job, progress):
                self._given_up.discard(job)
        except SignetError as error:
            self._status.report(f"{error} The end of an extraction could not be stored.")
            self._unstored[job] = progress

    def _keep(self) -> None:
        """The thread that keeps jobs."""
        while not self._draining.is_set():
            try:
                self._look_after_jobs()
            except SignetError as error:
                self._status.report(f"{error} Extractions of an earlier process are resumed later.")
            except Exception:  # noqa: BLE001  (jobs must be kept also after a fault)
                _log.exception("extractions could not be kept; trying again")
            self._draining.wait(leases.BEAT_SECONDS)

    def _look_after_jobs(self) -> None:
        for job in dict(self._running):
            if self._leases.holds(job):
                self._beat(job, self._known[job])
        for job, progress in tuple(self._unstored.items()):
            self._leases.end(job, progress)
            del self._unstored[job]
        with self._lock:
            busy = self._busy_corpora()
        claimed = self._leases.claim_abandoned(MAX_EXTRACTIONS - len(busy), busy)
        try:
            while claimed:
                self._resume(*claimed[0])
                claimed.pop(0)
        finally:
            # Those that could not be resumed, for example because the store is away, are taken over again later.
            for job, _ in claimed:
                self._leases.forget(job)
        self._status.clear()

    def _beat(self, job: str, extraction: Extraction) -> None:
        verdict = self._leases.beat(job, extraction.progress)
        if verdict is Verdict.CANCEL:
            extraction.cancel()
        elif verdict is Verdict.STOP:
            _log.warning("corpus %s: another process has taken over the extraction; it stops here", extraction.name)
            self._given_up.add(job)
            extraction.cancel()

    def _resume(self, job: str, stored: StoredJob) -> None:
        try:
            extraction = self._prepare(stored.corpus, stored.criteria, stored.quality)
        except Unavailable:
            raise  # the job can be resumed later
        except SignetError as error:
            _log.error("corpus %s: the extraction of %s cannot be resumed: %s", stored.corpus, stored.started, error)
            message = escape_control_characters(str(error))
            self._leases.end(job, replace(stored.progress, state=ExtractionState.FAILED, error=message))
            return
        _log.info("corpus %s: the extraction that was started at %s is resumed", stored.corpus, stored.started)
        self._run(job, extraction, f"resumed extraction of corpus {stored.corpus}", stored=True)


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
