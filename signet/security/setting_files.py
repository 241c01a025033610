"""Reads the files of keys, certificates and tokens that settings name, with errors that name the setting."""

import logging
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from signet.errors import InvalidSetting

_log = logging.getLogger(__name__)

# The bundle of all public authorities has 250 KB.
MAX_FILE_BYTES = 4 << 20

# Servers look for changes of their files at most so often. A revoked token may be used so long.
_CHECK_SECONDS = 1.0

# One file, as far as a change of it can be seen without reading it: time of change, size, inode.
_FileState = tuple[int, int, int] | None


class WatchedFiles:
    """Files that are read again when they have changed. Make it before they are read, so that no change is missed.

    Args:
        paths: the files. They need not exist.
        clock: gives monotonic seconds.
    """

    def __init__(self, paths: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._paths = tuple(paths)
        self._clock = clock
        self._checked = clock()
        self._states = self._read_states()

    def is_check_due(self) -> bool:
        """Whether the last check was long enough ago. The next one is due so long after this one."""
        now = self._clock()
        if now - self._checked < _CHECK_SECONDS:
            return False
        self._checked = now
        return True

    def have_changed(self) -> bool:
        """Whether a file has changed since the last question. A file that is made or deleted has changed, too."""
        before, self._states = self._states, self._read_states()
        return self._states != before

    def _read_states(self) -> tuple[_FileState, ...]:
        return tuple(map(_file_state, self._paths))


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


def _file_state(path: Path) -> _FileState:
    """The state of a file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def warn_of_readers(setting: str, path: Path) -> None:
    """Log a warning if all users of the machine can read a secret file."""
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("%s=%s: all users of this machine can read this secret. Run: chmod o-r '%s'", setting, path, path)
