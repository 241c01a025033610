"""What this machine keeps of a store, so that it need not be asked again. Losing any of it costs time and nothing else.

Copies of immutable objects lie under their sha256, which is computed again whenever one is used: a copy that was cut
short, or has decayed since, is thrown away and fetched again. Notes are small texts under a name.

A file appears under its name when it is whole, and not before. Where nothing can be written (a read-only container, a
full disk) everything works as if the cache were empty.
"""

import contextlib
import hashlib
import logging
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from signet.errors import DataLoss

_log = logging.getLogger(__name__)

# Copies beyond so much make room for newer ones, those that were not used for longest first.
MAX_BYTES = 4 << 30

# Files under these names are still being written, or never will be: after so long, nobody is at it any more.
_TEMPORARY = ".signet-"
_ABANDONED_SECONDS = 3600.0


class Cache:
    """Copies and notes in a directory of this machine.

    Args:
        root: the directory, made when it is needed; None keeps nothing.
        max_bytes: how much the copies may take.
    """

    def __init__(self, root: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes

    def copy(self, sha256: str, fetch: Callable[[], bytes], name: str) -> memoryview:
        """An immutable object as a memory map of its copy, which is fetched if there is none.

        Args:
            sha256: of its bytes.
            fetch: reads it from the store.
            name: what to call it in an error.

        Raises:
            DataLoss: what the store gave is something else.
        """
        path = self._root / "objects" / sha256 if self._root else None
        if path and (kept := _mapped(path, sha256)) is not None:
            with contextlib.suppress(OSError):
                os.utime(path)  # used just now
            return kept
        data = fetch()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataLoss(f"{name}: is not what was stored: its sha256 is not {sha256}.")
        if path and self._write(path, data):
            self._make_room(path)
            if (kept := _mapped(path, sha256)) is not None:
                return kept
        return memoryview(bytearray(data))

    def note(self, name: str, text: str) -> None:
        """Keep a text under a name that can be a file's."""
        if self._root:
            self._write(self._root / "notes" / name, text.encode())

    def noted(self, name: str) -> str:
        """The text under this name; "" if there is none."""
        try:
            return (self._root / "notes" / name).read_text() if self._root else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self, path: Path, data: bytes) -> bool:
        """Write a file whole or not at all; False if it cannot be."""
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except OSError as error:
            _log.info("%s: cannot be written (%s); going on without", path, error.strerror)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Delete the copies that were not used for longest, until the rest is small enough, and what was abandoned."""
        copies = []
        for path in newest.parent.iterdir():
            with contextlib.suppress(OSError):  # gone meanwhile
                found = path.stat()
                if not path.name.startswith(_TEMPORARY):
                    copies.append((found.st_mtime, found.st_size, path))
                elif time.time() - found.st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total > self._max_bytes and path != newest:
                path.unlink(missing_ok=True)  # whoever has mapped it keeps it
                total -= size


def map_file(path: Path) -> memoryview:
    """A file's bytes, mapped into memory: read when they are looked at, and shared by all who map it.

    They can be written to; what is written stays in this process, and the file as it is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(bytearray())  # nothing cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _mapped(path: Path, sha256: str) -> memoryview | None:
    """A copy, if it is there and what it should be."""
    try:
        data = map_file(path)
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() == sha256:
        return data
    _log.warning("%s: damaged; thrown away", path)
    with contextlib.suppress(OSError):
        path.unlink()
    return None
