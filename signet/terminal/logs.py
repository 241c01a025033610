"""The log of a process: each event is one line, whatever names are in it."""

import logging
import sys

from signet.terminal.characters import escape_control_characters, prepare_streams


def set_up_logging(level: str, line_format: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
    """Log to standard error: one line for each event, which begins with the time."""
    prepare_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLineFormatter(line_format))
    logging.basicConfig(level=level, handlers=[handler])


class _OneLineFormatter(logging.Formatter):
    """Escapes control characters in a message. Otherwise a name could forge a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name of the base class)
        """The line of a record, without the traceback of an unexpected error."""
        return escape_control_characters(super().formatMessage(record))
