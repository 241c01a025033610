"""Reads landmark archives that others made: all clips in one `frames.npz`, and their positions in `index.csv`.

The arrays in the file tell its kind. N is the number of frames of all clips together:

    hands      frames [N, 2, 21, 3]: MediaPipe Hands, slots in the order of detection, -1 = no hand
    holistic   pose [N, 33, 4], left_hand and right_hand [N, 21, 3]: MediaPipe Holistic, NaN = absent

x is in frame widths, y in frame heights, z in frame widths (relative to the wrist, or to the hips for pose); the pose's
fourth channel is its visibility. The index has a row `video_id,start,frames` for each clip, and may have `fps`, `width`
and `height` of its video.
"""

import hashlib
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.extractor.importing import handedness
from services.extractor.importing.source import MAX_FPS, MAX_PIXELS
from services.extractor.sources.failure import ClipFailure
from signet.errors import ClipError, InvalidInput, NotFound, quote
from signet.landmarks import JOINTS, LEFT_HAND, POSE, POSE_JOINTS, RIGHT_HAND
from signet.landmarks.tensor import HAND_JOINTS, MAX_FRAMES
from signet.store import keys
from signet.text_files import parse_integer, parse_number, parse_table

FRAMES, INDEX = "frames.npz", "index.csv"

_NO_HAND = -1.0
# What numpy and zipfile raise for files that are damaged, encrypted or made to harm.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError, SyntaxError, ValueError,
    EOFError, KeyError, NotImplementedError, RecursionError, RuntimeError,
)  # fmt: skip
# Arrays by kind of archive, and the shape of each after its first axis.
_KINDS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "hands": {"frames": (2, HAND_JOINTS, 3)},
    "holistic": {"pose": (POSE_JOINTS, 4), "left_hand": (HAND_JOINTS, 3), "right_hand": (HAND_JOINTS, 3)},
}
# Coordinates are fractions of a frame, and joints outside the frame are estimated. Larger values are pixels.
_FARTHEST = 8.0

# The most characters of an unusable id in a message.
_MOST_NAME_CHARACTERS = 200
# Landmarks are compressed by a factor of 1 to 4; the absent parts of a small archive by up to 1,000.
_MOST_COMPRESSION, _FREE_BYTES = 100, 64 * 1024 * 1024

_Joints = npt.NDArray[np.float32]
# float16 or float32, as in the archive.
_Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ArchiveRow:
    """A clip of an archive: frames `[start, start + frames)`, and rate and size of its video; 0 if unknown."""

    clip_id: str
    start: int
    frames: int
    fps: float = 0.0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, eq=False)
class Archive:
    """An open archive.

    Attributes:
        kind: "hands" or "holistic".
        rows: the usable clips, in the order of the index.
        faults: the unusable rows of the index, and the reasons.
        sha256: hash of both files.
        arrays: the arrays by name.
    """

    kind: str
    rows: tuple[ArchiveRow, ...]
    faults: tuple[ClipFailure, ...]
    sha256: str
    arrays: Mapping[str, _Numbers]

    def source_sha256(self, row: ArchiveRow) -> str:
        """Hash of a clip's values in the archive. Duplicates have the same hash."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            digest.update(np.ascontiguousarray(self._slice(row, name)).data)
        return digest.hexdigest()

    def joints(self, row: ArchiveRow, aspect: float, midline: float) -> tuple[_Joints, _Joints]:
        """A clip's landmarks.

        Args:
            row: the clip.
            aspect: width of the frames divided by their height.
            midline: x of the signer's body, as a fraction of the frame's width.

        Returns:
            float32 [T, 75, 3] in frame heights, NaN where a part is absent; and the pose's visibility, float32 [T, 33].

        Raises:
            ClipError: the values are not fractions of a frame.
        """
        joints = np.full((row.frames, JOINTS, 3), np.nan, np.float32)
        visibility = np.full((row.frames, POSE_JOINTS), np.nan, np.float32)
        if self.kind == "hands":
            hands = self._slice(row, "frames").astype(np.float32)
            hands[(hands == _NO_HAND).all(axis=(2, 3))] = np.nan
            scaled = self._scaled(row, hands, aspect)
            joints[:, LEFT_HAND.start :] = handedness.assign_sides(scaled, midline * aspect).reshape(row.frames, -1, 3)
            return joints, visibility
        pose = self._slice(row, "pose").astype(np.float32)
        for where, part in (
            (POSE, pose[..., :3]),
            (LEFT_HAND, self._slice(row, "left_hand").astype(np.float32)),
            (RIGHT_HAND, self._slice(row, "right_hand").astype(np.float32)),
        ):
            joints[:, where] = self._scaled(row, part, aspect)
        visibility[:] = pose[..., 3]
        return joints, visibility

    def _slice(self, row: ArchiveRow, name: str) -> _Numbers:
        return self.arrays[name][row.start : row.start + row.frames]

    def _scaled(self, row: ArchiveRow, part: _Joints, aspect: float) -> _Joints:
        """Convert fractions of the frame to frame heights."""
        if np.isinf(part).any() or (np.abs(part[np.isfinite(part)]) > _FARTHEST).any():
            raise ClipError(
                "range",
                f"{row.clip_id}: has landmark values up to {np.nanmax(np.abs(part)):g}. They must be fractions of "
                "the frame: x and z of its width, y of its height.",
            )
        return part * np.array([aspect, 1.0, aspect], np.float32)


def read_archive(path: Path) -> Archive:
    """Open an archive: a directory with `frames.npz` and `index.csv`.

    Raises:
        NotFound: the directory or one of its files does not exist.
        InvalidInput: the files are not an archive of a known kind.
    """
    frames, index = path / FRAMES, path / INDEX
    for file in (frames, index):
        if not file.is_file():
            raise NotFound(f"{file}: no such file. An archive is a directory that holds {FRAMES} and {INDEX}.")
    try:
        digest = hashlib.sha256()
        for file in (frames, index):
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        kind, arrays = _read_arrays(frames)
        rows, faults = _read_index(index, len(next(iter(arrays.values()))))
    except OSError as error:
        raise InvalidInput(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from error
    return Archive(kind, rows, faults, digest.hexdigest(), arrays)


def _read_arrays(path: Path) -> tuple[str, Mapping[str, _Numbers]]:
    try:
        # The file is opened here, because numpy does not close a file that it cannot read.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            kind = next((kind for kind, names in _KINDS.items() if names.keys() <= set(file.files)), "")
            if not kind:
                known = "; ".join(f"{', '.join(names)} ({kind})" for kind, names in _KINDS.items())
                raise InvalidInput(
                    f"{path}: holds {', '.join(file.files) or 'nothing'}. What can be imported: {known}."
                )
            _check_sizes(file.zip, _KINDS[kind], path)
            arrays = {name: file[name] for name in _KINDS[kind]}
    except (MemoryError, OverflowError) as error:
        raise InvalidInput(f"{path}: its arrays need more memory than there is. Split the archive.") from error
    except _DAMAGED as error:
        raise InvalidInput(f"{path}: not a whole .npz file ({error}). Copy or download it again.") from error
    except (AttributeError, TypeError) as error:  # a single .npy file, which numpy loads as an array
        raise InvalidInput(f"{path}: a single array, not an .npz file of named arrays.") from error
    frames = len(next(iter(arrays.values())))
    for name, shape in _KINDS[kind].items():
        array = arrays[name]
        if array.shape != (frames, *shape) or array.dtype not in (np.float16, np.float32):
            raise InvalidInput(
                f"{path}: {quote(name)} must be float16 or float32 {[frames, *shape]}, "
                f"not {array.dtype} {list(array.shape)}."
            )
    return kind, arrays


def _check_sizes(file: zipfile.ZipFile, names: Iterable[str], path: Path) -> None:
    """Check that the arrays fit into memory, and are not zeros that were compressed to almost nothing.

    numpy reads no more bytes of an array than the file declares for it.

    Raises:
        InvalidInput: an array is too large.
    """
    packed_bytes = path.stat().st_size
    total = 0
    for name in names:
        member = file.getinfo(name if name in file.namelist() else f"{name}.npy")
        total += member.file_size
        if member.file_size > max(_FREE_BYTES, _MOST_COMPRESSION * min(member.compress_size, packed_bytes)):
            raise InvalidInput(
                f"{path}: its array {name!r} has {member.file_size} bytes, compressed by a factor of more than "
                f"{_MOST_COMPRESSION}. Landmarks are not so uniform. Save them again."
            )
    if total > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise MemoryError


def _read_index(path: Path, total: int) -> tuple[tuple[ArchiveRow, ...], tuple[ClipFailure, ...]]:
    """The rows of the index that lie within `total` frames, and the failures of the others."""
    lines = parse_table(path.read_bytes(), str(path), ("video_id", "start", "frames"), ("fps", "width", "height"))
    rows: dict[str, ArchiveRow] = {}
    faults = []
    for line in lines:
        place = f"{path.name} line {line.line}"
        name = line.cells["video_id"][:_MOST_NAME_CHARACTERS] or f"line {line.line}"
        text = ",".join(line.cells.values())
        try:
            if line.surplus:
                raise ClipError(
                    "index", f"{place}: {quote(text)} has {line.surplus} more values than the first line has columns."
                )
            row = _row(line.cells, total)
            if row.clip_id in rows:
                raise ClipError("index", f"{place}: {row.clip_id} is listed twice.")
            rows[row.clip_id] = row
        except InvalidInput as error:
            faults.append(ClipFailure(name, "index", str(error)))
        except ValueError as error:
            faults.append(ClipFailure(name, "index", f"{place}: {quote(text)} is not video_id,start,frames ({error})."))
    return tuple(rows.values()), tuple(faults)


def _row(cells: Mapping[str, str], total: int) -> ArchiveRow:
    row = ArchiveRow(
        clip_id=keys.check_name("clip", cells["video_id"]),
        start=parse_integer(cells["start"]),
        frames=parse_integer(cells["frames"]),
        fps=parse_number(cells.get("fps") or "0"),
        width=parse_integer(cells.get("width") or "0"),
        height=parse_integer(cells.get("height") or "0"),
    )
    if row.start < 0 or row.frames < 1 or row.start + row.frames > total:
        end = row.start + row.frames
        raise ClipError("index", f"{row.clip_id}: the archive has {total} frames, and not frames {row.start} to {end}.")
    if row.frames > MAX_FRAMES:
        raise ClipError("index", f"{row.clip_id}: has {row.frames} frames; at most {MAX_FRAMES} are allowed.")
    if not (0 <= row.fps <= MAX_FPS and 0 <= row.width <= MAX_PIXELS and 0 <= row.height <= MAX_PIXELS):
        raise ClipError("index", f"{row.clip_id}: {row.fps:g} fps of {row.width}x{row.height} is not a video.")
    return row
