"""An import: from a landmark archive made by others to landmark tensors in the store.

What is stored is not written again, so an interrupted import is resumed by the same command. A clip that cannot be used
is named and never stops the rest.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from services.extractor.jobs.progress import Failure, Progress, State
from services.extractor.sources.archive import Archive, Row
from services.extractor.sources.sources import frame_rate, picture
from services.extractor.sources.wlasl import Instance
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import AlreadyExists, ClipError, DataLoss, InvalidLandmarks
from signet.landmarks import HEADER_BYTES, PARTS, ClipRecord, Landmarks, dump, read_record
from signet.store import ObjectStore, keys

# How archives become tensors. Raise it when that changes.
_CONVERSION = "signet-import-1"

# Storing a clip is waiting for a disk or a network, not computing.
_WRITERS = 8
# Clips between two looks at whether to stop.
_BATCH = 64


def fingerprint(archive: Archive) -> str:
    """What every clip's record says of where it is from. Landmarks of two fingerprints are never mixed."""
    return f"import/{archive.kind}/{archive.sha256[:12]}/{_CONVERSION}"


def default_corpus(archive: Archive) -> str:
    """What its clips are called in the store if nobody says otherwise."""
    return f"wlasl-{archive.kind}"


def run_import(
    archive: Archive,
    instances: Sequence[Instance],
    store: ObjectStore,
    corpus: str,
    *,
    first_glosses: int = 0,
    on_change: Callable[[Progress], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Progress:
    """Store an archive's clips, and then the corpus's manifest.

    Args:
        archive: what to import.
        instances: what is known of its clips besides their landmarks.
        store: where they go.
        corpus: under which name.
        first_glosses: only clips of so many glosses, in the order of the metadata; 0 takes all. WLASL's published
            subsets are those of its first 100, 300, 1,000 and 2,000.
        on_change: told how far it is.
        stopped: asked now and then; True ends it after the clips under way.

    Returns:
        The final state: SUCCEEDED even if clips were broken, or CANCELLED.

    Raises:
        AlreadyExists: the corpus holds a clip that is not what this import would store.
        SignetError: the store cannot be used.
    """
    begun = time.monotonic()
    known = {instance.video_id: instance for instance in instances}
    importer = _Importer(archive, store, corpus)
    order = dict.fromkeys(instance.gloss for instance in instances)
    wanted = set(islice(order, first_glosses or None))
    rows = [row for row in archive.rows if row.clip_id in known and known[row.clip_id].gloss in wanted]
    strangers = tuple(
        Failure(row.clip_id, "unknown", f"{row.clip_id}: is not in the metadata, so nobody knows its gloss.")
        for row in archive.rows
        if row.clip_id not in known
    )
    failures = archive.faults + strangers
    progress = Progress(
        state=State.RUNNING,
        total=len(rows) + len(failures),
        broken=len(failures),
        failures=failures,
        glosses=tuple(sorted({known[row.clip_id].gloss for row in rows})),
        clips=tuple(row.clip_id for row in rows),
    )
    on_change(progress)
    pending = iter(rows)
    with ThreadPoolExecutor(_WRITERS) as writers:
        while not stopped() and (batch := list(islice(pending, _BATCH))):
            outcomes = list(writers.map(lambda row: importer.bring(row, known[row.clip_id]), batch))
            broken = tuple(outcome for outcome in outcomes if isinstance(outcome, Failure))
            frames = [outcome for outcome in outcomes if isinstance(outcome, int)]
            progress = replace(
                progress,
                extracted=progress.extracted + sum(1 for count in frames if count),
                present=progress.present + sum(1 for count in frames if not count),
                broken=progress.broken + len(broken),
                failures=progress.failures + broken,
                frames=progress.frames + sum(frames),
                elapsed_seconds=time.monotonic() - begun,
            )
            on_change(progress)
    if progress.done < progress.total:
        progress = replace(progress, state=State.CANCELLED)
    else:
        if progress.extracted or progress.present:
            finish_extraction(store, corpus, fingerprint(archive), Shard(), archive.sha256[:16])
        progress = replace(progress, state=State.SUCCEEDED, elapsed_seconds=time.monotonic() - begun)
    on_change(progress)
    return progress


class _Importer:
    """Brings one clip at a time into the store, from any thread."""

    def __init__(self, archive: Archive, store: ObjectStore, corpus: str) -> None:
        self._archive = archive
        self._store = store
        self._corpus = corpus
        self._extractor = fingerprint(archive)
        self._stored = {info.key for info in store.list(keys.clips(corpus))}
        # One clip speaks for all: whoever adds to a corpus looks first. So nothing is added to what others made.
        for key in sorted(self._stored)[:1]:
            self._check(key, self._record(key), {"extractor": self._extractor})

    def bring(self, row: Row, instance: Instance) -> int | Failure:
        """Store a clip: how many frames were stored, 0 if it was there already; or why it cannot be used."""
        key = keys.clip(self._corpus, row.clip_id)
        try:
            record = self._describe(row, instance)
            if key in self._stored:
                self._check(key, self._record(key), record.model_dump())
                return 0
            data = dump(self._convert(row, instance, record))
        except ClipError as error:
            return Failure(row.clip_id, error.reason, str(error))
        try:
            self._store.create(key, data)
        except AlreadyExists:
            if self._store.get(key) != data:
                raise self._taken(key, "made differently by somebody else just now") from None
            return 0
        return row.frames

    def _describe(self, row: Row, instance: Instance) -> ClipRecord:
        shown = picture(instance.source, instance.box)
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

    def _convert(self, row: Row, instance: Instance, record: ClipRecord) -> Landmarks:
        midline = picture(instance.source, instance.box).midline
        joints, visibility = self._archive.joints(row, record.width / record.height, midline)
        landmarks = joints.astype(np.float16)
        presence = np.stack([np.isfinite(landmarks[:, where]).all(axis=(1, 2)) for where in PARTS.values()], axis=1)
        for index, where in enumerate(PARTS.values()):
            landmarks[~presence[:, index], where] = np.nan
        return Landmarks(
            landmarks=landmarks,
            presence=presence.astype(np.uint8),
            visibility=np.where(presence[:, :1], visibility, np.nan).astype(np.float16),
            timestamps=(np.arange(row.frames) / record.fps).astype(np.float32),
            record=record,
        )

    def _record(self, key: str) -> ClipRecord:
        try:
            return read_record(self._store.get_head(key, HEADER_BYTES), key)
        except InvalidLandmarks as error:
            raise DataLoss(f"{self._store.url}/{key}: damaged. Delete it and import again. ({error})") from error

    def _check(self, key: str, stored: ClipRecord, wanted: Mapping[str, object]) -> None:
        for field, value in wanted.items():
            if (found := getattr(stored, field)) != value:
                raise self._taken(key, f"with {field} {found!r}, not {value!r}")

    def _taken(self, key: str, what: str) -> AlreadyExists:
        return AlreadyExists(
            f"{self._store.url}/{key}: is there already, {what}. Landmarks of different origin are never mixed: choose "
            f"another --corpus than {self._corpus!r}, or delete {keys.clips(self._corpus)} first."
        )
