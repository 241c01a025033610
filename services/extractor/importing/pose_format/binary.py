"""The binary layout of `.pose` files, versions 0.1 and 0.2.

The layout is documented in docs/specs of sign-language-processing/pose. All numbers are little-endian. A string is its
length (uint16) and its bytes in UTF-8.

    header      float32 version, uint16 width, height, depth, uint16 components
    component   string name, string format such as "XYZC", uint16 points, limbs, colors, then the names of the points
                (strings), the limbs (2 uint16 each) and the colors (3 uint16 each)
    body 0.1    uint16 rate, uint16 frames, uint16 people
    body 0.2    float32 rate, uint32 frames, uint16 people
    values      float32 [frames, people, points, dimensions], then float32 confidence [frames, people, points]

Version 0.1 counts frames in 16 bits, which may overflow. Its number of frames follows from the size of the file.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from signet.errors import ClipError
from signet.landmarks.tensor import MAX_FRAMES

VERSIONS = (0.1, 0.2)

# Bounds of what is read before the values: real headers have 5 components and 40,000 bytes.
_MOST_COMPONENTS, _MOST_POINTS, _MOST_PEOPLE, _MOST_DIMENSIONS = 64, 4096, 64, 8
# Bodies in all frames together: this bounds the memory for a file of several people.
_MOST_BODIES = 2 * MAX_FRAMES
_MOST_HEADER_BYTES = 2**20
# Values that are read at once.
_CHUNK_VALUES = 2**20

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PoseComponent:
    """A group of points: its name, the format of a point ("XYZC"), and the names of its points."""

    name: str
    format: str
    points: tuple[str, ...]


@dataclass(frozen=True)
class PoseHeader:
    """What a file says before its values.

    Attributes:
        width: width of the frame in pixels; 0 if it is unknown.
        height: height of the frame in pixels.
        components: the groups of points, in the order of the values.
        fps: frames per second; 0 if it is unknown.
        frames: number of frames.
        people: number of people.
        offset: position of the first value in the file.
    """

    width: int
    height: int
    components: tuple[PoseComponent, ...]
    fps: float
    frames: int
    people: int
    offset: int

    @property
    def points(self) -> int:
        """The number of points of all components."""
        return sum(len(component.points) for component in self.components)

    @property
    def dimensions(self) -> int:
        """The number of coordinates of a point."""
        return max(len(component.format) for component in self.components) - 1


class _Cursor:
    """Reads fields from the start of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def numbers(self, layout: str) -> tuple[float, ...]:
        values = struct.unpack_from(f"<{layout}", self._data, self.offset)
        self.skip(struct.calcsize(f"<{layout}"))
        return values

    def count(self) -> int:
        return int(self.numbers("H")[0])

    def text(self) -> str:
        length = self.count()
        start = self.offset
        self.skip(length)
        return self._data[start : start + length].decode("utf-8")

    def skip(self, size: int) -> None:
        if self.offset + size > len(self._data):
            raise struct.error("the file ends in its header")
        self.offset += size


def read_header(path: Path) -> PoseHeader:
    """Read and check the header of a file.

    Raises:
        ClipError: the file is no `.pose` file, or its values are not complete.
        OSError: the file cannot be read.
    """
    with path.open("rb") as opened:
        data = opened.read(_MOST_HEADER_BYTES)
        size = opened.seek(0, 2)
    if not data:
        raise ClipError("empty", f"{path}: is empty (0 bytes). Its creation failed: make or copy it again.")
    try:
        header = _parse(_Cursor(data), size)
    except (struct.error, UnicodeDecodeError) as error:
        raise ClipError("malformed", f"{path}: not a whole .pose file ({error}). Copy it again.") from error
    except ValueError as error:
        raise ClipError("malformed", f"{path}: {error}") from error
    expected = header.offset + 4 * header.frames * header.people * header.points * (header.dimensions + 1)
    if size != expected:
        reason = "truncated" if size < expected else "malformed"
        raise ClipError(reason, f"{path}: has {size} bytes, and its header announces {expected}. Copy it again.")
    return header


def _parse(cursor: _Cursor, size: int) -> PoseHeader:
    """Parse the header and the numbers before the values; `size` is that of the whole file.

    Raises:
        ValueError: a field has a value that no usable file has.
    """
    version = round(cursor.numbers("f")[0], 3)
    if version not in VERSIONS:
        known = " and ".join(f"{known:g}" for known in VERSIONS)
        raise ValueError(
            f"is no .pose file of version {known} (its first bytes say {version:g}). Read it with the package "
            "pose-format and write it again."
        )
    width, height, _depth, count = (int(number) for number in cursor.numbers("HHHH"))
    if not 1 <= count <= _MOST_COMPONENTS:
        raise ValueError(f"has {count} components of points; 1 to {_MOST_COMPONENTS} are possible.")
    components = tuple(_parse_component(cursor) for _ in range(count))
    fps, frames, people = cursor.numbers("HHH" if version == VERSIONS[0] else "fIH")
    header = PoseHeader(width, height, components, float(fps), int(frames), int(people), cursor.offset)
    if not 2 <= header.dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"its points have {header.dimensions} coordinates; 2 or 3 are needed.")
    if not 1 <= header.points <= _MOST_POINTS:
        raise ValueError(f"has {header.points} points in a frame; 1 to {_MOST_POINTS} are possible.")
    if not 1 <= header.people <= _MOST_PEOPLE:
        raise ValueError(f"has {header.people} people; 1 to {_MOST_PEOPLE} are possible.")
    if version == VERSIONS[0]:
        frames = (size - cursor.offset) // (4 * header.people * header.points * (header.dimensions + 1))
        header = PoseHeader(width, height, components, float(fps), int(frames), int(people), cursor.offset)
    if not 1 <= header.frames <= MAX_FRAMES:
        raise ValueError(f"has {header.frames} frames; 1 to {MAX_FRAMES} are allowed. Cut it into signs.")
    if header.frames * header.people > _MOST_BODIES:
        raise ValueError(
            f"has {header.frames} frames of {header.people} people. Cut it into signs, or keep the signer."
        )
    return header


def _parse_component(cursor: _Cursor) -> PoseComponent:
    name, layout = cursor.text(), cursor.text()
    points, limbs, colors = (int(number) for number in cursor.numbers("HHH"))
    if points > _MOST_POINTS:
        raise ValueError(f"the component {name[:50]!r} has {points} points; {_MOST_POINTS} are possible.")
    names = tuple(cursor.text() for _ in range(points))
    cursor.skip(4 * limbs + 6 * colors)
    return PoseComponent(name, layout, names)


def read_points(path: Path, header: PoseHeader, columns: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Read some points of all people.

    Args:
        path: the file.
        header: its header.
        columns: positions of the points among all points of the file.

    Returns:
        float32 [T, people, n, 3], with depth 0 if the file has none, and the confidence, float32 [T, people, n]; n is
        the number of `columns`.

    Raises:
        ClipError: the file has become shorter.
        OSError: the file cannot be read.
    """
    points = np.zeros((header.frames, header.people, len(columns), 3), np.float32)
    confidence = np.zeros((header.frames, header.people, len(columns), 1), np.float32)
    with path.open("rb") as opened:
        opened.seek(header.offset)
        for target, width in ((points, header.dimensions), (confidence, 1)):
            row = header.people * header.points * width
            step = max(1, _CHUNK_VALUES // row)
            for start in range(0, header.frames, step):
                frames = min(step, header.frames - start)
                data = opened.read(4 * row * frames)
                if len(data) < 4 * row * frames:
                    raise ClipError("truncated", f"{path}: became shorter while it was read. Import it again.")
                values = np.frombuffer(data, "<f4").reshape(frames, header.people, header.points, width)
                used = min(width, target.shape[-1])
                target[start : start + frames, ..., :used] = values[:, :, columns, :used]
    return points, confidence[..., 0]
