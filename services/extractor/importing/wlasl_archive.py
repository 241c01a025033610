"""Joins an archive of landmarks with WLASL's metadata, which names the gloss, split and signer of each clip."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from services.extractor.importing.archive import FRAMES, Archive, ArchiveRow, read_archive
from services.extractor.importing.source import ClipLandmarks, ImportOptions, LandmarkClip, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.instances import Instance, InstanceList
from services.extractor.sources.video_formats import frame_rate, video_format
from services.extractor.sources.wlasl import read_metadata
from signet.text_files import KnownIds


def open_wlasl_archive(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open an archive and WLASL's metadata.

    Raises:
        NotFound: the archive or the metadata does not exist.
        InvalidInput: one of them cannot be used.
    """
    metadata = read_metadata(options.wlasl)
    return join_metadata(read_archive(path), metadata, options.first_glosses)


def join_metadata(archive: Archive, metadata: InstanceList, first_glosses: int = 0) -> LandmarkSource:
    """The clips of an archive that the metadata lists.

    `first_glosses` limits them to the first so many glosses of the metadata; 0 takes all. WLASL's published subsets
    are its first 100, 300, 1,000 and 2,000 glosses.
    """
    glosses = dict.fromkeys(instance.gloss for instance in metadata.instances)
    chosen = set(islice(glosses, first_glosses or None))
    pairs, unknown, notes = _find_instances(archive.rows, metadata.instances)
    return LandmarkSource(
        kind=archive.kind,
        sha256=archive.sha256,
        clips=tuple(_clip(archive, row, instance) for row, instance in pairs if instance.gloss in chosen),
        corpus=f"wlasl-{archive.kind}",
        failures=archive.faults + tuple(unknown),
        notes=(*metadata.notes, *notes),
    )


def _clip(archive: Archive, row: ArchiveRow, instance: Instance) -> LandmarkClip:
    estimate = video_format(instance.source, instance.box)
    has_size = row.width and row.height
    width, height = (row.width, row.height) if has_size else (estimate.width, estimate.height)
    fps = row.fps or frame_rate(instance.source, instance.signer)

    def read() -> ClipLandmarks:
        joints, visibility = archive.joints(row, width / height, estimate.midline)
        timestamps = (np.arange(row.frames) / fps).astype(np.float32)
        return ClipLandmarks(joints, visibility, timestamps, archive.source_sha256(row))

    return LandmarkClip(
        clip_id=row.clip_id,
        gloss=instance.gloss,
        split=instance.split,
        signer=instance.signer,
        fps=fps,
        width=width,
        height=height,
        read=read,
    )


def _find_instances(
    rows: Sequence[ArchiveRow], instances: Sequence[Instance]
) -> tuple[list[tuple[ArchiveRow, Instance]], list[ClipFailure], list[str]]:
    """The rows with their instances, the failures of rows without an instance, and notes for people.

    A spreadsheet may have removed the leading zeros of an id, in the index or in the metadata. The clip is stored under
    the id that has them.
    """
    known = {instance.clip_id: instance for instance in instances}
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


def _matches(survey: PathSurvey) -> bool:
    """Whether the path is a folder with the arrays of an archive. `read_archive` names a missing index."""
    return survey.root.is_dir() and Path(FRAMES) in survey.files


KIND = Kind(
    name="archive",
    layout="frames.npz (MediaPipe Hands or Holistic) and index.csv, of clips that WLASL's metadata list (--wlasl)",
    matches=_matches,
    open=open_wlasl_archive,
    options=frozenset({"wlasl", "first_glosses"}),
)
