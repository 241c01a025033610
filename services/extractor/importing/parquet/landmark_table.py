"""Reads one parquet file of landmarks: one row for each landmark of each frame.

    frame           number of the frame in the video
    type            face, left_hand, pose or right_hand
    landmark_index  number of the landmark within its type
    x, y, z         x and z in frame widths, y in frame heights; NaN or null where nothing was found

A frame has 543 rows: 468 of the face, 33 of the pose and 21 of each hand. Rows may be in any order.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.errors import ClipError, NotReady
from signet.landmarks import POSE_JOINTS
from signet.landmarks.tensor import HAND_JOINTS, MAX_FRAMES

COLUMNS = ("frame", "type", "landmark_index", "x", "y", "z")
# Points of the face that `face_aspect` uses: the left and right side, the forehead and the chin.
FACE_POINTS = (234, 454, 10, 152)

_TYPES: Mapping[str, tuple[int, ...]] = {
    "face": FACE_POINTS,
    "left_hand": tuple(range(HAND_JOINTS)),
    "pose": tuple(range(POSE_JOINTS)),
    "right_hand": tuple(range(HAND_JOINTS)),
}
# The place of each landmark among those that are used, by its number; -1 for the others.
_POSITIONS = {
    name: np.array([points.index(point) if point in points else -1 for point in range(max(points) + 1)])
    for name, points in _TYPES.items()
}
_ROWS_PER_FRAME = 543
_MOST_ROWS = _ROWS_PER_FRAME * MAX_FRAMES
# Bytes of the columns after decompression; a row has about 40.
_MOST_BYTES = 64 * _MOST_ROWS
# A column is decompressed by pages. A file of ten rows must not announce gigabytes.
_MOST_COMPRESSION, _FREE_BYTES = 1000, 16 * 1024 * 1024
_BATCH_ROWS = 65_536

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """The landmarks of one file. T frames; NaN where nothing was found."""

    frames: npt.NDArray[np.int64]  # [T], increasing numbers in the video
    pose: Floats  # [T, 33, 3]
    hands: Floats  # [T, 2, 21, 3]
    face: Floats  # [T, 4, 3], `FACE_POINTS`
    sha256: str


def load_pyarrow() -> Any:
    """The module `pyarrow.parquet`.

    Raises:
        NotReady: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: PLC0415  (an extra of its own, 170 MB)
    except ImportError as error:
        raise NotReady(
            f"Parquet files need pyarrow, which is not installed ({error}). Install it: pip install 'signet[parquet]'."
        ) from error
    return pyarrow.parquet


def read_landmark_table(path: Path) -> LandmarkTable:
    """Read a file.

    Raises:
        ClipError: it is no whole parquet file of landmarks.
        NotReady: pyarrow is not installed.
    """
    parquet = load_pyarrow()
    import pyarrow  # noqa: PLC0415

    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            file = parquet.ParquetFile(opened, pre_buffer=False, page_checksum_verification=False)
            _check(file, path)
            frames = _read_frame_numbers(file)
            parts = {
                name: np.full((len(frames), len(points), 3), np.nan, np.float32) for name, points in _TYPES.items()
            }
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(COLUMNS), use_threads=False):
                _place(batch, frames, parts)
    except (pyarrow.ArrowException, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ClipError(
            "malformed", f"{path}: not a whole parquet file ({reason}). Copy or download it again."
        ) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise ClipError("malformed", f"{path}: {str(error)[:300]}.") from error
    hands = np.stack([parts["left_hand"], parts["right_hand"]], axis=1)
    return LandmarkTable(frames, parts["pose"], hands, parts["face"], digest)


def _check(file: Any, path: Path) -> None:
    """Check the columns, and that they fit into memory.

    Raises:
        ValueError: a column is missing, or the file is too large.
    """
    names = file.schema_arrow.names
    if missing := [name for name in COLUMNS if name not in names]:
        if any(name.startswith(("x_right_hand_", "x_left_hand_")) for name in names):
            raise ValueError(
                "has one row for each frame, the layout of Kaggle's competition for fingerspelling. Its phrases are "
                "spelled letter by letter, and Signet recognises single signs. Files with one row for each landmark "
                "(asl-signs) can be imported"
            )
        raise ValueError(f"has no column {', '.join(missing)}. The columns must be {', '.join(COLUMNS)}")
    if repeated := [name for name in COLUMNS if names.count(name) > 1]:
        raise ValueError(f"has the column {repeated[0]} twice")
    metadata = file.metadata
    if metadata.num_rows > _MOST_ROWS:
        raise ValueError(f"has {metadata.num_rows} rows; {MAX_FRAMES} frames of {_ROWS_PER_FRAME} rows are allowed")
    total = 0
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            total += chunk.total_uncompressed_size
            if chunk.total_uncompressed_size < 0 or total > _MOST_BYTES:
                raise ValueError("its columns need too much memory. Split the file")
    if total > max(_FREE_BYTES, _MOST_COMPRESSION * path.stat().st_size):
        raise ValueError(f"its columns are compressed by a factor of more than {_MOST_COMPRESSION}. Save it again")


def _read_frame_numbers(file: Any) -> npt.NDArray[np.int64]:
    """The numbers of the frames, increasing.

    Raises:
        ValueError: there are none, or too many.
    """
    column = file.read(["frame"], use_threads=False).column("frame")
    frames = np.unique(_as_integers(column.to_numpy(), "frame"))
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ValueError(f"has {len(frames)} frames; 1 to {MAX_FRAMES} are allowed")
    return frames


def _as_integers(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    """Whole numbers, which some programs save as floats.

    Raises:
        ValueError: the column holds something else, or nothing in some rows.
    """
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise ValueError(f"the column {name} must hold a whole number in each row")
    return values.astype(np.int64)


def _place(batch: Any, frames: npt.NDArray[np.int64], parts: Mapping[str, Floats]) -> None:
    """Write the rows of a batch to their places."""
    columns = {name: batch.column(batch.schema.get_field_index(name)) for name in COLUMNS}
    rows = np.searchsorted(frames, _as_integers(columns["frame"].to_numpy(zero_copy_only=False), "frame"))
    index = _as_integers(columns["landmark_index"].to_numpy(zero_copy_only=False), "landmark_index")
    values = np.stack([_as_floats(columns[name], name) for name in ("x", "y", "z")], axis=1)
    for name, own in _rows_by_type(columns["type"]):
        if name not in parts:
            raise ValueError(f"has rows of the type {name[:40]!r}. The types are {', '.join(parts)}")
        positions = _POSITIONS[name]
        known = own[(index[own] >= 0) & (index[own] < len(positions))]
        places = positions[index[known]]
        used = known[places >= 0]
        parts[name][rows[used], places[places >= 0]] = values[used]


def _as_floats(column: Any, name: str) -> Floats:
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"the column {name} must hold numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # a number too large for float32 becomes infinite
        return np.asarray(values, np.float32)


def _rows_by_type(column: Any) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Each type of landmarks with its rows."""
    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    if codes.dtype.kind == "f":  # nulls
        raise ValueError("the column type must hold a text in each row")
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        found = np.flatnonzero(codes == code)
        if len(found):
            yield str(name), found
