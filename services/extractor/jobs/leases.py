"""Which process runs which stored extraction. Two processes with the same store never run the same one.

The process that runs a job is its owner, and raises the job's beat at intervals. Another process takes the job over
when it has seen the same beat for `LEASE_SECONDS` by its own clock: clocks of different machines are never compared.
All writes are conditional, so of two processes that want a job, one gets it. An owner that was away for so long finds
that it has lost the job, and stops. What both extract meanwhile is stored once, by conditional writes.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum

from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_jobs import StoredJob, StoredJobs, Version, now_text, stored_progress
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import Conflict, DataLoss, NotFound

# How often an owner shows that it is there, and when a job without a sign of its owner is taken over.
BEAT_SECONDS = 10.0
LEASE_SECONDS = 40.0

# A job that ends its process each time it is run is given up after so many times without a new clip.
_MOST_RESUMES = 5
# Attempts to write a job that others change at the same time.
_ATTEMPTS = 10


class Verdict(Enum):
    """What the owner of a job must do."""

    CONTINUE = "continue"
    CANCEL = "cancel"  # a client has cancelled it
    STOP = "stop"  # another process runs it, or its object was deleted


@dataclass
class _Sighting:
    """When a version of a job was first seen."""

    etag: str
    since: float


class JobLeases:
    """The jobs that this process runs, and those of other processes. It can be used from any thread."""

    def __init__(self, jobs: StoredJobs) -> None:
        self._jobs = jobs
        self._owner = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._held: dict[str, Version] = {}
        self._seen: dict[str, _Sighting] = {}

    def start(
        self,
        name: str,
        corpus: str,
        criteria: SelectionCriteria,
        quality: TrackingQuality = TrackingQuality.FAST,
    ) -> None:
        """Store a new job, which this process runs."""
        version = self._jobs.create(name, corpus, criteria, quality, self._owner)
        with self._lock:
            self._held[name] = version

    def beat(self, name: str, progress: ExtractionProgress) -> Verdict:
        """Show that this process runs the job, and store its progress."""

        def advance(job: StoredJob) -> StoredJob:
            resumes = 0 if progress.extracted else job.resumes
            kept = stored_progress(progress)
            return job.model_copy(update={"beat": job.beat + 1, "resumes": resumes, "progress": kept})

        with self._lock:
            if progress.ended:  # `end` or `release` follows
                return Verdict.CONTINUE
            if name not in self._held or not self._update(name, advance):
                return Verdict.STOP
            return Verdict.CANCEL if self._held[name].job.cancelled else Verdict.CONTINUE

    def holds(self, name: str) -> bool:
        """Whether this process runs the job, as far as it knows."""
        with self._lock:
            return name in self._held

    def will_be_resumed(self, name: str) -> bool:
        """Whether the job is resumed if this process ends now."""
        with self._lock:
            return name in self._held and not self._held[name].job.cancelled

    def end(self, name: str, progress: ExtractionProgress) -> bool:
        """Store the end of a job that this process ran. False if it has lost the job."""
        ended = {"ended": now_text(), "owner": "", "progress": stored_progress(progress)}
        with self._lock:
            if name not in self._held or not self._update(name, lambda job: job.model_copy(update=ended)):
                return False
            del self._held[name]
            return True

    def release(self, name: str) -> None:
        """Let any process resume a job, because this one ends. A job that a client has cancelled ends."""
        with self._lock:
            if name in self._held and self._update(name, _released):
                del self._held[name]

    def forget(self, name: str) -> None:
        """No longer hold a job that this process took over but cannot run now. Its lease ends by itself."""
        with self._lock:
            self._held.pop(name, None)

    def request_cancel(self, name: str) -> StoredJob:
        """Note that a client has cancelled the job. One that no process runs ends at once.

        Raises:
            NotFound: there is no such job.
        """
        with self._lock:
            if name in self._held and self._update(name, lambda job: job.model_copy(update={"cancelled": True})):
                return self._held[name].job
        for _ in range(_ATTEMPTS):
            version = self._jobs.load(name)
            if version.job.ended or (version.job.cancelled and version.job.owner):
                return version.job
            job = version.job.model_copy(update={"cancelled": True})
            with contextlib.suppress(Conflict):
                return self._jobs.replace(name, job if job.owner else _cancelled(job), version.etag).job
        raise Conflict(f"other writers changed this extraction {_ATTEMPTS} times meanwhile. Cancel it again.")

    def claim_abandoned(self, most: int, busy: Collection[str]) -> list[tuple[str, StoredJob]]:
        """Take over jobs that no process runs, the oldest first. Delete the oldest of those that have ended.

        At most `most` jobs are taken to be run, one of each corpus and none of the `busy` corpora. Jobs that need no
        run are ended here.
        """
        jobs = self._jobs.list()
        now = time.monotonic()
        with self._lock:
            self._seen = {name: self._sight(name, version, now) for name, version in jobs.items()}
            claimed: list[tuple[str, StoredJob]] = []
            for name, version in sorted(jobs.items(), key=lambda item: (item[1].job.started, item[0])):
                if version.job.ended or name in self._held or not self._is_abandoned(name, version.job, now):
                    continue
                taken = _taken(version.job, self._owner)
                busy_now = {*busy, *(job.corpus for _, job in claimed)}
                if not taken.ended and (len(claimed) >= most or taken.corpus in busy_now):
                    continue
                try:
                    held = self._jobs.replace(name, taken, version.etag)
                except Conflict:
                    continue
                if not taken.ended:
                    self._held[name] = held
                    claimed.append((name, taken))
        self._jobs.delete_old((name, version.job) for name, version in jobs.items())
        return claimed

    def corpora_of_others(self) -> set[str]:
        """The corpora that other processes extract, or that an interrupted extraction will continue with."""
        jobs = self._jobs.list()
        with self._lock:
            return {version.job.corpus for name, version in jobs.items() if not version.job.ended} - {
                version.job.corpus for version in self._held.values()
            }

    def _sight(self, name: str, version: Version, now: float) -> _Sighting:
        before = self._seen.get(name)
        return before if before is not None and before.etag == version.etag else _Sighting(version.etag, now)

    def _is_abandoned(self, name: str, job: StoredJob, now: float) -> bool:
        return not job.owner or now - self._seen[name].since >= LEASE_SECONDS

    def _update(self, name: str, change: Callable[[StoredJob], StoredJob]) -> bool:
        """Change a job that this process runs. False if it has lost the job; then it no longer holds it."""
        for _ in range(_ATTEMPTS):
            version = self._held[name]
            try:
                self._held[name] = self._jobs.replace(name, change(version.job), version.etag)
            except Conflict:
                try:
                    self._held[name] = self._jobs.load(name)
                except (NotFound, DataLoss):
                    break
                if self._held[name].job.owner != self._owner:
                    break
            else:
                return True
        del self._held[name]
        return False


def _released(job: StoredJob) -> StoredJob:
    return _cancelled(job) if job.cancelled else job.model_copy(update={"owner": ""})


def _taken(job: StoredJob, owner: str) -> StoredJob:
    """The job as this process takes it over; ended if it needs no run."""
    if job.cancelled:
        return _cancelled(job)
    if job.resumes >= _MOST_RESUMES:
        error = (
            f"the extractor ended {job.resumes} times while it worked on this extraction, without a new clip in "
            "between. See its log, and start the extraction again."
        )
        return _ended(job, replace(job.progress, state=ExtractionState.FAILED, error=error))
    return job.model_copy(update={"owner": owner, "beat": job.beat + 1, "resumes": job.resumes + 1})


def _cancelled(job: StoredJob) -> StoredJob:
    job = job.model_copy(update={"cancelled": True})
    return _ended(job, replace(job.progress, state=ExtractionState.CANCELLED))


def _ended(job: StoredJob, progress: ExtractionProgress) -> StoredJob:
    return job.model_copy(update={"owner": "", "ended": now_text(), "progress": progress})
