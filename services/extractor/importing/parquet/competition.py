"""Finds the clips of a folder in the layout of asl-signs: `train.csv`, and the parquet files that it lists.

`train.csv` has the columns path, participant_id, sequence_id and sign. `signet export` adds clip, signer, split, fps,
width and height. What they do not say is derived: participants are the signers, a fifth of the clips by signer is held
out, and the aspect follows from the faces.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from services.extractor.importing.parquet.face_aspect import estimate_aspect
from services.extractor.importing.parquet.labels import Row, choose_splits, read_rows
from services.extractor.importing.parquet.landmark_table import load_pyarrow, read_landmark_table
from services.extractor.importing.source import ClipLandmarks, FrameSize, ImportOptions, LandmarkClip, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey
from services.extractor.importing.unlabelled.raw import RawLandmarks, mirror, to_joints, uses_pixels
from services.extractor.importing.unlabelled.splits import ClipLabels, describe_strangers, read_splits
from signet.errors import ClipError, NotFound

TABLE = "train.csv"
# Kaggle does not say the rate. Phones record 30 frames a second.
ASSUMED_FPS = 30.0
# Files of each participant that are read for its aspect, and the frame that is assumed without faces.
_FILES_FOR_ASPECT = 8
_ASSUMED_SIZE = FrameSize(480, 480)
_ASSUMED_HEIGHT = 480


def open_competition(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open a folder with `train.csv`.

    Raises:
        NotFound: the folder has no `train.csv`, or none of the files that it lists.
        InvalidInput: the table cannot be used.
        NotReady: pyarrow is not installed.
    """
    load_pyarrow()
    folder = path.parent if path.is_file() else path
    table = folder / TABLE
    if not table.is_file():
        raise NotFound(
            f"{table}: no such file. It names the sign of each parquet file, with the columns "
            "path,participant_id,sequence_id,sign."
        )
    rows, failures = read_rows(table)
    present = [row for row in rows if _is_file(folder / row.path)]
    if not present:
        raise NotFound(f"{folder}: has none of the {len(rows)} files that {TABLE} lists, for example {rows[0].path}.")
    notes = []
    if missing := len(rows) - len(present):
        absent = next(row.path for row in rows if not _is_file(folder / row.path))
        notes.append(
            f"{missing} of the {len(rows)} files that {TABLE} lists do not exist, and are left out, for example "
            f"{absent}"
        )
    rows, label_notes = _label(present, options)
    sizes, size_notes = _choose_sizes(folder, rows, options)
    if not options.fps and any(not row.fps for row in rows):
        notes.append(f"frame rate: {ASSUMED_FPS:g} frames a second are assumed. --fps changes it")
    clips = [_clip(folder, row, sizes[row.clip_id], bool(options.mirrored), options.fps) for row in rows]
    return LandmarkSource(
        kind="parquet",
        sha256=_hash(folder, rows, clips, bool(options.mirrored)),
        clips=tuple(clips),
        corpus="asl-signs",
        failures=tuple(failures),
        notes=(*notes, *label_notes, *size_notes),
        with_quality=True,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or a folder that may not be read
        return False


def _label(rows: Sequence[Row], options: ImportOptions) -> tuple[list[Row], list[str]]:
    """The rows with a split each, and notes."""
    given = read_splits(options.splits) if options.splits else {}
    labelled = []
    names = set()
    for row in rows:
        name = str(PurePosixPath(row.path).with_suffix(""))
        names |= {name, row.clip_id}
        said = given.get(name) or given.get(row.clip_id) or ClipLabels()
        labelled.append(
            replace(row, gloss=said.gloss or row.gloss, split=said.split or row.split, signer=said.signer or row.signer)
        )
    notes = describe_strangers(options.splits, given, names)
    if all(row.split for row in labelled):
        return labelled, notes
    splits, more = choose_splits(labelled)
    return [replace(row, split=row.split or splits[row.clip_id]) for row in labelled], [*notes, *more]


def _choose_sizes(folder: Path, rows: Sequence[Row], options: ImportOptions) -> tuple[dict[str, FrameSize], list[str]]:
    """The frame size of each clip: the table's, the user's, or that which fits the faces of its signer."""
    given = options.frame_size()
    sizes = {row.clip_id: given or row.size for row in rows}
    by_signer: dict[str, list[Row]] = {}
    for row in rows:
        if sizes[row.clip_id] is None:
            by_signer.setdefault(row.signer, []).append(row)
    counts: Counter[str] = Counter()
    unclear = 0
    chosen: dict[str, FrameSize] = {}
    for signer, own in by_signer.items():
        faces = []
        for row in own[:: max(1, len(own) // _FILES_FOR_ASPECT)][:_FILES_FOR_ASPECT]:
            try:
                faces.append(read_landmark_table(folder / row.path).face)
            except ClipError:
                continue  # the import reads it again, and reports it
        aspect = estimate_aspect(faces)
        unclear += aspect is None
        chosen[signer] = FrameSize(round(aspect * _ASSUMED_HEIGHT), _ASSUMED_HEIGHT) if aspect else _ASSUMED_SIZE
        if aspect:
            counts[f"{aspect.numerator}:{aspect.denominator}"] += 1
    notes = []
    if counts:
        shown = ", ".join(f"{aspect} ({count} signers)" for aspect, count in counts.most_common())
        notes.append(
            f"picture size: the aspect follows from the proportions of the faces: {shown}. --aspect changes it"
        )
    if unclear:
        notes.append(
            f"picture size: no file shows the faces of {unclear} signers, and 1:1 is assumed. A wrong aspect distorts "
            "the landmarks. Give it with --aspect"
        )
    return {row.clip_id: sizes[row.clip_id] or chosen[row.signer] for row in rows}, notes


def _clip(folder: Path, row: Row, size: FrameSize, mirrored: bool, fps: float | None) -> LandmarkClip:
    rate = fps or row.fps or ASSUMED_FPS
    return LandmarkClip(
        clip_id=row.clip_id,
        gloss=row.gloss,
        split=row.split,
        signer=row.signer,
        fps=rate,
        width=size.width,
        height=size.height,
        read=partial(_read, folder / row.path, size.aspect, rate, mirrored),
    )


def _read(path: Path, aspect: float, fps: float, mirrored: bool) -> ClipLandmarks:
    table = read_landmark_table(path)
    found = np.isfinite(table.pose).all(axis=2)
    raw = RawLandmarks(
        pose=table.pose,
        visibility=np.where(found, np.float32(1), np.float32(np.nan)),
        hands=table.hands,
        numbers=table.frames,
        source_sha256=table.sha256,
    )
    if uses_pixels(raw, str(path)):
        raise ClipError("range", f"{path}: its coordinates are pixels. They must be fractions of the frame, 0 to 1.")
    if mirrored:
        raw = mirror(raw)
    times = ((table.frames - table.frames[0]) / fps).astype(np.float32)
    return ClipLandmarks(to_joints(raw, aspect), raw.visibility, times, table.sha256)


def _hash(folder: Path, rows: Sequence[Row], clips: Sequence[LandmarkClip], mirrored: bool) -> str:
    """Hash of the names and sizes of all files, and of the settings that change their landmarks.

    The whole set has 56 GB, so the files are not read for it. Each clip has the hash of its own file.
    """
    digest = hashlib.sha256(b"mirrored" if mirrored else b"")
    for row, clip in sorted(zip(rows, clips, strict=True), key=lambda pair: pair[0].clip_id):
        line = [row.clip_id, row.path, (folder / row.path).stat().st_size, clip.fps, clip.width / clip.height]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _matches(survey: PathSurvey) -> bool:
    return survey.has("parquet")


KIND = Kind(
    name="parquet",
    layout="train.csv (path, participant_id, sequence_id, sign) and its parquet files, as Kaggle's asl-signs",
    matches=_matches,
    open=open_competition,
    options=frozenset({"fps", "aspect", "width", "height", "mirrored", "splits"}),
)
