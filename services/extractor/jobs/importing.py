"""Imports an archive of landmarks that others made into landmark tensors in the store.

Stored clips are not written again, so the same command resumes an interrupted import. An unusable clip is named and
does not stop the others.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_clips import StoredClips
from services.extractor.sources.archive import Archive, ArchiveRow
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.video_formats import frame_rate, video_format
from services.extractor.sources.wlasl import Instance
from services.extractor.tracking.holistic import mask_absent_parts
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import ClipError
from signet.landmarks import ClipRecord, Landmarks, dump
from signet.store import ObjectStore

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
    instances: Sequence[Instance],
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
    known = {instance.video_id: instance for instance in instances}
    importer = _Importer(archive, store, corpus)
    rows, progress = _plan(archive, known, first_glosses)
    on_change(progress)
    pending = iter(rows)
    with ThreadPoolExecutor(_WRITERS) as writers:
        while not stopped() and (batch := list(islice(pending, _BATCH))):
            outcomes = list(writers.map(lambda row: importer.import_clip(row, known[row.clip_id]), batch))
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
    archive: Archive, known: Mapping[str, Instance], first_glosses: int
) -> tuple[list[ArchiveRow], ExtractionProgress]:
    """The rows to import, and the progress before the first of them."""
    glosses = dict.fromkeys(instance.gloss for instance in known.values())
    chosen = set(islice(glosses, first_glosses or None))
    rows = [row for row in archive.rows if row.clip_id in known and known[row.clip_id].gloss in chosen]
    unknown = tuple(
        ClipFailure(row.clip_id, "unknown", f"{row.clip_id}: is not in the metadata, so its gloss is unknown.")
        for row in archive.rows
        if row.clip_id not in known
    )
    failures = archive.faults + unknown
    return rows, ExtractionProgress(
        state=ExtractionState.RUNNING,
        total=len(rows) + len(failures),
        broken=len(failures),
        failures=failures,
        glosses=tuple(sorted({known[row.clip_id].gloss for row in rows})),
        clips=tuple(row.clip_id for row in rows),
    )


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
