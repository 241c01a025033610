"""Reads the files of keys, certificates and tokens that settings name, with errors that name the setting."""

import logging
import stat
from collections.abc import Sequence
from pathlib import Path

from signet.errors import InvalidSetting

_log = logging.getLogger(__name__)

# The bundle of all public authorities has 250 KB.
MAX_FILE_BYTES = 4 << 20

# One file, as far as a change of it can be seen without reading it: time of change, size, inode.
FileState = tuple[int, int, int] | None


def read_setting_file(setting: str, path: Path, kind: str) -> bytes:
    """Read a file that a setting names. `kind` says what it must be, for example "a PEM file with a certificate".

    Raises:
        InvalidSetting: it is missing, unreadable or too large; the message names setting and file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidSetting(
            f"{setting}={path}: cannot be read ({error.strerror}). It must be {kind}, and the user that runs Signet "
            "must be able to read it."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidSetting(f"{setting}={path}: has more than {MAX_FILE_BYTES} bytes. It must be {kind}.")
    return data


def file_states(paths: Sequence[Path]) -> tuple[FileState, ...]:
    """The state of each file; None for a file that is not there. Equal states mean that no file has changed."""
    return tuple(map(_file_state, paths))


def _file_state(path: Path) -> FileState:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def warn_of_readers(setting: str, path: Path) -> None:
    """Log a warning if all users of the machine can read a secret file."""
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("%s=%s: all users of this machine can read this secret. Run: chmod o-r '%s'", setting, path, path)
