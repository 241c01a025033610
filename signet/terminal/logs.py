"""The log of a process: each event is one line, whatever names are in it."""

import logging
import re
import sys

from signet.terminal.characters import escape_control_characters, prepare_streams

# What gives access to a store: the signature and the token in a presigned URL or in the headers of a request. A library
# may log its requests at DEBUG, or quote one in an error. The forms are narrow: a gloss may be called "signature".
_SECRETS = re.compile(
    r"((?:X-Amz-(?:Signature|Credential|Security-Token)['\"]?\s*[:=]\s*['\"]?|(?:Signature|AWSAccessKeyId)=)"
    r"(?=[\w%+/=.-]{16})|Authorization['\"]?\s*[:=]\s*['\"]?(?=(?:AWS|Bearer|Basic)[\w-]*\s))"
    r"(?:(?:AWS|Bearer|Basic)[\w-]*\s[^'\"\n]+|[\w%+/=.-]+)",
    re.IGNORECASE,
)


def set_up_logging(level: str, line_format: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
    """Log to standard error: one line for each event, which begins with the time."""
    prepare_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLineFormatter(line_format))
    logging.basicConfig(level=level, handlers=[handler])


class _OneLineFormatter(logging.Formatter):
    """Escapes control characters in a message, so that a name cannot forge a line of the log. Hides signatures."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, with the traceback of an unexpected error."""
        return _SECRETS.sub(r"\1***", super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name of the base class)
        """The line of a record, without the traceback of an unexpected error."""
        return escape_control_characters(super().formatMessage(record))
