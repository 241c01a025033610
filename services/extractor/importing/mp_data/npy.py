"""Reads .npy files of strangers: nothing is unpickled, and no more memory is used than the file has bytes."""

import io
import math
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.errors import ClipError

# A frame has 13 kB; a recording of ten minutes at 60 fps and 1,662 numbers has 480 MB.
_MOST_BYTES = 512 * 1024 * 1024
_MOST_HEADER_BYTES = 10_000
_MOST_AXES = 8
_MOST_REASON = 120
# What numpy raises for headers that are damaged or made to harm.
_DAMAGED = (
    ValueError, TypeError, SyntaxError, KeyError, RecursionError, OverflowError, MemoryError, tokenize.TokenError,
)  # fmt: skip


class NotNumbers(Exception):
    """A .npy file holds an array of another type, such as names of signs."""


def read_numbers(path: Path) -> tuple[npt.NDArray[np.float32], bytes]:
    """The array of a .npy file as float32, and the bytes of the file.

    Raises:
        ClipError: the file is not a whole .npy file of numbers.
        NotNumbers: the array holds text.
    """
    name = path.name
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise ClipError("large", f"{name}: has {size} bytes; at most {_MOST_BYTES} are read.")
        data = path.read_bytes()
    except OSError as error:
        raise ClipError("unreadable", f"{name}: cannot be read ({error.strerror or error}).") from error
    shape, fortran, dtype, start = _read_header(data, name)
    if dtype.hasobject:
        raise ClipError(
            "objects",
            f"{name}: holds Python objects, which could run any program when they are loaded. They are not loaded. "
            "Save the numbers alone: np.save(path, np.asarray(keypoints, dtype=np.float32)).",
        )
    if dtype.kind in "SU":
        raise NotNumbers
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ClipError("type", f"{name}: holds {dtype}, not numbers.")
    expected = math.prod(shape) * dtype.itemsize
    if len(shape) > _MOST_AXES or expected != len(data) - start:
        raise ClipError(
            "truncated",
            f"{name}: its header declares {expected} bytes of numbers, and the file has {len(data) - start}. Copy it "
            "again.",
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, np.float32), data


def _read_header(data: bytes, name: str) -> tuple[tuple[int, ...], bool, "np.dtype[np.generic]", int]:
    """Shape, order, type, and the position of the first number."""
    try:
        shape, fortran, dtype, start = _parse_header(io.BytesIO(data))
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise ClipError("damaged", f"{name}: not a .npy file ({reason}). Copy it again.") from error
    if any(axis < 0 for axis in shape):
        raise ClipError("damaged", f"{name}: not a .npy file (negative size). Copy it again.")
    return shape, fortran, dtype, start


def _parse_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, "np.dtype[np.generic]", int]:
    formats: Any = np.lib.format  # its functions have no types
    readers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    read = readers[formats.read_magic(stream)]
    shape, fortran, dtype = read(stream, max_header_size=_MOST_HEADER_BYTES)
    return tuple(shape), bool(fortran), dtype, stream.tell()
