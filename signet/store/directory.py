"""The store as a directory: for one machine, and for those who want to look at the files."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signet.errors import AlreadyExists, Conflict, DataLoss, InvalidInput, NotFound, Unavailable
from signet.store.base import ObjectInfo
from signet.store.cache import Cache, map_file

# What begins like this is the store's own: files that are being written, a lock, a cache.
_TEMPORARY = ".signet-"


class DirectoryStore:
    """Objects as files below a root. Written to a temporary file, synced, then linked or renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot be used as a store ({error.strerror}).") from error
        self._resolved = self.root.resolve()
        # Only for notes: its objects are files on this machine already.
        self.cache = Cache(self.root / f"{_TEMPORARY}cache")

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"{self.url}/{key}: no such object.") from None

    def get_head(self, key: str, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                return file.read(length)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"{self.url}/{key}: no such object.") from None

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        try:
            data = map_file(self._path(key))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"{self.url}/{key}: no such object.") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataLoss(f"{self.url}/{key}: is not what was stored: its sha256 is not {sha256}.")
        return data

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        try:
            with self._path(key).open("rb") as file:
                return file.read(), _etag(os.fstat(file.fileno()))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"{self.url}/{key}: no such object.") from None

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as temporary:
            temporary.replace(path)

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as temporary:
            try:
                path.hardlink_to(temporary)  # fails if the name is taken, as no rename does
            except FileExistsError:
                raise AlreadyExists(f"{self.url}/{key}: exists already, and it is immutable.") from None

    def replace(self, key: str, data: bytes, etag: str) -> None:
        path = self._path(key)
        with self._written(path, data) as temporary, (self.root / f"{_TEMPORARY}lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or _etag(path.stat()) != etag:
                raise Conflict(f"{self.url}/{key}: was changed by somebody else. Read it again, then retry.")
            temporary.replace(path)

    def stat(self, key: str) -> ObjectInfo | None:
        return _info(key, str(self._path(key)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = []
        below = len(f"{self._resolved}{os.sep}")
        for folder, folders, names in os.walk(self._path(prefix.rpartition("/")[0] or ".")):
            folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118  (ten thousand of them: a Path each takes seconds)
                key = path[below:].replace(os.sep, "/")
                if key.startswith(prefix) and not name.startswith(_TEMPORARY):
                    found.append((key, path))
        for key, path in sorted(found):
            info = _info(key, path)
            if info is not None:
                yield info

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self._resolved):
            raise InvalidInput(f"{key!r}: leads out of the store {self.url}.")
        return path

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """A synced temporary file beside `path`, gone afterwards."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot write {path.name} ({error.strerror}).") from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                # A file system's own clock ticks in milliseconds, too slow to tell two writes apart by it.
                os.utime(file.fileno(), ns=(now := time.time_ns(), now))
                os.fsync(file.fileno())
            yield Path(name)
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot write ({error.strerror}).") from error
        finally:
            Path(name).unlink(missing_ok=True)


def _info(key: str, path: str) -> ObjectInfo | None:
    """What is known of a file without reading it; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  (as above)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return ObjectInfo(key, found.st_size, _etag(found)) if stat.S_ISREG(found.st_mode) else None


def _etag(found: os.stat_result) -> str:
    """Every write makes a new file, so a file's identity and its time tell one content from the next."""
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
