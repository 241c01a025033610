"""Extracts a corpus of clips into landmark tensors in the store. It can be interrupted at any time and resumed.

Workers return bytes, and this process stores each clip with one conditional write. Whichever process is killed, a clip
is in the store completely or not at all, and a stored clip is not extracted again.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Protocol, TypeVar

from services.extractor.jobs import worker
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.scan_cache import FileHashes
from services.extractor.jobs.stored_clips import StoredClips
from services.extractor.jobs.stored_pieces import StoredPieces, mark_stored_pieces, to_usable
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkersStopped
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.instances import Instance
from services.extractor.sources.own.splits import assign_splits
from services.extractor.sources.pieces import parse_piece_id
from services.extractor.sources.segments import count_frames_to_end, segment_of
from services.extractor.sources.selection import Selection, SelectionCriteria, Usable, Verdicts, select
from services.extractor.sources.wording import count, name_some
from services.extractor.tracking.trackers import TrackingQuality, fingerprint
from services.extractor.video.decode import Segment
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import ClipError, SignetError
from signet.landmarks import ClipRecord
from signet.store import ObjectStore, keys
from signet.terminal.characters import escape_control_characters

_log = logging.getLogger(__name__)

# Threads that read records and files of stored clips. They wait for the store or the disk most of the time.
_READERS = 16
# The frames of a video of nine hours at 30 frames a second.
_MOST_TRIED_FRAMES = 1_000_000

Job = TypeVar("Job")
Result = TypeVar("Result")


class ClipWorkers(Protocol):
    """Where the clips are worked on: processes of this machine (`WorkerPool`), or a cluster."""

    def each(
        self,
        function: Callable[..., Result],
        jobs: Iterable[tuple[Job, tuple[Any, ...]]],
        stopped: Callable[[], bool] = ...,
    ) -> Generator[tuple[Job, Result | ClipError], None, None]:
        """Run `function(*arguments)` for each (job, arguments). See `WorkerPool.each`."""
        ...


@dataclass(kw_only=True, eq=False)
class Extraction:
    """One extraction. `run` executes it in the calling thread; the other methods may be called from any thread.

    Attributes:
        name: name of the corpus in the store: landmarks/v1/<name>/.
        quality: how many frames are tracked, and with what.
        shard: the part of the chosen clips to extract; other machines extract the other parts.
        on_change: called with every new state, in the thread of `run`.

    Raises:
        InvalidInput: the name cannot be part of a key.
    """

    name: str
    corpus: VideoCorpus
    choice: SelectionCriteria
    store: ObjectStore
    workers: ClipWorkers
    metrics: ExtractorMetrics
    quality: TrackingQuality = TrackingQuality.FAST
    shard: Shard = field(default_factory=Shard)
    on_change: Callable[[ExtractionProgress], None] = lambda _: None

    def __post_init__(self) -> None:
        keys.clips(self.name)  # refuses a name that cannot be part of a key
        self.choice = self.choice.complete(self.corpus)
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._progress = ExtractionProgress()
        # Created by `run`, because they read the store and its cache.
        self._stored: StoredClips
        self._pieces: StoredPieces
        self._hashes: FileHashes
        self._readers: ThreadPoolExecutor

    @property
    def progress(self) -> ExtractionProgress:
        """The current progress."""
        if self._progress.ended:
            return self._progress
        return replace(self._progress, elapsed_seconds=time.monotonic() - self._started)

    def cancel(self) -> None:
        """Stop after the current clips. Stored clips are kept, and another extraction resumes."""
        self._stop.set()

    def release_inputs(self) -> None:
        """Free the memory of the metadata, after the end."""
        self.corpus = replace(self.corpus, instances=(), files={}, names=frozenset())
        for name in ("_stored", "_pieces", "_hashes"):
            if hasattr(self, name):
                delattr(self, name)

    def run(self) -> ExtractionProgress:
        """Select, extract and store clips.

        Returns:
            The final progress: SUCCEEDED even if clips were broken, CANCELLED, or FAILED with an error.
        """
        self.metrics.running.inc()
        try:
            self._run()
        except WorkersStopped:
            self._change(state=ExtractionState.CANCELLED)
        except SignetError as error:
            self._change(state=ExtractionState.FAILED, error=escape_control_characters(str(error)))
        except Exception as error:
            _log.exception("extraction of %s failed", self.name)
            self._change(
                state=ExtractionState.FAILED,
                error=escape_control_characters(f"unexpected {type(error).__name__}: {error}; see the log."),
            )
            raise
        finally:
            self._save_scan()
            self.metrics.running.dec()
        return self._progress

    def _run(self) -> None:
        self._stored = StoredClips(self.store, self.name, fingerprint(self.quality))
        self._pieces = StoredPieces(self._stored.clip_ids)
        self._hashes = FileHashes(self.store.cache, self.corpus.folder)
        with ThreadPoolExecutor(_READERS, "scan") as self._readers:
            self._prepare_corpus()
            selection = select(self.corpus, self.choice, self._verify)
        self._save_scan()
        if self._stop.is_set():
            return self._change(state=ExtractionState.CANCELLED)
        mine = replace(
            selection,
            clips=selection.clips[self.shard.index :: self.shard.count],
            broken=selection.broken[self.shard.index :: self.shard.count],
        )
        self._begin(mine)
        jobs = (
            (instance, (self.corpus.path(instance), usable, self._labels(instance), self.quality))
            for instance, usable in mine.clips
            if not usable.stored
        )
        outcomes: Generator[tuple[Instance, Extracted | ClipError], None, None] = self.workers.each(
            worker.extract_file, jobs, self._stop.is_set
        )
        with closing(outcomes):  # if the store is lost, the current clips are abandoned
            for instance, outcome in outcomes:
                if isinstance(outcome, ClipError):
                    self._count_broken(instance, outcome)
                else:
                    self._store_clip(instance, outcome)
        if self._progress.done < self._progress.total:
            return self._change(state=ExtractionState.CANCELLED)
        self._finish()
        return self._change(state=ExtractionState.SUCCEEDED)

    def _prepare_corpus(self) -> None:
        """Assign splits if the source has none, and note stored clips that the source does not have."""
        ids = {instance.clip_id for instance in self.corpus.instances}
        if not self.corpus.has_splits:
            known = (clip_id if clip_id in self._stored else self._pieces.find_any(clip_id) for clip_id in sorted(ids))
            records = self._readers.map(self._stored.check_record, filter(None, known))
            splits = {parse_piece_id(record.clip_id)[0]: record.split for record in records}
            self.corpus = assign_splits(self.corpus, splits, self._hashes.sha256)
        others = self._stored.clip_ids - ids
        if foreign := sorted(clip_id for clip_id in others if parse_piece_id(clip_id)[0] not in ids):
            note = (
                f"corpus {self.name} has {count(foreign, 'stored clip')} that {self.corpus.title} does not have: "
                f"{name_some(foreign)}. A training takes them too. Delete them from {keys.clips(self.name)}, or choose "
                "another --corpus"
            )
            self.corpus = replace(self.corpus, notes=(*self.corpus.notes, note))

    def _save_scan(self) -> None:
        """Keep what the scan read, also if the extraction ends with an error or this process is killed later."""
        if hasattr(self, "_hashes"):
            self._hashes.save()
            self._stored.save_records()

    def _finish(self) -> None:
        # The digest covers what was requested and which files exist. It is the same on every machine of a sharded
        # extraction.
        request = [fingerprint(self.quality), self.choice.canonical_text, *sorted(self.corpus.names)]
        digest = hashlib.sha256("\n".join(request).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        manifest = finish_extraction(self.store, self.name, fingerprint(self.quality), self.shard, digest)
        if manifest is not None:
            _log.info("corpus %s is complete: version %s, %d clips", self.name, manifest.version, len(manifest.clips))

    def _begin(self, selection: Selection) -> None:
        stored = sum(usable.stored for _, usable in selection.clips)
        remarks = [f"{instance.clip_id}: {usable.note}" for instance, usable in selection.clips if usable.note]
        for remark in remarks:
            _log.info("%s", remark)
        self.metrics.count("present", amount=stored)
        self.metrics.count("missing", amount=len(selection.missing))
        self._change(
            state=ExtractionState.RUNNING,
            total=len(selection.clips) + len(selection.broken),
            present=stored,
            missing=len(selection.missing),
            glosses=selection.glosses,
            clips=tuple(instance.clip_id for instance, _ in selection.clips),
            notes=(*self.corpus.notes, *self._note_limit(selection), *remarks),
        )
        for instance, error in selection.broken:
            self._count_broken(instance, error)

    def _note_limit(self, selection: Selection) -> list[str]:
        """A note if not all glosses are taken of a corpus whose glosses are usually all taken."""
        present = {instance.gloss for instance in self.corpus.instances if self.corpus.has(instance)}
        if self.choice.glosses or self.corpus.default_max_glosses or len(selection.glosses) >= len(present):
            return []
        return [f"{len(selection.glosses)} of {len(present)} glosses are taken. --max-glosses 0 takes all"]

    def _store_clip(self, instance: Instance, outcome: Extracted) -> None:
        notes = [f"{instance.clip_id}: {warning}" for warning in outcome.warnings]
        for note in notes:
            _log.info("clip %s", note)
        self._change(notes=(*self._progress.notes, *notes))
        start = time.perf_counter()
        if not self._stored.create(instance.clip_id, outcome.data):
            self.metrics.count("present")
            return self._change(present=self._progress.present + 1)
        seconds = outcome.stage_seconds | {"store": time.perf_counter() - start}
        self.metrics.count_extracted(outcome.tracked_frames, outcome.found, seconds)
        return self._change(extracted=self._progress.extracted + 1, frames=self._progress.frames + outcome.frames)

    def _count_broken(self, instance: Instance, error: ClipError) -> None:
        # The name of a file can have bytes that are no UTF-8. Neither the store nor a message or a log can keep them.
        message = escape_control_characters(str(error))
        _log.info("broken clip %s (%s): %s", instance.clip_id, error.reason, message)
        self.metrics.count("broken", error.reason)
        self._change(
            broken=self._progress.broken + 1,
            failures=(*self._progress.failures, ClipFailure(instance.clip_id, error.reason, message)),
        )

    def _verify(self, instances: Sequence[Instance]) -> Verdicts:
        """Decide for each clip whether it is usable. Stored clips are; all others are decoded."""
        verdicts: dict[Instance, Usable | ClipError] = {}
        unclear: dict[Instance, ClipRecord] = {}
        for instance, record in self._find_all_stored(instances):
            if _is_segment(record, instance):
                verdicts[instance] = to_usable(record)
            else:
                unclear[instance] = record
        cuts = self.corpus.cuts_long_videos
        for instance in instances if cuts else ():
            if (pieces := self._pieces.find_complete(instance, self._find_stored)) is not None:
                verdicts[instance] = pieces
        jobs = (
            (instance, (self.corpus.path(instance), instance, cuts))
            for instance in instances
            if instance not in verdicts
        )
        self._change(verified=self._progress.verified + len(verdicts))
        for instance, verdict in self.workers.each(worker.verify, jobs, self._stop.is_set):
            if isinstance(verdict, Usable) and verdict.pieces:
                verdict = mark_stored_pieces(instance, verdict, self._find_stored, self._stored.conflict)  # noqa: PLW2901
            verdicts[instance] = verdict
            self._change(verified=self._progress.verified + 1)
        if self._stop.is_set():  # the selection will be discarded, so any verdict serves
            return {instance: ClipError("unreadable", "cancelled") for instance in instances}
        for instance, record in unclear.items():
            verdicts[instance] = self._compare(record, verdicts[instance])
        return verdicts

    def _find_all_stored(self, instances: Sequence[Instance]) -> Iterator[tuple[Instance, ClipRecord]]:
        """The instances that are stored, with their records. Threads read what is not known from an earlier scan."""

        def find(part: Sequence[Instance]) -> list[tuple[Instance, ClipRecord]]:
            return [(instance, record) for instance in part if (record := self._find_stored(instance)) is not None]

        parts = [instances[start::_READERS] for start in range(_READERS)]
        return chain.from_iterable(self._readers.map(find, parts))

    def _find_stored(self, instance: Instance) -> ClipRecord | None:
        """The record of the stored clip, which was made from the same video. Its frames are not compared.

        Raises:
            AlreadyExists: the store has another clip under this key.
        """
        clip_id = instance.clip_id
        if clip_id not in self._stored or self._stop.is_set():
            return None
        try:
            sha256 = self._hashes.sha256(self.corpus.path(instance))
        except ClipError:
            return None  # the worker reports it
        record = self._stored.check_record(clip_id, gloss=instance.gloss, split=instance.split, signer=instance.signer)
        if record.source_sha256 != sha256:
            raise self._stored.conflict(
                clip_id, f"made from another video (sha256 {record.source_sha256[:12]}…, not {sha256[:12]}…)"
            )
        return record

    def _compare(self, record: ClipRecord, verdict: Usable | ClipError) -> Usable | ClipError:
        """The verdict on a stored clip, from the verdict on its video.

        Raises:
            AlreadyExists: the clip was made of other frames of its video.
        """
        made = f"made of frames {record.frame_start} to {record.frame_end}"
        if isinstance(verdict, ClipError):
            if verdict.reason == "outside":
                raise self._stored.conflict(record.clip_id, f"{made}. {verdict}")
            return verdict
        if verdict.segment == to_usable(record).segment:
            return to_usable(record)
        wanted = f"frames {verdict.segment.start} to {verdict.segment.end}"
        raise self._stored.conflict(record.clip_id, f"{made}, but the sign is in {wanted}")

    def _labels(self, instance: Instance) -> Labels:
        return Labels(instance.clip_id, self.name, instance.gloss, instance.split, instance.signer)

    def _change(self, **what: object) -> None:
        elapsed = time.monotonic() - self._started
        self._progress = replace(self._progress, elapsed_seconds=elapsed, **what)  # type: ignore[arg-type]
        self.metrics.selected.set(self._progress.total)
        self.metrics.done.set(self._progress.done)
        self.on_change(self._progress)


def _is_segment(record: ClipRecord, instance: Instance) -> bool:
    """Whether a stored clip has the frames that `segment_of` chooses, if the frame rate of the video is constant.

    The record does not tell the length of the video. Two lengths are tried: it ends with the stored frames, or just
    after the segment. Of a video with more frames than `_MOST_TRIED_FRAMES`, no segment is tried.
    """
    if instance.is_whole:
        return record.frame_start == 1
    stored = Segment(record.frame_start, record.frame_end)
    longest = count_frames_to_end(instance, record.fps) + 1
    for frames in (stored.end, longest):
        try:
            if not 0 < frames <= _MOST_TRIED_FRAMES:
                continue
            if segment_of(instance, [frame / record.fps for frame in range(frames)])[0] == stored:
                return True
        except ClipError:
            continue
    return False
