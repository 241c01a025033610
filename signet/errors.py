"""The one tree of errors.

    SignetError                      INTERNAL
     ├── InvalidInput                INVALID_ARGUMENT     what was given cannot be used
     │    ├── ClipError              INVALID_ARGUMENT     a video is not a usable clip; `reason` says why, in one word
     │    ├── InvalidLandmarks       INVALID_ARGUMENT     bytes are not a landmark tensor v1
     │    └── InvalidSetting         INVALID_ARGUMENT     a flag or environment variable has an unusable value
     ├── NotFound                    NOT_FOUND            no such clip, dataset, model, run or report
     ├── AlreadyExists               ALREADY_EXISTS       an immutable key is taken
     ├── Conflict                    ABORTED              somebody else changed it first: read again, then retry
     ├── NotReady                    FAILED_PRECONDITION  something else has to happen first; the message says what
     ├── Busy                        RESOURCE_EXHAUSTED   too much at once; later is better
     ├── Unavailable                 UNAVAILABLE          a store or service cannot be reached
     ├── DeadlineExceeded            DEADLINE_EXCEEDED    the caller's time ran out
     └── DataLoss                    DATA_LOSS            stored bytes are not what was written

Each message says what was wrong, with which input, and what to do next. `code` is the name of the gRPC status that a
server answers with, and the one from which `signet.rpc.client` makes the same error again.
"""

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
    "SignetError",
    "Unavailable",
    "from_code",
]


class SignetError(Exception):
    """Anything that Signet itself finds wrong."""

    code: ClassVar[str] = "INTERNAL"


class InvalidInput(SignetError):
    """What was given cannot be used as it is."""

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
        """Survive the way back from a worker process."""
        return (type(self), (self.reason, str(self)))


class InvalidLandmarks(InvalidInput):
    """Bytes are not a landmark tensor v1."""


class InvalidSetting(InvalidInput):
    """A flag or environment variable has a value that cannot be used."""


class NotFound(SignetError):
    """There is no such clip, dataset, model, run or report."""

    code = "NOT_FOUND"


class AlreadyExists(SignetError):
    """An immutable key is taken."""

    code = "ALREADY_EXISTS"


class Conflict(SignetError):
    """Somebody else changed it between our reading and our writing."""

    code = "ABORTED"


class NotReady(SignetError):
    """Something else has to happen first; the message says what."""

    code = "FAILED_PRECONDITION"


class Busy(SignetError):
    """Too much is under way; later is better."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(SignetError):
    """A store or a service cannot be reached."""

    code = "UNAVAILABLE"


class DeadlineExceeded(SignetError):
    """The caller's time ran out before the work was done."""

    code = "DEADLINE_EXCEEDED"


class DataLoss(SignetError):
    """Stored bytes are not what was written."""

    code = "DATA_LOSS"


_BY_CODE: dict[str, type[SignetError]] = {
    kind.code: kind
    for kind in (
        InvalidInput, NotFound, AlreadyExists, Conflict, NotReady, Busy, Unavailable, DeadlineExceeded, DataLoss,
    )
}  # fmt: skip


def from_code(code: str, message: str) -> SignetError:
    """The error that a server meant by a gRPC status name and its message."""
    return _BY_CODE.get(code, SignetError)(message)
