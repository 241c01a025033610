"""Downloads the clips that are missing: checks what exists, then downloads, checks and stores one link after the other.

Threads download. They give every outcome to the thread of `run`, which alone writes to the ledger. A file gets its
final name only when it is complete and was checked, so that it does not matter when the process dies.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue
from urllib.parse import unquote, urlsplit

from services.extractor.fetching.checks import CheckedVideo, check_in_worker, check_video
from services.extractor.fetching.download import Downloaded, Downloader, PartFile, remove_leftovers
from services.extractor.fetching.failures import CHECK_FAILURES, DownloadFailed, FetchStopped, kind_of
from services.extractor.fetching.ledger import FAILED, REFUSED, STORED, WORK_FOLDER, FetchLedger, FileRecord, LinkRecord
from services.extractor.fetching.links import YOUTUBE_HOST, ClipLink, LinkKind, group_links, redact
from services.extractor.fetching.placing import move_aside, place
from services.extractor.fetching.progress import FetchProgress, FetchSettings
from services.extractor.fetching.schedule import FetchSchedule, FetchTask
from services.extractor.fetching.survey import checked_file, find_files, relative_name, unusable_reason
from services.extractor.fetching.web import WebClient
from services.extractor.fetching.youtube import YoutubeDownloader, has_yt_dlp
from services.extractor.jobs.workers import WorkerPool, WorkersStopped
from services.extractor.sources.instances import Instance
from signet.errors import ClipError, Unavailable

# A host that asks to wait longer gets no further request in this run.
_MOST_WAIT_SECONDS = 120.0
_MOST_BACKOFF_SECONDS = 60.0
# A host that is busy, but does not say for how long, is left alone for longer than after another failure.
_BUSY_FACTOR = 5.0
# After an interrupt, checks under way have so long to end.
_STOP_SECONDS = 5.0
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class _Outcome:
    """The outcome of a link: its record, those of its files, and the broken files that were renamed."""

    link: LinkRecord
    files: tuple[FileRecord, ...] = ()
    moved: tuple[Path, ...] = ()


class FetchJob:
    """One run of `signet fetch`. `run` executes it; `cancel` may be called from a signal handler.

    Args:
        instances: the chosen instances.
        directories: where clips may exist, the preferred first.
        clips: the directory to which clips are downloaded.
        ledger: the ledger of that directory; it must be writable.
        pool: checks the files.
        settings: how clips are downloaded.
        on_change: called with every new state, in the thread of `run`.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        directories: Sequence[Path],
        clips: Path,
        ledger: FetchLedger,
        pool: WorkerPool,
        settings: FetchSettings,
        on_change: Callable[[FetchProgress], None] = lambda _: None,
    ) -> None:
        self._instances = instances
        self._directories = directories
        self._clips = clips
        self._work_folder = clips / WORK_FOLDER
        self._ledger = ledger
        self._pool = pool
        self._settings = settings
        self._on_change = on_change
        self._stop = threading.Event()
        self._progress = FetchProgress()
        self._received = 0
        self._counting = threading.Lock()
        self._events: SimpleQueue[_Outcome | Exception] = SimpleQueue()
        self._schedule = FetchSchedule(settings.host, {YOUTUBE_HOST: settings.youtube})
        client = WebClient(settings.host.at_a_time, settings.read_seconds)
        work = self._work_folder, self._stop.is_set
        self._web = Downloader(client, work[0], settings.limits, work[1], self._count_bytes)
        self._youtube = YoutubeDownloader(*work, self._count_bytes, settings.limits)

    def cancel(self) -> None:
        """Stop. Unfinished files are kept, and another run goes on with them."""
        self._stop.set()

    def run(self) -> FetchProgress:
        """Check, download and store clips. Returns the final state.

        Raises:
            Unavailable: the directory of the clips cannot be written to.
        """
        try:
            remove_leftovers(self._work_folder)
            self._check_existing()
            if not self._stop.is_set():
                self._add_tasks()
                self._run_threads()
        except WorkersStopped:
            self._stop.set()
        except OSError as error:
            raise Unavailable(
                f"{error.filename or self._clips}: cannot be written ({error.strerror}). Make space, or change its "
                "permissions, and run the same command again: it goes on where it ended."
            ) from error
        self._change(interrupted=self._stop.is_set())
        return self._progress

    def _check_existing(self) -> None:
        """Check the files that exist and were not checked, or have changed since."""
        by_path: dict[Path, list[Instance]] = {}
        paths = find_files(self._directories, self._instances)
        for instance in self._instances:
            path = paths.get(instance.clip_id)
            if path is not None and checked_file(path, self._clips, self._ledger) is None:
                by_path.setdefault(path, []).append(instance)
        self._change(to_check=len(by_path))
        jobs = ((path, (path, tuple(instances), path.name)) for path, instances in by_path.items())
        outcomes = self._pool.each(check_video, jobs, self._stop.is_set)
        with closing(outcomes):
            for path, outcome in outcomes:
                if path.exists():
                    self._ledger.add(self._file_record(path, outcome))
                self._change(checked=self._progress.checked + 1)

    def _file_record(self, path: Path, outcome: CheckedVideo | ClipError) -> FileRecord:
        status = path.stat()
        name = relative_name(path, self._clips)
        if isinstance(outcome, ClipError):
            return FileRecord(name, status.st_size, status.st_mtime_ns, reason=outcome.reason, message=str(outcome))
        return FileRecord(
            name,
            status.st_size,
            status.st_mtime_ns,
            sha256=outcome.sha256,
            frames=outcome.frames,
            seconds=outcome.seconds,
            outside=outcome.outside,
        )

    def _add_tasks(self) -> None:
        """Schedule the links of instances without a usable file."""
        paths = find_files(self._directories, self._instances)
        broken: dict[str, Path] = {}
        missing = []
        for instance in self._instances:
            path = paths.get(instance.clip_id)
            record = checked_file(path, self._clips, self._ledger) if path else None
            if path is None or record is None or record.reason:
                missing.append(instance)
                if path is not None:
                    broken[instance.clip_id] = path
        tasks = 0
        for link in group_links(missing):
            replaced = {broken[one.clip_id] for one in link.instances if one.clip_id in broken}
            task = FetchTask(link, link.stems(link.instances), broken=tuple(sorted(replaced)))
            if self._is_to_try(link) and not self._reuse(task):
                self._schedule.add(task)
                tasks += 1
        self._change(total=tasks)

    def _is_to_try(self, link: ClipLink) -> bool:
        """Whether an attempt can help. If not, the ledger says why."""
        known = self._ledger.links.get(link.key)
        reason = unusable_reason(link)
        if not reason and link.kind is LinkKind.YOUTUBE and not has_yt_dlp():
            reason = "needs_fetch"
        if reason:
            if known is None or known.reason != reason:
                kind = kind_of(reason)
                status = REFUSED if kind.permanent else FAILED
                self._ledger.add(
                    LinkRecord(link.key, redact(link.url), status, reason, message=kind.advice, time=_now())
                )
            return False
        return known is None or known.status != REFUSED or self._settings.retry_refused

    def _reuse(self, task: FetchTask) -> bool:
        """Give the video that an earlier run has downloaded to further instances of the same link."""
        known = self._ledger.links.get(task.link.key)
        for name in known.files if known else ():
            path = self._clips / name
            record = checked_file(path, self._clips, self._ledger)
            if known and record and not record.reason and record.sha256 == known.sha256:
                moved = move_aside(task.broken)
                names = [f"{stem}{path.suffix}" for stem in task.stems]
                for new in place(path, self._clips, self._work_folder, names, keep=True):
                    copy = replace(record, name=relative_name(new, self._clips), mtime_ns=new.stat().st_mtime_ns)
                    self._ledger.add(copy)
                self._ledger.add(replace(known, files=tuple(dict.fromkeys((*known.files, *names)))))
                self._change(moved=(*self._progress.moved, *moved))
                return True
        return False

    def _run_threads(self) -> None:
        count = min(self._settings.parallel, self._progress.total)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        end = float("inf")
        while any(thread.is_alive() for thread in threads) or not self._events.empty():
            try:
                event: _Outcome | Exception | None = self._events.get(timeout=_TICK_SECONDS)
            except Empty:
                event = None
            if isinstance(event, Exception):
                self._stop.set()
                self._end_downloads()
                raise event
            if event is not None:
                self._record(event)
            self._change(received=self._received)
            if self._stop.is_set():
                end = min(end, time.monotonic() + _STOP_SECONDS)
                self._end_downloads()
                if time.monotonic() > end:
                    break

    def _end_downloads(self) -> None:
        self._schedule.stop()
        self._web.stop()

    def _record(self, outcome: _Outcome) -> None:
        for file in outcome.files:
            self._ledger.add(file)
        self._ledger.add(outcome.link)
        status = outcome.link.status
        self._change(
            stored=self._progress.stored + (status == STORED),
            refused=self._progress.refused + (status == REFUSED),
            failed=self._progress.failed + (status == FAILED),
            moved=(*self._progress.moved, *outcome.moved),
        )

    def _work(self) -> None:
        """What each thread does."""
        try:
            while (task := self._schedule.take()) is not None:
                self._attempt(task)
        except (FetchStopped, WorkersStopped):
            return
        except Exception as error:  # noqa: BLE001  (raised again in the thread of `run`)
            self._events.put(error)

    def _attempt(self, task: FetchTask) -> None:
        task.attempts += 1
        downloader = self._youtube if task.link.kind is LinkKind.YOUTUBE else self._web
        try:
            downloaded = downloader.download(task.link)
        except DownloadFailed as failure:
            if self._stop.is_set():
                return
            self._after_failure(task, failure)
            return
        finally:
            self._schedule.release(task)
        self._schedule.note_success(task.link.host)
        outcome = check_in_worker(self._pool, downloaded.path, task.link.instances, task.stems[0])
        if self._stop.is_set():
            return
        if isinstance(outcome, ClipError):
            self._after_bad_check(task, downloaded, outcome)
        else:
            self._store(task, downloaded, outcome)

    def _after_bad_check(self, task: FetchTask, downloaded: Downloaded, error: ClipError) -> None:
        PartFile(self._work_folder, task.link).discard()
        if downloaded.resumed and not task.starts_anew:
            task.starts_anew = True
            self._schedule.add(task)
            return
        reason = error.reason
        if reason == "truncated" and not downloaded.has_known_size:
            reason = "interrupted"  # the host did not say how many bytes it sends
        self._after_failure(task, DownloadFailed(reason, str(error), final_url=downloaded.url))

    def _after_failure(self, task: FetchTask, failure: DownloadFailed) -> None:
        """Try a link again later, or give its outcome."""
        kind, host = kind_of(failure.reason), task.link.host
        backoff = self._settings.backoff_seconds * 2 ** (task.attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        wait = failure.retry_seconds
        removed = None
        if failure.reason == "busy" or wait is not None:
            wait = min(backoff * _BUSY_FACTOR, _MOST_BACKOFF_SECONDS) if wait is None else wait
            if wait > _MOST_WAIT_SECONDS:
                removed = self._schedule.give_up(host)
            else:
                self._schedule.pause(host, wait)
        if kind.permanent or failure.reason in CHECK_FAILURES:
            self._schedule.note_success(host)
        elif removed is None:
            removed = self._schedule.note_failure(host)
        if kind.again and removed is None and task.attempts < self._settings.attempts:
            task.earliest = time.monotonic() + min(backoff, _MOST_BACKOFF_SECONDS)
            self._schedule.add(task)
            return
        self._events.put(self._failed(task, failure))
        for other in removed or ():
            self._events.put(self._failed(other, DownloadFailed("host_down", f"not tried after: {failure}")))

    def _failed(self, task: FetchTask, failure: DownloadFailed) -> _Outcome:
        status = REFUSED if kind_of(failure.reason).permanent else FAILED
        record = LinkRecord(
            key=task.link.key,
            url=redact(task.link.url),
            status=status,
            reason=failure.reason,
            message=str(failure),
            attempts=self._earlier_attempts(task) + task.attempts,
            time=_now(),
            final_url=failure.final_url,
        )
        return _Outcome(record)

    def _store(self, task: FetchTask, downloaded: Downloaded, checked: CheckedVideo) -> None:
        """Give a video its final names."""
        suffix = PurePosixPath(unquote(urlsplit(task.link.url).path)).suffix.lower()
        suffix = suffix if suffix in checked.suffixes else checked.suffixes[0]
        names = [f"{stem}{suffix}" for stem in task.stems]
        size = downloaded.path.stat().st_size
        moved = move_aside(path for path in task.broken if path.exists())
        placed = place(downloaded.path, self._clips, self._work_folder, names)
        PartFile(self._work_folder, task.link).discard()
        record = LinkRecord(
            key=task.link.key,
            url=redact(task.link.url),
            status=STORED,
            bytes=size,
            sha256=checked.sha256,
            files=tuple(names),
            attempts=self._earlier_attempts(task) + task.attempts,
            time=_now(),
            final_url=downloaded.url,
        )
        files = tuple(self._file_record(path, checked) for path in placed)
        self._events.put(_Outcome(record, files, tuple(moved)))

    def _earlier_attempts(self, task: FetchTask) -> int:
        known = self._ledger.links.get(task.link.key)
        return known.attempts if known else 0

    def _count_bytes(self, received: int) -> None:
        with self._counting:
            self._received += received

    def _change(self, **what: object) -> None:
        self._progress = replace(self._progress, **what)  # type: ignore[arg-type]
        self._on_change(self._progress)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
