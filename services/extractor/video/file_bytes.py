"""Reads parts of a file, so that a large file is never in memory as a whole."""

import hashlib
import io
import os
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias, overload

from signet.errors import ClipError

# Small reads near each other, as of the headers of a file, are served from a part of this size.
_WINDOW_BYTES = 64 * 1024
_BLOCK_BYTES = 1024 * 1024
_SETTLED_NS = 5_000_000_000


class FileState(NamedTuple):
    """What changes when a file is replaced or written: its device and inode, its size, and its times of change."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def is_settled(self) -> bool:
        """Whether a further change would change the times: file systems count time in steps of up to 2 s."""
        return time.time_ns() - max(self.modified_ns, self.changed_ns) > _SETTLED_NS


def read_state(file: Path | int) -> FileState:
    """The state of a file, which is given by its path or by its descriptor.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(file)  # noqa: PTH116  (a descriptor has no path)
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileBytes:
    """The bytes of a file. As of `bytes`, there are a length, single bytes and slices without a step.

    Args:
        path: the file. It is open as long as this object exists.

    Attributes:
        state: its state when it was opened.

    Raises:
        ClipError: the file does not exist or cannot be read; also later, when a part is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ClipError("unreadable", f"{path}: is not a file. Name a video.")
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(path, error) from error
        weakref.finalize(self, os.close, self._file)
        self.state = read_state(self._file)
        self._window_start, self._window = 0, b""

    def __len__(self) -> int:
        return self.state.size

    @overload
    def __getitem__(self, where: int) -> int: ...
    @overload
    def __getitem__(self, where: slice) -> bytes: ...
    def __getitem__(self, where: int | slice) -> int | bytes:
        if isinstance(where, int):
            (byte,) = self._read(where, where + 1) or (0,)  # the file is shorter by now
            return byte
        start, end, _ = where.indices(len(self))
        return self._read(start, max(start, end))

    def read_at(self, position: int, count: int) -> bytes:
        """At most so many bytes from a position on; fewer at the end of the file."""
        try:
            return os.pread(self._file, max(0, count), position)
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def has_changed(self) -> bool:
        """Whether the file was changed since it was opened, as far as its size and its times tell."""
        return read_state(self._file) != self.state

    def _read(self, start: int, end: int) -> bytes:
        if end - start > _WINDOW_BYTES:
            return self.read_at(start, end - start)
        if not self._window_start <= start <= end <= self._window_start + len(self._window):
            self._window_start, self._window = start, self.read_at(start, _WINDOW_BYTES)
        return self._window[start - self._window_start : end - self._window_start]


VideoBytes: TypeAlias = bytes | FileBytes


def open_stream(data: VideoBytes) -> io.IOBase:
    """A file object for FFmpeg, with a position of its own."""
    return io.BytesIO(data) if isinstance(data, bytes) else _FileStream(data)


def iterate_blocks(data: VideoBytes, start: int, end: int, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
    """The parts of data between two positions: the position of each part, and its bytes.

    Args:
        data: the bytes.
        start: the position of the first byte.
        end: the position after the last byte.
        overlap: the number of bytes that each part shares with the next one.
    """
    for position in range(start, end, _BLOCK_BYTES):
        yield position, data[position : min(end, position + _BLOCK_BYTES + overlap)]


def hash_bytes(data: VideoBytes) -> str:
    """The sha256 of data, in hexadecimal digits."""
    digest = hashlib.sha256()
    for _, block in iterate_blocks(data, 0, len(data)):
        digest.update(block)
    return digest.hexdigest()


class _FileStream(io.RawIOBase):
    """Reads a file from a position of its own."""

    def __init__(self, data: FileBytes) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = len(self._data) - self._position
        block = self._data.read_at(self._position, size)
        self._position += len(block)
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position


def _unreadable(path: Path, error: OSError) -> ClipError:
    return ClipError("unreadable", f"{path}: cannot be read ({error.strerror}).")
