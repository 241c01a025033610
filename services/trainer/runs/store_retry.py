"""Writes to a store that may be away: what can wait is left for later, what took a whole training is insisted on."""

import logging
import time
from collections.abc import Callable

from signet.errors import Unavailable

_log = logging.getLogger(__name__)

# How long a run whose training is over waits for a store that is away before it gives up.
_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 1.0


class StoreRetry:
    """What a run does while its store is away.

    Args:
        run_id: its name, for the log.
        given_up: whether nobody waits for the run any more.
    """

    def __init__(self, run_id: str, given_up: Callable[[], bool]) -> None:
        self._run_id = run_id
        self._given_up = given_up
        self._failed_writes = 0

    def try_write(self, what: str, write: Callable[[], None]) -> bool:
        """Write if the store is there; hours of training are not given up because it is not.

        Args:
            what: what is written, for the log.
            write: writes it.

        Returns:
            whether it is written.
        """
        try:
            write()
        except Unavailable as error:
            self._failed_writes += 1
            _log.warning("run %s: its %s cannot be written now. %s", self._run_id, what, error)
            return False
        if self._failed_writes:
            _log.warning("run %s: the store is back, and its %s is written", self._run_id, what)
            self._failed_writes = 0
        return True

    def write_until_done(self, write: Callable[[], None], resume_hint: Callable[[], str]) -> None:
        """Write, and wait for a store that is away.

        Args:
            write: writes; begun anew at each attempt.
            resume_hint: says how the run goes on if it is given up.

        Raises:
            Unavailable: the store stays away, or the run was given up; the message says how to go on.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        told = False
        while True:
            try:
                return write()
            except Unavailable as error:
                if self._given_up() or time.monotonic() > deadline:
                    raise Unavailable(f"{error} {resume_hint()}") from error
                if not told:
                    _log.warning("run %s: waiting for the store, with all that was trained. %s", self._run_id, error)
                    told = True
            time.sleep(_PAUSE_SECONDS)
