"""Imports an archive of landmarks that others made into landmark tensors in the store.

Stored clips are not written again, so the same command resumes an interrupted import. An unusable clip is named and
does not stop the others.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_clips import StoredClips
from services.extractor.sources.archive import Archive, ArchiveRow
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.metadata import Instance, Metadata
from services.extractor.sources.video_formats import frame_rate, video_format
from services.extractor.tracking.holistic import mask_absent_parts
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import ClipError
from signet.landmarks import ClipRecord, Landmarks, dump
from signet.store import ObjectStore
from signet.text_files import KnownIds

# Version of the conversion from archive to tensor. Raise it when the conversion changes.
_CONVERSION = "signet-import-1"

# Threads that store clips. They wait for a disk or a network most of the time.
_WRITERS = 8
# Clips between two checks of `stopped`.
_BATCH = 64


def fingerprint(archive: Archive) -> str:
    """The extractor version that is stored in each clip's record. A corpus never mixes two fingerprints."""
    return f"import/{archive.kind}/{archive.sha256[:12]}/{_CONVERSION}"


def run_import(
    archive: Archive,
    metadata: Metadata,
    store: ObjectStore,
    corpus: str,
    *,
    first_glosses: int = 0,
    on_change: Callable[[ExtractionProgress], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> ExtractionProgress:
    """Store the clips of an archive, and then the manifest of the corpus.

    `first_glosses` limits the import to clips of the first so many glosses of the metadata; 0 takes all. WLASL's
    published subsets are its first 100, 300, 1,000 and 2,000 glosses. `stopped` is checked between batches; True ends
    the import after the current batch.

    Returns:
        The final progress: SUCCEEDED even if clips were broken, or CANCELLED.

    Raises:
        AlreadyExists: the corpus holds a clip that is not what this import would store.
        SignetError: the store cannot be used.
    """
    started = time.monotonic()
    importer = _Importer(archive, store, corpus)
    rows, progress = _plan(archive, metadata, first_glosses)
    on_change(progress)
    pending = iter(rows)
    with ThreadPoolExecutor(_WRITERS) as writers:
        while not stopped() and (batch := list(islice(pending, _BATCH))):
            outcomes = list(writers.map(lambda pair: importer.import_clip(*pair), batch))
            progress = replace(_advance(progress, outcomes), elapsed_seconds=time.monotonic() - started)
            on_change(progress)
    if progress.done < progress.total:
        progress = replace(progress, state=ExtractionState.CANCELLED)
    else:
        if progress.extracted or progress.present:
            finish_extraction(store, corpus, fingerprint(archive), Shard(), archive.sha256[:16])
        progress = replace(progress, state=ExtractionState.SUCCEEDED, elapsed_seconds=time.monotonic() - started)
    on_change(progress)
    return progress


def _plan(
    archive: Archive, metadata: Metadata, first_glosses: int
) -> tuple[list[tuple[ArchiveRow, Instance]], ExtractionProgress]:
    """The rows to import with their instances, and the progress before the first of them."""
    glosses = dict.fromkeys(instance.gloss for instance in metadata.instances)
    chosen = set(islice(glosses, first_glosses or None))
    pairs, unknown, notes = _find_instances(archive.rows, metadata.instances)
    pairs = [(row, instance) for row, instance in pairs if instance.gloss in chosen]
    failures = archive.faults + tuple(unknown)
    return pairs, ExtractionProgress(
        state=ExtractionState.RUNNING,
        total=len(pairs) + len(failures),
        broken=len(failures),
        failures=failures,
        glosses=tuple(sorted({instance.gloss for _, instance in pairs})),
        clips=tuple(row.clip_id for row, _ in pairs),
        notes=(*metadata.notes, *notes),
    )


def _find_instances(
    rows: Sequence[ArchiveRow], instances: Sequence[Instance]
) -> tuple[list[tuple[ArchiveRow, Instance]], list[ClipFailure], list[str]]:
    """The rows with their instances, the failures of rows without an instance, and notes for people.

    A spreadsheet may have removed the leading zeros of an id, in the index or in the metadata. The clip is stored under
    the id that has them.
    """
    known = {instance.video_id: instance for instance in instances}
    ids = KnownIds(known)
    exact = {row.clip_id for row in rows}
    found: dict[str, tuple[ArchiveRow, Instance]] = {}
    failures, restored = [], []
    for row in rows:
        known_id = ids.find(row.clip_id)
        if known_id is None or (known_id != row.clip_id and known_id in exact):
            failures.append(
                ClipFailure(row.clip_id, "unknown", f"{row.clip_id}: is not in the metadata, so its gloss is unknown.")
            )
            continue
        clip_id = max(row.clip_id, known_id, key=len) if row.clip_id.isdigit() else known_id
        if clip_id in found:
            failures.append(
                ClipFailure(row.clip_id, "index", f"{row.clip_id}: the index also lists this clip as {clip_id}.")
            )
            continue
        if known_id != row.clip_id:
            restored.append(f"{min(row.clip_id, known_id, key=len)} is {clip_id}")
        found[clip_id] = replace(row, clip_id=clip_id), known[known_id]
    notes = (
        [f"leading zeros of {len(restored)} ids were lost and are restored, for example {restored[0]}"]
        if restored
        else []
    )
    return list(found.values()), failures, notes


def _advance(progress: ExtractionProgress, outcomes: Sequence[int | ClipFailure]) -> ExtractionProgress:
    """The progress after a batch with these outcomes of `_Importer.import_clip`."""
    failures = tuple(outcome for outcome in outcomes if isinstance(outcome, ClipFailure))
    frames = [outcome for outcome in outcomes if isinstance(outcome, int)]
    return replace(
        progress,
        extracted=progress.extracted + sum(1 for count in frames if count),
        present=progress.present + sum(1 for count in frames if not count),
        broken=progress.broken + len(failures),
        failures=progress.failures + failures,
        frames=progress.frames + sum(frames),
    )


class _Importer:
    """Stores one clip at a time. It can be called from any thread."""

    def __init__(self, archive: Archive, store: ObjectStore, corpus: str) -> None:
        self._archive = archive
        self._corpus = corpus
        self._extractor = fingerprint(archive)
        self._stored = StoredClips(store, corpus, self._extractor)

    def import_clip(self, row: ArchiveRow, instance: Instance) -> int | ClipFailure:
        """Store a clip. Returns the number of stored frames, 0 if it was stored before, or why it is unusable."""
        try:
            record = self._describe(row, instance)
            if row.clip_id in self._stored:
                self._stored.check_record(row.clip_id, **record.model_dump())
                return 0
            data = dump(self._convert(row, instance, record))
        except ClipError as error:
            return ClipFailure(row.clip_id, error.reason, str(error))
        return row.frames if self._stored.create(row.clip_id, data) else 0

    def _describe(self, row: ArchiveRow, instance: Instance) -> ClipRecord:
        shown = video_format(instance.source, instance.box)
        sized = row.width and row.height
        return ClipRecord(
            clip_id=row.clip_id,
            corpus=self._corpus,
            gloss=instance.gloss,
            split=instance.split,
            signer=instance.signer,
            fps=row.fps or frame_rate(instance.source, instance.signer),
            width=row.width if sized else shown.width,
            height=row.height if sized else shown.height,
            source_sha256=self._archive.source_sha256(row),
            frame_end=row.frames,
            extractor=self._extractor,
        )

    def _convert(self, row: ArchiveRow, instance: Instance, record: ClipRecord) -> Landmarks:
        midline = video_format(instance.source, instance.box).midline
        joints, visibility = self._archive.joints(row, record.width / record.height, midline)
        landmarks, presence, visible = mask_absent_parts(joints, visibility)
        return Landmarks(
            landmarks=landmarks,
            presence=presence,
            visibility=visible,
            timestamps=(np.arange(row.frames) / record.fps).astype(np.float32),
            record=record,
        )
