"""Polling: a check that is repeated for ever, less often while it fails, without repeated log lines."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from signet.errors import SignetError

# A check that failed will often fail again: the pause doubles with each failure, up to this.
LONGEST_PAUSE_SECONDS = 600.0


class StatusLog:
    """Logs a status message, unless it is the same as the one before."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last = ""

    def report(self, message: str, level: int = logging.WARNING) -> None:
        """Log the message if it is new; an empty message only makes the next one new."""
        if message and message != self._last:
            self._log.log(level, "%s", message)
        self._last = message

    def clear(self) -> None:
        """Forget the last message: the next one is logged even if it is the same."""
        self._last = ""


async def poll_forever(
    check: Callable[[], Awaitable[bool]], seconds: float, status: StatusLog, log: logging.Logger
) -> None:
    """Repeat a check until this task is cancelled, with a pause of so many seconds between two checks.

    The pauses become longer while the check fails: it returns False, or it raises an exception, which is logged each
    time. A SignetError is reported to `status` instead, and the pauses stay as they are.
    """
    pause = seconds
    while True:
        try:
            succeeded = await check()
        except SignetError as error:
            status.report(f"{error} Looking again every {seconds:g} s.")
            succeeded = True
        except Exception:
            log.exception("looking failed unexpectedly")
            succeeded = False
        pause = seconds if succeeded else min(2 * pause, max(seconds, LONGEST_PAUSE_SECONDS))
        await asyncio.sleep(pause)
