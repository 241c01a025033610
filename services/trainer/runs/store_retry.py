"""Writes to a store that may be unavailable for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from signet.errors import Unavailable

_log = logging.getLogger(__name__)

# How long the result of a finished training waits for an unavailable store.
_GIVE_UP_SECONDS = 600.0
_RETRY_SECONDS = 1.0

Written = TypeVar("Written")


class StoreRetry:
    """The writes of one run: those that can wait until the next time, and those that must not be lost.

    A run for which `should_abort` is True waits for the store no longer.
    """

    def __init__(self, run_id: str, should_abort: Callable[[], bool]) -> None:
        self._run_id = run_id
        self._should_abort = should_abort
        self._last_failed = False

    def try_write(self, name: str, write: Callable[[], None]) -> bool:
        """Write once, and return whether it was written: training goes on without the store. `name` is for the log."""
        try:
            write()
        except Unavailable as error:
            self._last_failed = True
            _log.warning("run %s: its %s cannot be written now. %s", self._run_id, name, error)
            return False
        if self._last_failed:
            self._last_failed = False
            _log.warning("run %s: the store is back, and its %s is written", self._run_id, name)
        return True

    def write_until_done(self, write: Callable[[], Written], resume_hint: Callable[[], str]) -> Written:
        """Return what `write` returns; call it again while the store is unavailable.

        Raises:
            Unavailable: the store stays unavailable, or the run was aborted. The message ends with the resume hint.
        """
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        logged = False
        while True:
            try:
                return write()
            except Unavailable as error:
                if self._should_abort() or time.monotonic() > deadline:
                    raise Unavailable(f"{error} {resume_hint()}") from error
                if not logged:
                    _log.warning("run %s: the training is finished and waits for the store. %s", self._run_id, error)
                    logged = True
            time.sleep(_RETRY_SECONDS)
