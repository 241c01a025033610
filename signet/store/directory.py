"""The store as a directory: for one machine, and for those who want to look at the files."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signet.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Unavailable
from signet.store.base import ObjectInfo

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

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        data = self.get(key)
        return data, _etag(data)

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
            if not path.exists() or _etag(path.read_bytes()) != etag:
                raise Conflict(f"{self.url}/{key}: was changed by somebody else. Read it again, then retry.")
            temporary.replace(path)

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        return ObjectInfo(key, path.stat().st_size, _etag(path.read_bytes())) if path.is_file() else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = []
        for folder, _, names in os.walk(self._path(prefix.rpartition("/")[0] or ".")):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix) and not name.startswith(_TEMPORARY):
                    found.append(key)
        for key in sorted(found):
            info = self.stat(key)
            if info is not None:
                yield info

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root.resolve()):
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
                os.fsync(file.fileno())
            yield Path(name)
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot write ({error.strerror}).") from error
        finally:
            Path(name).unlink(missing_ok=True)


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
