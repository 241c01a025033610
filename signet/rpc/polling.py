"""Looking again and again: for ever, more seldom while it fails, and without repeating itself in the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from signet.errors import SignetError

# What fails stays so for a while: it is tried ever more seldom, and never less often than this.
LONGEST_PAUSE_SECONDS = 600.0


class Once:
    """Writes a message unless it was the last one.

    Args:
        log: where to write.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said = ""

    def say(self, message: str, level: int = logging.WARNING) -> None:
        """Write it, if it is news."""
        if message and message != self._said:
            self._log.log(level, "%s", message)
        self._said = message

    def forget(self) -> None:
        """It is over: should it come again, it is news."""
        self._said = ""


async def follow(look: Callable[[], Awaitable[bool]], seconds: float, once: Once, log: logging.Logger) -> None:
    """Look for ever; end only when cancelled.

    Args:
        look: False if what was found could not be dealt with, which makes the pauses longer. What it raises is logged:
            a SignetError once, since looking is cheap and goes on; anything else each time, ever more seldom.
        seconds: between two looks.
        once: where a SignetError goes.
        log: where the unexpected goes.
    """
    pause = seconds
    while True:
        try:
            done = await look()
        except SignetError as error:
            once.say(f"{error} Looking again every {seconds:g} s.")
            done = True
        except Exception:
            log.exception("looking failed unexpectedly")
            done = False
        pause = seconds if done else min(2 * pause, max(seconds, LONGEST_PAUSE_SECONDS))
        await asyncio.sleep(pause)
