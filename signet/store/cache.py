"""The cache of a store on this machine. If it is lost, its content is fetched again.

Copies of immutable objects are files named by their sha256. The sha256 is computed again at each use; a damaged copy is
deleted and fetched again. Notes are texts under a name.

A file appears under its name only when it is complete. If nothing can be written (a read-only container, a full disk),
everything works as with an empty cache.
"""

import contextlib
import hashlib
import logging
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from signet.errors import DataLoss
from signet.whole_file import OWNER_ONLY, TEMPORARY_PREFIX, remove_unfinished_files, unfinished_file

_log = logging.getLogger(__name__)

# If the copies are larger than this, those that were not used for the longest time are deleted.
MAX_BYTES = 4 << 30

# After this time, the writer of an unfinished file is certainly dead.
_ABANDONED_SECONDS = 3600.0


class Cache:
    """Copies, together at most `max_bytes`, and notes in a directory of this machine; without one, nothing is kept."""

    def __init__(self, root: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes

    def copy(self, sha256: str, fetch: Callable[[], bytes], name: str) -> memoryview:
        """An immutable object as a memory map of its copy. The object is fetched if there is no copy.

        `sha256` is that of its bytes, and `name` is its name in an error.

        Raises:
            DataLoss: the object in the store has another sha256.
        """
        path = self._root / "objects" / sha256 if self._root else None
        if path and (copy := _map_checked(path, sha256)) is not None:
            with contextlib.suppress(OSError):
                os.utime(path)  # used just now
            return copy
        data = fetch()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataLoss(f"{name}: is damaged: its sha256 is not {sha256}.")
        if path and self._write(path, data):
            self._make_room(path)
            if (copy := _map_checked(path, sha256)) is not None:
                return copy
        return memoryview(bytearray(data))

    def put_note(self, name: str, text: str) -> None:
        """Keep a text under a name, which must be a valid file name."""
        if self._root:
            self._write(self._root / "notes" / name, text.encode())

    def get_note(self, name: str) -> str:
        """The text under this name; "" if there is no such note."""
        try:
            return (self._root / "notes" / name).read_text() if self._root else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self, path: Path, data: bytes) -> bool:
        """Write a file completely or not at all; False if it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: a copy is checked at each use, and a file that was lost is written again.
            with unfinished_file(path, OWNER_ONLY) as (file, temporary):
                file.write(data)
                file.flush()
                temporary.replace(path)
        except OSError as error:
            _log.info("%s: cannot be written (%s); continuing without it", path, error.strerror)
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Delete abandoned files, and the copies with the oldest use, until the rest is small enough."""
        remove_unfinished_files(newest.parent.iterdir(), _ABANDONED_SECONDS)
        copies = []
        for path in newest.parent.iterdir():
            with contextlib.suppress(OSError):  # deleted meanwhile
                status = path.stat()
                if not path.name.startswith(TEMPORARY_PREFIX):
                    copies.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total > self._max_bytes and path != newest:
                path.unlink(missing_ok=True)  # a process that has mapped the file keeps its content
                total -= size


def map_file(path: Path) -> memoryview:
    """Map a file into memory. Its bytes are read when they are used, and all processes that map it share them.

    The map can be written to. This changes neither the file nor the maps of other processes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(bytearray())  # an empty file cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _map_checked(path: Path, sha256: str) -> memoryview | None:
    """A map of a copy; None if the copy is missing or damaged. A damaged copy is deleted."""
    try:
        data = map_file(path)
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() == sha256:
        return data
    _log.warning("%s: damaged; deleted", path)
    with contextlib.suppress(OSError):
        path.unlink()
    return None
