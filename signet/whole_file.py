"""Writes files completely or not at all: under a temporary name, synced, and then renamed."""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Files with names that begin so are being written, or were left behind by a process that was killed.
TEMPORARY_PREFIX = ".signet-"
# Readable by all that the umask of the process permits, as any other new file; and readable by the owner only.
USUAL_MODE, OWNER_ONLY = 0o666, 0o600

_NAME_BYTES = 8
# A directory store has other files with this prefix. Older versions of Signet made names of eight characters.
_TEMPORARY_NAME = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}(?:[0-9a-f]{{{2 * _NAME_BYTES}}}|[a-z0-9_]{{8}})")


def write_whole_file(path: Path, parts: bytes | Iterable[bytes], mode: int = USUAL_MODE) -> int:
    """Write a file. If this fails or is cut off, an older file stays as it is. Returns the size in bytes.

    Raises:
        OSError: it cannot be written. No temporary file is left behind.
    """
    with unfinished_file(path, mode) as (file, temporary):
        file.writelines([parts] if isinstance(parts, bytes) else parts)
        sync(file)
        size = file.tell()
        temporary.replace(path)
    return size


@contextmanager
def unfinished_file(path: Path, mode: int = USUAL_MODE) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the folder of `path`, open for writing, and its temporary name.

    At the end it is closed, and deleted unless it was renamed. Sync it before you rename it.

    Raises:
        OSError: it cannot be made.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(_NAME_BYTES)}")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync(file: BinaryIO) -> None:
    """Let the bytes of a file survive a crash of the machine."""
    file.flush()
    os.fsync(file.fileno())


def remove_unfinished_files(paths: Iterable[Path], seconds: float) -> None:
    """Remove those of these files that are temporary and were not written to for so long: their writers were killed."""
    for path in paths:
        with contextlib.suppress(OSError):  # deleted meanwhile
            if _TEMPORARY_NAME.fullmatch(path.name) and time.time() - path.stat().st_mtime > seconds:
                path.unlink()
