"""The store as a directory, for use on one machine."""

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from signet.errors import AlreadyExists, Conflict, DataLoss, InvalidInput, NotFound, Unavailable, quote
from signet.store import keys
from signet.store.base import ObjectInfo
from signet.store.cache import Cache, map_file
from signet.whole_file import OWNER_ONLY, TEMPORARY_PREFIX, sync, unfinished_file

if TYPE_CHECKING:
    from signet.security.signatures import ModelKeys

# Names with this prefix are no objects: files that are being written, the lock, the cache.

_RIGHTS = "Check the rights to this directory and the space on its disk."


class DirectoryStore:
    """Objects as files below a root, which the first write makes.

    A write goes to a temporary file, which is synced, then linked or renamed.

    Raises:
        Unavailable: something else than a directory is in the way, or this user must not look into it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = self.root.as_uri()
        try:
            self._parent = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
            if not self._parent.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{self._parent} is a file")
            self._resolved = self.root.resolve()
            if self.root.exists():
                next(self.root.iterdir(), None)
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise Unavailable(
                f"{self.url}: cannot be used as a store ({reason}). A store is a directory that this user can read. "
                "Check --store and SIGNET_STORE."
            ) from error
        self.model_keys: ModelKeys | None = None
        # Only for notes: the objects are files on this machine already.
        self.cache = Cache(self.root / f"{TEMPORARY_PREFIX}cache")

    def check_exists(self) -> None:
        """Check that there is a store, even if it is empty. Raises `NotFound`."""
        names = {path.name for path in self.root.iterdir()} if self.root.exists() else None
        if names and not names & {*keys.FOLDERS, f"{TEMPORARY_PREFIX}cache", f"{TEMPORARY_PREFIX}lock"}:
            names = None
        if names is None:
            raise NotFound(
                f"{self.url}: there is no store here. Check --store and SIGNET_STORE. `signet extract` and "
                "`signet import` make a store."
            )

    def check_writable(self) -> None:
        """Check that the root can be written to, or made. Raises `Unavailable`."""
        if not os.access(self._parent, os.W_OK | os.X_OK):
            read_only = os.statvfs(self._parent).f_flag & os.ST_RDONLY
            reason = "the file system is read-only" if read_only else "this user has no right to it"
            raise Unavailable(
                f"{self.url}: cannot be written to: {reason} ({self._parent}). Change that, or name another store with "
                "--store or SIGNET_STORE."
            )

    def get(self, key: str) -> bytes:
        with self._not_found(key), self._opened(key) as file:
            return file.read()

    def get_head(self, key: str, length: int) -> bytes:
        with self._not_found(key), self._opened(key) as file:
            return file.read(length)

    def get_head_versioned(self, key: str, length: int) -> tuple[bytes, str]:
        with self._not_found(key), self._opened(key) as file:
            return file.read(length), _etag(os.fstat(file.fileno()))

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        with self._not_found(key), self._opened(key):
            data = map_file(self._path(key))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataLoss(f"{self.url}/{key}: is damaged: its sha256 is not {sha256}.")
        return data

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        with self._not_found(key), self._opened(key) as file:
            return file.read(), _etag(os.fstat(file.fileno()))

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._written(path, data) as temporary:
            temporary.replace(path)

    def create(self, key: str, data: bytes) -> str:
        path = self._path(key)
        with self._written(path, data) as temporary:
            etag = _etag(temporary.stat())
            try:
                path.hardlink_to(temporary)  # unlike a rename, this fails if the name is taken
            except FileExistsError:
                raise AlreadyExists(f"{self.url}/{key}: exists already and is immutable.") from None
        return etag

    def replace(self, key: str, data: bytes, etag: str) -> str:
        path = self._path(key)
        with self._written(path, data) as temporary, (self.root / f"{TEMPORARY_PREFIX}lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or _etag(path.stat()) != etag:
                raise Conflict(f"{self.url}/{key}: was changed by another writer. Read it again, then retry.")
            new_etag = _etag(temporary.stat())
            temporary.replace(path)
        return new_etag

    def stat(self, key: str) -> ObjectInfo | None:
        with self._readable(key):
            return _info(key, str(self._path(key)))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        entries = []
        below = len(f"{self._resolved}{os.sep}")
        top = self._path(prefix.rpartition("/")[0] or ".")
        for folder, folders, names in os.walk(top, onerror=self._raise_unless_missing):
            folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each of ten thousand files takes seconds)
                key = path[below:].replace(os.sep, "/")
                if key.startswith(prefix) and not name.startswith(TEMPORARY_PREFIX):
                    entries.append((key, path))
        for key, path in sorted(entries):
            with self._readable(key):
                info = self._listed(key, path)
            if info is not None:
                yield info

    def _listed(self, key: str, path: str) -> ObjectInfo | None:
        """The size and etag of a listed file; None if it is a link that leads out of the store or in a circle."""
        if os.path.islink(path):  # noqa: PTH114  (as in `list`)
            try:
                self._path(key)
            except InvalidInput:
                return None
        return _info(key, path)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot delete {key} ({error.strerror}). {_RIGHTS}") from error

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        """The file of an object, open for reading. Another kind of file, such as a pipe, counts as missing."""
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with os.fdopen(os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
            yield file

    def _path(self, key: str) -> Path:
        try:
            path = (self.root / key).resolve()
        except RuntimeError as error:
            raise InvalidInput(f"{self.url}/{key}: is a link that leads in a circle. Delete it.") from error
        if not path.is_relative_to(self._resolved):
            raise InvalidInput(f"{quote(key)}: leads out of the store {self.url}.")
        return path

    @contextmanager
    def _not_found(self, key: str) -> Iterator[None]:
        """Turn the errors of a missing file into `NotFound`, and those of an unreadable one into `Unavailable`."""
        try:
            with self._readable(key):
                yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"{self.url}/{key}: no such object.") from None

    @contextmanager
    def _readable(self, key: str) -> Iterator[None]:
        """Turn each error of reading into `Unavailable`, but those of a missing file."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
                raise
            raise Unavailable(f"{self.url}: cannot read {key} ({error.strerror}). {_RIGHTS}") from error

    def _raise_unless_missing(self, error: OSError) -> None:
        """A folder that cannot be read must not look like an empty one."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise Unavailable(f"{self.url}: cannot read {error.filename} ({error.strerror}). {_RIGHTS}") from error

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """A synced temporary file in the folder of `path`. It is deleted at the end, unless it was renamed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished_file(path, OWNER_ONLY) as (file, temporary):
                file.write(data)
                file.flush()
                # The clock of a file system ticks in milliseconds, which is too coarse to distinguish two writes.
                os.utime(file.fileno(), ns=(now := time.time_ns(), now))
                sync(file)
                yield temporary
        except OSError as error:
            raise Unavailable(f"{self.url}: cannot write {path.name} ({error.strerror}). {_RIGHTS}") from error


def _info(key: str, path: str) -> ObjectInfo | None:
    """The size and etag of a file; None if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116  (as above)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return ObjectInfo(key, status.st_size, _etag(status)) if stat.S_ISREG(status.st_mode) else None


def _etag(status: os.stat_result) -> str:
    """Each write makes a new file, so the number and the time of the file identify its content."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
