"""What earlier scans of a corpus found, in the cache of this machine: records of stored clips, and hashes of files.

A scan of 21,000 stored clips would otherwise read each record from the store and each file from the disk. An entry is
used only if it certainly belongs to what is there now: a record belongs to one content of an object (its etag), and a
hash to one content of a file (its inode, size and times of change). A table that is damaged counts as empty, so a lost
or old cache only makes a scan slower.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.extractor.video.decode import hash_file
from signet.landmarks import ClipRecord
from signet.store import ObjectInfo, ObjectStore
from signet.store.cache import Cache

# The least time between two saves while clips are being stored. A save takes 0.3 s for 21,000 clips.
_SAVE_SECONDS = 60.0
# A file that changed so recently may change again without new times: file systems count time in steps of up to 2 s.
_SETTLED_NS = 5_000_000_000


class _Table:
    """Entries by name, which are stored as one note. It can be used from any thread."""

    def __init__(self, cache: Cache, kind: str, *names: str) -> None:
        self._cache = cache
        self._name = f"{kind}-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]}"
        self._lock = threading.Lock()
        self._entries = self._load()
        self._new: dict[str, list[Any]] = {}
        self._saved = time.monotonic()

    def get(self, name: str) -> list[Any] | None:
        with self._lock:
            return self._entries.get(name)

    def set(self, name: str, entry: list[Any]) -> None:
        with self._lock:
            if self._entries.get(name) != entry:
                self._entries[name] = self._new[name] = entry

    def save(self) -> None:
        """Store the new entries, in addition to those that other processes have stored."""
        with self._lock:
            if not self._new:
                return
            self._entries = self._load() | self._entries
            text = json.dumps(self._entries, separators=(",", ":"))
            self._cache.put_note(self._name, f"{_checksum(text)}\n{text}")
            self._new = {}
            self._saved = time.monotonic()

    def save_if_due(self) -> None:
        """Store the new entries if the last save was some time ago."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def _load(self) -> dict[str, list[Any]]:
        checksum, _, text = self._cache.get_note(self._name).partition("\n")
        if checksum != _checksum(text):
            return {}
        entries: dict[str, list[Any]] = json.loads(text)
        return entries


class RecordCache(_Table):
    """The records of the stored clips of a corpus."""

    def __init__(self, store: ObjectStore, corpus: str) -> None:
        super().__init__(store.cache, "records", store.url, corpus)

    def find(self, info: ObjectInfo) -> ClipRecord | None:
        """The record of this object, if it was read or written with this etag before."""
        entry = self.get(info.key)
        if entry is None or not info.etag or entry[:2] != [info.etag, info.size]:
            return None
        try:
            return ClipRecord.model_validate(entry[2])
        except ValidationError:  # written by another version of Signet
            return None

    def add(self, info: ObjectInfo, record: ClipRecord) -> None:
        """Remember the record of an object with this etag."""
        if info.etag:
            self.set(info.key, [info.etag, info.size, record.model_dump(mode="json", by_alias=True)])


class FileHashes(_Table):
    """The sha256 of the files of a directory of clips."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        super().__init__(cache, "hashes", str(folder.absolute()))

    def sha256(self, path: Path) -> str:
        """The sha256 of a file. The file is read only if it may have changed since it was last read.

        Raises:
            ClipError: the file cannot be read, or is too large.
        """
        before = _identify(path)
        entry = self.get(str(path))
        if entry is not None and entry[:-1] == before:
            return str(entry[-1])
        sha256 = hash_file(path)
        if before and before == _identify(path) and time.time_ns() - max(before[-2:]) > _SETTLED_NS:
            self.set(str(path), [*before, sha256])
        return sha256


def _identify(path: Path) -> list[int]:
    """The numbers of a file that change with its content, the times last; none if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116  (20,000 files are looked at)
    except OSError:
        return []
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
