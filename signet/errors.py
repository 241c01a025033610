"""The tree of all errors that Signet raises.

    SignetError                      INTERNAL
     ├── InvalidInput                INVALID_ARGUMENT     an input cannot be used
     │    ├── ClipError              INVALID_ARGUMENT     a video is not a usable clip; `reason` is one word
     │    ├── InvalidLandmarks       INVALID_ARGUMENT     the bytes are not a landmark tensor v1
     │    └── InvalidSetting         INVALID_ARGUMENT     the value of a flag or environment variable cannot be used
     ├── NotFound                    NOT_FOUND            there is no such clip, dataset, model, run or report
     ├── AlreadyExists               ALREADY_EXISTS       an object with this immutable key exists
     ├── Conflict                    ABORTED              another writer changed the object: read it again, then retry
     ├── NotReady                    FAILED_PRECONDITION  another step must come first; the message says which
     ├── Busy                        RESOURCE_EXHAUSTED   too much work is under way: retry later
     ├── Unavailable                 UNAVAILABLE          a store or service cannot be reached
     ├── DeadlineExceeded            DEADLINE_EXCEEDED    the caller's time ran out
     ├── Unauthenticated             UNAUTHENTICATED      the call has no valid token
     ├── PermissionDenied            PERMISSION_DENIED    the token does not permit the call
     └── DataLoss                    DATA_LOSS            stored bytes differ from what was written
          └── UntrustedModel         DATA_LOSS            a model has no signature of a trusted key

Each message says what was wrong, with which input, and what to do next. `code` is the name of the gRPC status that a
server sends for the error. `signet.rpc.client` turns this status into the same error again.
"""

import reprlib
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Busy",
    "ClipError",
    "Conflict",
    "DataLoss",
    "DeadlineExceeded",
    "InvalidInput",
    "InvalidLandmarks",
    "InvalidSetting",
    "NotFound",
    "NotReady",
    "PermissionDenied",
    "SignetError",
    "Unauthenticated",
    "Unavailable",
    "UntrustedModel",
    "from_code",
    "quote",
]

# The longest quotation of an input in a message. The longest name of an object has 128 characters.
_MAX_QUOTED = 200

_quotation = reprlib.Repr()
_quotation.maxstring = _quotation.maxother = _MAX_QUOTED


def quote(value: object) -> str:
    """An input in a message: as `repr` writes it, in one line, but without the middle if it is long."""
    try:
        return _quotation.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


class SignetError(Exception):
    """Base class of all errors that Signet raises.

    Attributes:
        request_id: the id of the call that ended with this error, as in the logs of the servers; "" without a call.
    """

    code: ClassVar[str] = "INTERNAL"
    request_id: str = ""


class InvalidInput(SignetError):
    """An input cannot be used."""

    code = "INVALID_ARGUMENT"


class ClipError(InvalidInput):
    """A video is not a usable clip.

    Attributes:
        reason: one of a fixed set of words (`services.extractor.video.decode.REASONS`), used as a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ClipError"], tuple[str, str]]:
        """Pickle both arguments: the error crosses from a worker process to its parent."""
        return (type(self), (self.reason, str(self)))


class InvalidLandmarks(InvalidInput):
    """The bytes are not a landmark tensor v1."""


class InvalidSetting(InvalidInput):
    """The value of a flag or environment variable cannot be used."""


class NotFound(SignetError):
    """There is no such clip, dataset, model, run or report."""

    code = "NOT_FOUND"


class AlreadyExists(SignetError):
    """An object with this immutable key exists already."""

    code = "ALREADY_EXISTS"


class Conflict(SignetError):
    """Another writer changed the object between our read and our write."""

    code = "ABORTED"


class NotReady(SignetError):
    """Another step must come first; the message says which."""

    code = "FAILED_PRECONDITION"


class Busy(SignetError):
    """Too much work is under way: retry later.

    Attributes:
        retry_seconds: after this time the caller should try again; None if that is not known.
    """

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Unavailable(SignetError):
    """A store or a service cannot be reached."""

    code = "UNAVAILABLE"


class DeadlineExceeded(SignetError):
    """The caller's time ran out before the work was done."""

    code = "DEADLINE_EXCEEDED"


class Unauthenticated(SignetError):
    """The call has no token, or one that is not valid."""

    code = "UNAUTHENTICATED"


class PermissionDenied(SignetError):
    """The token of the call does not permit this method."""

    code = "PERMISSION_DENIED"


class DataLoss(SignetError):
    """Stored bytes differ from what was written."""

    code = "DATA_LOSS"


class UntrustedModel(DataLoss):
    """A model has no signature of a trusted key: it was not signed, or its card was changed."""


_BY_CODE: dict[str, type[SignetError]] = {kind.code: kind for kind in SignetError.__subclasses__()}


def from_code(code: str, message: str) -> SignetError:
    """The error for a gRPC status name and the message that came with it."""
    return _BY_CODE.get(code, SignetError)(message)
