"""Stores the clips of a source of landmarks that others made.

Stored clips are not written again, so the same command resumes an interrupted import. An unusable clip is named and
does not stop the others.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

from pydantic import ValidationError

from services.extractor.importing.source import LandmarkClip, LandmarkSource
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.jobs.stored_clips import StoredClips
from services.extractor.quality.measurement import add_quality
from services.extractor.sources.failure import ClipFailure
from services.extractor.tracking.tracks import mask_absent_parts
from signet.datasets.corpus import Shard, finish_extraction
from signet.errors import ClipError, InvalidLandmarks
from signet.field_types import describe_first_fault
from signet.landmarks import ClipRecord, Landmarks, dump
from signet.store import ObjectStore

# Threads that read and store clips. They wait for a disk or a network most of the time.
_WRITERS = 8
# Clips between two checks of `stopped`.
_BATCH = 64


def run_import(
    source: LandmarkSource,
    store: ObjectStore,
    corpus: str,
    *,
    on_change: Callable[[ExtractionProgress], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> ExtractionProgress:
    """Store the clips of a source, and then the manifest of the corpus.

    `stopped` is checked between batches; True ends the import after the current batch.

    Returns:
        The final progress: SUCCEEDED even if clips were broken, or CANCELLED.

    Raises:
        AlreadyExists: the corpus holds a clip that is not what this import would store.
        SignetError: the store cannot be used.
    """
    started = time.monotonic()
    importer = _Importer(source, store, corpus)
    progress = ExtractionProgress(
        state=ExtractionState.RUNNING,
        total=len(source.clips) + len(source.failures),
        broken=len(source.failures),
        failures=source.failures,
        glosses=tuple(sorted({clip.gloss for clip in source.clips})),
        clips=tuple(clip.clip_id for clip in source.clips),
        notes=source.notes,
    )
    on_change(progress)
    pending = iter(source.clips)
    with ThreadPoolExecutor(_WRITERS) as writers:
        while not stopped() and (batch := list(islice(pending, _BATCH))):
            outcomes = list(writers.map(importer.import_clip, batch))
            progress = progress.after_batch(outcomes, time.monotonic() - started)
            on_change(progress)
    importer.save_records()
    if progress.done < progress.total:
        progress = replace(progress, state=ExtractionState.CANCELLED)
    else:
        if progress.extracted or progress.present:
            finish_extraction(store, corpus, source.fingerprint, Shard(), source.sha256[:16])
        progress = replace(progress, state=ExtractionState.SUCCEEDED, elapsed_seconds=time.monotonic() - started)
    on_change(progress)
    return progress


class _Importer:
    """Stores one clip at a time. It can be called from any thread."""

    def __init__(self, source: LandmarkSource, store: ObjectStore, corpus: str) -> None:
        self._corpus = corpus
        self._fingerprint = source.fingerprint
        self._with_quality = source.with_quality
        self._stored = StoredClips(store, corpus, self._fingerprint)

    def import_clip(self, clip: LandmarkClip) -> int | ClipFailure:
        """Store a clip. Returns the number of stored frames, 0 if it was stored before, or why it is unusable."""
        if clip.clip_id in self._stored:
            # The fingerprint stands for the landmarks; the metadata are not part of it.
            self._stored.check_record(
                clip.clip_id,
                gloss=clip.gloss, split=clip.split, signer=clip.signer,
                fps=clip.fps, width=clip.width, height=clip.height,
            )  # fmt: skip
            return 0
        try:
            landmarks = self._read(clip)
            data = dump(landmarks)
        except ClipError as error:
            return ClipFailure(clip.clip_id, error.reason, str(error))
        except InvalidLandmarks as error:
            return ClipFailure(clip.clip_id, "landmarks", str(error))
        except ValidationError as error:
            message = f"{clip.clip_id}: its facts cannot be stored: {describe_first_fault(error)}."
            return ClipFailure(clip.clip_id, "record", message)
        return landmarks.frames if self._stored.create(clip.clip_id, data) else 0

    def save_records(self) -> None:
        """Save the records of the clips on this machine, so that a repeated import does not read them again."""
        self._stored.save_records()

    def _read(self, clip: LandmarkClip) -> Landmarks:
        """The clip as it is stored."""
        content = clip.read()
        landmarks, presence, visibility = mask_absent_parts(content.joints, content.visibility)
        record = ClipRecord(
            clip_id=clip.clip_id,
            corpus=self._corpus,
            gloss=clip.gloss,
            split=clip.split,
            signer=clip.signer,
            fps=clip.fps,
            width=clip.width,
            height=clip.height,
            source_sha256=content.source_sha256,
            frame_end=len(content.timestamps),
            extractor=self._fingerprint,
            warnings=content.warnings,
        )
        stored = Landmarks(
            landmarks=landmarks,
            presence=presence,
            visibility=visibility,
            timestamps=content.timestamps,
            record=record,
        )
        return add_quality(stored) if self._with_quality else stored
