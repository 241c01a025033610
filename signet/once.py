"""A log line that is written once, however often what it tells of is found."""

import logging


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
