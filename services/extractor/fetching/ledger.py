"""The ledger of `signet fetch`: what happened to each address, and which files were checked.

The file has one JSON object a line. Lines are only appended, and the last line of an address or a file is valid. If a
process dies while it writes, the last line is incomplete; it is ignored, and what it was about is done again.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, Self

from signet.errors import Conflict, InvalidInput
from signet.whole_file import remove_unfinished_files, sync, unfinished_file

LEDGER_NAME = "fetch-ledger.jsonl"
# The folder of unfinished files. `find_clip_files` does not look into folders whose name begins with a dot.
WORK_FOLDER = ".fetch"
# The ledger is written anew when it has more lines than twice what is valid, and these.
_SPARE_LINES = 1000

STORED, REFUSED, FAILED = "stored", "refused", "failed"


@dataclass(frozen=True)
class LinkRecord:
    """The outcome of an address.

    Attributes:
        key: the key of the link.
        url: the address, without secrets.
        status: stored; refused (another attempt would give the same); or failed (another attempt may succeed).
        reason: one word; "" if it is stored.
        message: the reason, for people.
        bytes: the size of the video; 0 without one.
        sha256: the hash of the video; "" without one.
        files: the files of the video, relative to the directory of the clips.
        attempts: the number of attempts, in all runs.
        time: when the outcome was known: UTC, ISO 8601.
        final_url: the address at the end of all redirects, without secrets.
    """

    key: str
    url: str
    status: str
    reason: str = ""
    message: str = ""
    bytes: int = 0
    sha256: str = ""
    files: tuple[str, ...] = ()
    attempts: int = 0
    time: str = ""
    final_url: str = ""


@dataclass(frozen=True)
class FileRecord:
    """The check of a file.

    Attributes:
        name: path of the file, relative to the directory of the clips.
        bytes: its size when it was checked.
        mtime_ns: the time of its last change when it was checked, in nanoseconds.
        sha256: hash of its bytes.
        reason: why it is no usable video, one word; "" if it is one.
        message: the reason, for people.
        frames: the number of frames.
        seconds: the display time of the last frame.
        outside: instances whose segment is not in the video, by clip_id, with the reason for people.
    """

    name: str
    bytes: int
    mtime_ns: int
    sha256: str = ""
    reason: str = ""
    message: str = ""
    frames: int = 0
    seconds: float = 0.0
    outside: Mapping[str, str] = field(default_factory=dict)

    def is_about(self, path: Path) -> bool:
        """Whether the file has not changed since it was checked."""
        try:
            status = path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns)


class FetchLedger:
    """The ledger in a directory of clips. Only one process at a time may write to it.

    Args:
        clips: the directory of the clips.
        writable: whether records are added. Then the directory is created and locked.

    Attributes:
        links: the last record of each address, by key.
        files: the last record of each file, by name.
        ignored_lines: the number of lines that could not be read.

    Raises:
        Conflict: another process writes to the ledger.
        InvalidInput: the directory cannot be written to.
    """

    def __init__(self, clips: Path, *, writable: bool) -> None:
        self.path = clips / LEDGER_NAME
        self.links: dict[str, LinkRecord] = {}
        self.files: dict[str, FileRecord] = {}
        self.ignored_lines = 0
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None
        try:
            if writable:
                self._lock = _lock_folder(clips)
                # Left by a writer that was killed. There is no other writer now.
                remove_unfinished_files((clips / WORK_FOLDER).iterdir(), 0)
            lines = self._read()
            if writable:
                if lines > 2 * (len(self.links) + len(self.files)) + _SPARE_LINES:
                    self._compact(clips / WORK_FOLDER)
                self._file = self.path.open("ab", buffering=0)
                if lines:  # the last line may be incomplete
                    self._file.write(b"\n")
        except OSError as error:
            self.close()
            raise InvalidInput(
                f"{error.filename or clips}: cannot be {'written' if writable else 'read'} ({error.strerror}). Name "
                "another directory with --clips, or change its permissions."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the ledger."""
        for file in (self._file, self._lock):
            if file is not None:
                file.close()

    def add(self, record: LinkRecord | FileRecord) -> None:
        """Append a record. It is on the disk when this method returns."""
        assert self._file is not None  # noqa: S101  (only a writable ledger gets records)
        self._file.write(_encode(record))
        os.fsync(self._file.fileno())
        self._remember(record)

    def _remember(self, record: LinkRecord | FileRecord) -> None:
        if isinstance(record, LinkRecord):
            self.links[record.key] = record
        else:
            self.files[record.name] = record

    def _read(self) -> int:
        if not self.path.exists():
            return 0
        lines = self.path.read_bytes().splitlines()
        for line in lines:
            record = _decode(line)
            if record is None:
                self.ignored_lines += bool(line.strip())
            else:
                self._remember(record)
        return len(lines)

    def _compact(self, folder: Path) -> None:
        """Write the ledger anew, with the valid lines only."""
        with unfinished_file(folder / LEDGER_NAME) as (file, temporary):
            file.writelines(map(_encode, self.links.values()))
            file.writelines(map(_encode, self.files.values()))
            sync(file)
            temporary.replace(self.path)


def _lock_folder(clips: Path) -> IO[bytes]:
    """Create the folders of a directory of clips, and lock it.

    Raises:
        Conflict: another process has locked it.
    """
    folder = clips / WORK_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Conflict(
            f"{clips}: another `signet fetch` downloads to this directory. Wait for its end, or choose another "
            "directory with --clips."
        ) from error
    return lock


def _encode(record: LinkRecord | FileRecord) -> bytes:
    kind = "link" if isinstance(record, LinkRecord) else "file"
    return json.dumps({"kind": kind, **asdict(record)}, ensure_ascii=True).encode() + b"\n"


def _decode(line: bytes) -> LinkRecord | FileRecord | None:
    """The record of a line; None if it has none. Unknown fields are ignored, so that new versions can add some."""
    try:
        values = json.loads(line)
        kind: type[LinkRecord | FileRecord] = {"link": LinkRecord, "file": FileRecord}[values["kind"]]
        given = {one.name: _checked(values[one.name], one.type) for one in fields(kind) if one.name in values}
        return kind(**given)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(value: Any, kind: Any) -> Any:
    """A value of a field.

    Raises:
        TypeError: it is not of the field's type.
    """
    if kind is str or kind is int:
        valid = isinstance(value, kind) and not isinstance(value, bool)
    elif kind is float:
        valid = isinstance(value, int | float)
    elif isinstance(value, list):
        value = tuple(value)
        valid = all(isinstance(one, str) for one in value)
    else:
        valid = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    if not valid:
        raise TypeError
    return value
