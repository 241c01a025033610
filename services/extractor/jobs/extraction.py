"""An extraction: from a corpus of clips to landmark tensors in the store. It can be interrupted anywhere and resumed.

Workers give bytes back and this process stores them, each with one conditional write. So whatever is killed when, a
clip is in the store whole or not at all, and what is there is not done again.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from services.extractor.jobs import worker
from services.extractor.jobs.progress import Failure, Progress, State
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import Workers, WorkersStopped
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import Choice, Selection, Usable, Verdicts, select
from services.extractor.sources.wlasl import TO_THE_END, Instance, Wlasl
from services.extractor.tracking.holistic import fingerprint
from services.extractor.video.decode import Segment, read_file
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import AlreadyExists, ClipError, DataLoss, InvalidLandmarks, SignetError, Unavailable
from signet.landmarks import HEADER_BYTES, ClipRecord, read_record
from signet.store import ObjectStore, keys

_log = logging.getLogger(__name__)

# A conditional write is not retried by the store, since a lost answer would look like somebody else's object. Here that
# object would be this very clip, so it may be. A store that restarts is back within these seconds.
_STORE_PAUSES = (0.5, 1.0, 2.0, 4.0)


class Extraction:
    """One extraction. `run` does it, in whatever thread calls; the rest may be called from any other.

    Args:
        name: the corpus's, in the store: landmarks/v1/<name>/.
        corpus: metadata and clips.
        choice: what to take of it.
        store: where landmarks go.
        workers: who does it.
        metrics: where it is counted.
        shard: which part of the chosen clips to do; the others are done elsewhere.
        on_change: called with every new state, in the thread of `run`.

    Raises:
        InvalidInput: the name cannot be part of a key.
    """

    def __init__(
        self,
        *,
        name: str,
        corpus: Wlasl,
        choice: Choice,
        store: ObjectStore,
        workers: Workers,
        metrics: ExtractorMetrics,
        shard: Shard = Shard(),  # noqa: B008  (frozen)
        on_change: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        keys.clips(name)
        self.name = name
        self._corpus = corpus
        self._choice = choice
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._shard = shard
        self._on_change = on_change
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._progress = Progress()
        self._keys: set[str] = set()

    @property
    def progress(self) -> Progress:
        """The present state."""
        if self._progress.ended:
            return self._progress
        return replace(self._progress, elapsed_seconds=time.monotonic() - self._started)

    def cancel(self) -> None:
        """Stop after the clips now under way. What is in the store stays; another extraction resumes."""
        self._stop.set()

    def run(self) -> Progress:
        """Select, extract and store.

        Returns:
            The final state: SUCCEEDED even if clips were broken, CANCELLED, or FAILED with its error.
        """
        self._metrics.running.inc()
        try:
            self._run()
        except WorkersStopped:
            self._change(state=State.CANCELLED)
        except SignetError as error:
            self._change(state=State.FAILED, error=str(error))
        except Exception as error:
            _log.exception("extraction of %s failed", self.name)
            self._change(state=State.FAILED, error=f"unexpected {type(error).__name__}: {error}; see the log.")
            raise
        finally:
            self._metrics.running.dec()
        return self._progress

    def _run(self) -> None:
        self._look_at_store()
        selection = select(self._corpus, self._choice, self._verify)
        if self._stop.is_set():
            return self._change(state=State.CANCELLED)
        mine = replace(
            selection,
            clips=selection.clips[self._shard.index :: self._shard.count],
            broken=selection.broken[self._shard.index :: self._shard.count],
        )
        self._begin(mine)
        wanted = [(instance, usable) for instance, usable in mine.clips if not usable.stored]
        jobs = (
            (instance, (self._corpus.path(instance), usable, self._labels(instance))) for instance, usable in wanted
        )
        outcomes: Generator[tuple[Instance, Extracted | ClipError], None, None] = self._workers.each(
            worker.extract_file, jobs, self._stop.is_set
        )
        with closing(outcomes):  # a lost store ends it; what the workers are at is then of no use
            for instance, outcome in outcomes:
                if isinstance(outcome, ClipError):
                    self._break(instance, outcome)
                else:
                    self._keep(instance, outcome)
        if self._progress.done < self._progress.total:
            return self._change(state=State.CANCELLED)
        self._finish()
        return self._change(state=State.SUCCEEDED)

    def _finish(self) -> None:
        # Of what was asked for and was there, which is the same on every machine, whatever became of it on one.
        asked = [fingerprint(), repr(self._choice), *sorted(self._corpus.files)]
        digest = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:16]
        manifest = finish_extraction(self._store, self.name, fingerprint(), self._shard, digest)
        if manifest is not None:
            _log.info("corpus %s is complete: version %s, %d clips", self.name, manifest.version, len(manifest.clips))

    def _begin(self, selection: Selection) -> None:
        stored = sum(usable.stored for _, usable in selection.clips)
        self._metrics.count("present", amount=stored)
        self._metrics.count("missing", amount=len(selection.missing))
        self._change(
            state=State.RUNNING,
            total=len(selection.clips) + len(selection.broken),
            present=stored,
            missing=len(selection.missing),
            glosses=selection.glosses,
            clips=tuple(instance.video_id for instance, _ in selection.clips),
            notes=tuple(f"{instance.video_id}: {usable.note}" for instance, usable in selection.clips if usable.note),
        )
        for instance, error in selection.broken:
            self._break(instance, error)

    def _keep(self, instance: Instance, outcome: Extracted) -> None:
        start = time.perf_counter()
        key = keys.clip(self.name, instance.video_id)
        if not self._create(key, outcome.data):
            self._metrics.count("present")
            return self._change(present=self._progress.present + 1)
        for stage, seconds in (
            ("decode", outcome.decode_seconds),
            ("landmarks", outcome.landmark_seconds),
            ("store", time.perf_counter() - start),
        ):
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        self._metrics.count("extracted")
        self._metrics.extracted(outcome.frames, outcome.found)
        return self._change(extracted=self._progress.extracted + 1, frames=self._progress.frames + outcome.frames)

    def _create(self, key: str, data: bytes) -> bool:
        """Store a clip; False if another extraction did so meanwhile."""
        for pause in (*_STORE_PAUSES, None):
            try:
                self._store.create(key, data)
            except AlreadyExists:
                if self._store.get(key) != data:
                    raise self._taken(key, "made differently by somebody else just now") from None
                return False
            except Unavailable as error:
                if pause is None:
                    raise
                _log.warning("%s Trying again in %g s.", error, pause)
                time.sleep(pause)
            else:
                return True
        raise AssertionError  # the last pause is None

    def _break(self, instance: Instance, error: ClipError) -> None:
        _log.info("broken clip %s (%s): %s", instance.video_id, error.reason, error)
        self._metrics.count("broken", error.reason)
        self._change(
            broken=self._progress.broken + 1,
            failures=(*self._progress.failures, Failure(instance.video_id, error.reason, str(error))),
        )

    def _verify(self, instances: Sequence[Instance]) -> Verdicts:
        """Say of each clip whether it is usable: one that is stored is, the others are decoded."""
        verdicts: dict[Instance, Usable | ClipError] = {}
        for instance in instances:
            if not self._stop.is_set() and (stored := self._stored(instance)) is not None:
                verdicts[instance] = stored
        jobs = (
            (instance, (self._corpus.path(instance), instance)) for instance in instances if instance not in verdicts
        )
        verdicts.update(self._workers.each(worker.verify, jobs, self._stop.is_set))
        if self._stop.is_set():  # the selection will be thrown away: let it end
            return {instance: ClipError("unreadable", "cancelled") for instance in instances}
        self._change(verified=self._progress.verified + len(instances))
        return verdicts

    def _look_at_store(self) -> None:
        """Note what the corpus has already, and refuse to add to what another extractor made.

        Every extraction does so before it writes, so one clip speaks for all.
        """
        self._keys = {info.key for info in self._store.list(keys.clips(self.name))}
        for key in sorted(self._keys)[:1]:
            self._check_extractor(key, self._record(key))

    def _check_extractor(self, key: str, record: ClipRecord) -> None:
        if record.extractor != fingerprint():
            raise self._taken(key, f"made by {record.extractor or 'another extractor'}, not by {fingerprint()}")

    def _stored(self, instance: Instance) -> Usable | None:
        """What the store has of this clip, if that is what extracting it would give.

        Raises:
            AlreadyExists: the store has something else under its key.
        """
        key = keys.clip(self.name, instance.video_id)
        if key not in self._keys:
            return None
        try:
            source = read_file(self._corpus.path(instance))
        except ClipError:
            return None  # the worker will say so
        sha256 = hashlib.sha256(source).hexdigest()
        record = self._record(key)
        self._check_extractor(key, record)
        if record.source_sha256 != sha256:
            raise self._taken(key, f"made from another video (sha256 {record.source_sha256[:12]}…, not {sha256[:12]}…)")
        if (record.gloss, record.split, record.signer) != (instance.gloss, instance.split, instance.signer):
            raise self._taken(key, "made with another gloss, split or signer")
        if not _is_segment(record, instance):
            raise self._taken(key, f"made of frames {record.frame_start} to {record.frame_end}")
        return Usable(sha256, Segment(record.frame_start, record.frame_end), stored=True)

    def _record(self, key: str) -> ClipRecord:
        try:
            return read_record(self._store.get_head(key, HEADER_BYTES), key)
        except InvalidLandmarks as error:
            raise DataLoss(f"{self._store.url}/{key}: damaged. Delete it and extract again. ({error})") from error

    def _taken(self, key: str, what: str) -> AlreadyExists:
        return AlreadyExists(
            f"{self._store.url}/{key}: is there already, {what}. Landmarks of different origin are never mixed: choose "
            f"another --corpus than {self.name!r}, or delete {keys.clips(self.name)} first."
        )

    def _labels(self, instance: Instance) -> Labels:
        return Labels(instance.video_id, self.name, instance.gloss, instance.split, instance.signer)

    def _change(self, **what: object) -> None:
        elapsed = time.monotonic() - self._started
        self._progress = replace(self._progress, elapsed_seconds=elapsed, **what)  # type: ignore[arg-type]
        self._metrics.selected.set(self._progress.total)
        self._metrics.done.set(self._progress.done)
        self._on_change(self._progress)


def _is_segment(record: ClipRecord, instance: Instance) -> bool:
    """Whether a stored clip has the frames that `segment_of` would choose of the same video."""
    start, end = max(1, instance.frame_start), instance.frame_end
    if record.frame_start == start and end in {TO_THE_END, record.frame_end}:
        return True
    return record.frame_start == 1 and record.frame_end < max(start, end)  # trimmed already
