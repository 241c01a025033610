"""The log of a process: each event is one line of text, or one JSON object, whatever names are in it."""

import json
import logging
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from signet.telemetry.request_ids import current_request_id
from signet.telemetry.tracing import current_trace_id
from signet.terminal.characters import escape_control_characters, prepare_streams
from signet.terminal.output import say_error

# What gives access to a store: the signature and the token in a presigned URL or in the headers of a request. A library
# may log its requests at DEBUG, or quote one in an error. The forms are narrow: a gloss may be called "signature".
_SECRETS = re.compile(
    r"((?:X-Amz-(?:Signature|Credential|Security-Token)['\"]?\s*[:=]\s*['\"]?|(?:Signature|AWSAccessKeyId)=)"
    r"(?=[\w%+/=.-]{16})|Authorization['\"]?\s*[:=]\s*['\"]?(?=(?:AWS|Bearer|Basic)[\w-]*\s))"
    r"(?:(?:AWS|Bearer|Basic)[\w-]*\s[^'\"\n]+|[\w%+/=.-]+)",
    re.IGNORECASE,
)

# A token of `signet token create`.
_TOKEN = re.compile(r"\bsignet_[\w-]{43}")

_log = logging.getLogger(__name__)


def set_up_logging(level: str, line_format: str = "%(asctime)s %(levelname)s %(name)s: %(message)s") -> None:
    """Log to standard error: one line for each event, which begins with the time.

    A line that belongs to a call ends with the id of the call.
    """
    prepare_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLineFormatter(line_format))
    logging.basicConfig(level=level, handlers=[handler])


def log_as_json(service: str) -> None:
    """From now on, write each event as one JSON object in one line: also warnings and errors that end the process.

    The keys are time (UTC, RFC 3339), level, logger, message and service; request_id and trace_id if the event belongs
    to a call that has them; traceback if there is one.
    """
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonFormatter(service))
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(
        failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback
    )


def pass_on(line: str) -> None:
    """Write a line that a child process wrote: as it is, or as an event of the log if the log is JSON."""
    if any(isinstance(handler.formatter, _JsonFormatter) for handler in logging.getLogger().handlers):
        _log.warning("%s", line)
    else:
        say_error(line)


def _hide_secrets(text: str) -> str:
    return _TOKEN.sub("signet_***", _SECRETS.sub(r"\1***", text))


class _OneLineFormatter(logging.Formatter):
    """Escapes control characters in a message, so that a name cannot forge a line of the log. Hides secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, with the traceback of an unexpected error."""
        return _hide_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name of the base class)
        """The line of a record, without the traceback of an unexpected error."""
        line = escape_control_characters(super().formatMessage(record))
        request_id = current_request_id()
        return f"{line} (request {request_id})" if request_id else line


class _JsonFormatter(logging.Formatter):
    """Writes a record as a JSON object of ASCII characters. JSON escapes control characters. Hides signatures."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record."""
        traceback = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _hide_secrets(record.getMessage()),
            "service": self._service,
            "request_id": current_request_id(),
            "trace_id": current_trace_id(),
            "traceback": _hide_secrets(traceback) if traceback else "",
        }
        return json.dumps({key: value for key, value in event.items() if value or key == "message"})


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("unexpected %s", kind.__name__, exc_info=(kind, error, trace))
