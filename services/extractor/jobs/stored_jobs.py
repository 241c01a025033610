"""Extractions that services have started, as objects of the store: they survive a restart of the service.

The id of an extraction is the right to watch and cancel it. The store has only a hash of the id, as the name of the
object, so that a reader of the store cannot use it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.extractor.jobs.progress import ExtractionProgress
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import DataLoss, NotFound
from signet.field_types import MAX_COUNT, Count, Gloss, Label, ZonedTime, describe_first_fault
from signet.store import ObjectInfo, ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

# The ended extractions that can still be watched: the newest, and none that ended earlier.
MOST_ENDED = 20
_KEEP_ENDED = timedelta(days=7)


def _check_progress(progress: ExtractionProgress) -> ExtractionProgress:
    counts = (progress.verified, progress.total, progress.extracted, progress.present, progress.broken)
    if not all(0 <= count <= MAX_COUNT for count in (*counts, progress.missing, progress.frames)):
        raise ValueError("a count is out of its limits")
    return progress


class StoredJob(BaseModel):
    """corpora/_extractions/<name>.json: replaced by the process that runs the extraction, and by a cancellation."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal["signet.extraction/1"] = Field(default="signet.extraction/1", alias="schema")
    corpus: Label
    max_glosses: Count = 0
    samples_per_gloss: Count = 0
    splits: tuple[Label, ...] = ()
    glosses: tuple[Gloss, ...] = ()
    quality: TrackingQuality = TrackingQuality.FAST
    started: ZonedTime
    ended: ZonedTime | Literal[""] = ""
    # The process that runs it; "" if it waits for a process.
    owner: Label = ""
    # The owner raises it at intervals. If it does not change, the owner has gone.
    beat: Count = 0
    # How often it was resumed since a clip was last stored.
    resumes: Count = 0
    # Whether a client has cancelled it. The owner ends it.
    cancelled: bool = False
    progress: Annotated[ExtractionProgress, AfterValidator(_check_progress)] = ExtractionProgress()

    @property
    def criteria(self) -> SelectionCriteria:
        """Which clips it takes."""
        return SelectionCriteria(self.max_glosses, self.samples_per_gloss, self.splits, self.glosses)


@dataclass(frozen=True)
class Version:
    """A job as it was read or written, with the etag of its object."""

    job: StoredJob
    etag: str


def job_name(extraction_id: str) -> str:
    """The name of an extraction in the store. The id cannot be found from the name."""
    return hashlib.sha256(f"extraction {extraction_id}".encode()).hexdigest()[:32]


def stored_progress(progress: ExtractionProgress) -> ExtractionProgress:
    """The part of a progress that is kept in the store: what clients can ask for."""
    return replace(progress, clips=(), notes=())


class StoredJobs:
    """Reads and writes the objects of extractions. It can be used from any thread."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[str, Version | None] = {}

    def create(
        self, name: str, corpus: str, criteria: SelectionCriteria, quality: TrackingQuality, owner: str
    ) -> Version:
        """Store a new job."""
        job = StoredJob(
            corpus=corpus,
            max_glosses=min(criteria.max_glosses or 0, MAX_COUNT),
            samples_per_gloss=min(criteria.samples_per_gloss, MAX_COUNT),
            splits=criteria.splits,
            glosses=criteria.glosses,
            quality=quality,
            started=now_text(),
            owner=owner,
        )
        return Version(job, self._store.create(keys.extraction(name), _to_bytes(job)))

    def load(self, name: str) -> Version:
        """Read a job.

        Raises:
            NotFound: there is no such job.
            DataLoss: its object is damaged.
        """
        key = keys.extraction(name)
        info = self._store.stat(key)
        if info is None:
            raise NotFound(f"{self._store.url}/{key}: no such object.")
        version = self._load(info)
        if version is None:
            raise DataLoss(f"{self._store.url}/{key}: is damaged. Delete it, and start the extraction again.")
        return version

    def replace(self, name: str, job: StoredJob, etag: str) -> Version:
        """Replace a job that has not changed since it had this etag, and return its new version.

        Raises:
            Conflict: it has changed, or was deleted.
        """
        return Version(job, self._store.replace(keys.extraction(name), _to_bytes(job), etag))

    def list(self) -> dict[str, Version]:
        """All jobs by name. Damaged objects are skipped, and logged once. Unchanged objects are not read again."""
        found = {}
        for info in self._store.list(keys.extractions()):
            name = keys.extraction_name(info.key)
            if not name:
                log_skipped_object(self._store, info.key, "it is not the state of an extraction. Delete it.")
            elif (version := self._load(info)) is not None:
                found[name] = version
        self._read = {name: version for name, version in self._read.items() if name in found or version is None}
        return found

    def delete_old(self, jobs: Iterable[tuple[str, StoredJob]]) -> None:
        """Delete all but the newest of the ended jobs."""
        ended = sorted(((job.ended, name) for name, job in jobs if job.ended), reverse=True)
        limit = (datetime.now(UTC) - _KEEP_ENDED).isoformat(timespec="seconds")
        for place, (when, name) in enumerate(ended):
            if place >= MOST_ENDED or when < limit:
                self._store.delete(keys.extraction(name))

    def _load(self, info: ObjectInfo) -> Version | None:
        """The job of a listed object; None if it is damaged or was deleted."""
        name = keys.extraction_name(info.key)
        known = self._read.get(name)
        if known is not None and known.etag == info.etag:
            return known
        try:
            data = read_limited(self._store, info.key)
            version = Version(StoredJob.model_validate_json(data), info.etag)
        except NotFound:
            return None
        except (ValidationError, DataLoss) as error:
            fault = describe_first_fault(error) if isinstance(error, ValidationError) else str(error)
            log_skipped_object(self._store, info.key, f"it is not the state of an extraction ({fault}). Delete it.")
            return None
        self._read[name] = version
        return version


def now_text() -> str:
    """The present time, as it is stored."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _to_bytes(job: StoredJob) -> bytes:
    return job.model_dump_json(by_alias=True, indent=1).encode()
