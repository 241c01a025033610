"""When a call is sent again: after which status, after which time, and within which deadline."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from signet.errors import Busy, InvalidInput, SignetError, Unavailable
from signet.rpc.client import to_signet_error
from signet.rpc.probe import describe_listener
from signet.rpc.retry import read_retry_seconds
from signet.security.credentials import ChannelSecurity
from signet.telemetry.request_ids import REQUEST_ID_KEY, is_request_id, new_request_id
from signet.telemetry.tracing import CallSpan

# The details of gRPC if there is no connection to a server.
_NO_CONNECTION = ("failed to connect", "DNS resolution failed", "Name resolution failure")
_PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is sent again, and when.

    The waiting time before attempt n + 1 is random between 0 and `first_seconds` * 2^(n - 1), at most `most_seconds`.
    If the server says after which time to retry, this time is added. A call is never sent again after its deadline.

    Attributes:
        attempts: the most attempts of a call; 1 for no retry.
        first_seconds: the longest wait before the second attempt.
        most_seconds: the longest wait before any attempt.
        codes: names of the statuses after which a call is sent again. A server has not begun to work on such a call, or
            the work has no effect. Statuses such as INVALID_ARGUMENT would only come again.
    """

    attempts: int = 5
    first_seconds: float = 0.2
    most_seconds: float = 5.0
    codes: tuple[str, ...] = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")

    def wait_seconds(self, attempt: int, hint: float | None) -> float:
        """The seconds to wait after this attempt (from 1), with the server's hint if it gave one."""
        longest = min(self.most_seconds, self.first_seconds * 2 ** (attempt - 1))
        return (hint or 0.0) + random.uniform(0.0, longest)  # noqa: S311  (spreads calls; it is no secret)


class RetriedCall:
    """One call: its id, its deadline and its attempts. It knows when to send again, but sends nothing itself.

    Args:
        policy: when the call is sent again.
        seconds: the time until its deadline.
        server: the address, for messages.
        request_id: the id of the call; "" makes a new one.
        name_input: puts the name of the input into the message of an error about the input.
        span: begins the span of the call with its id; None for no span.
        security: gives the token, and the TLS by which a failed connection is explained; None for neither.

    Raises:
        InvalidInput: the id cannot be used.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        seconds: float,
        server: str,
        request_id: str = "",
        name_input: Callable[[str], str] = str,
        span: Callable[[str], CallSpan] | None = None,
        security: ChannelSecurity | None = None,
    ) -> None:
        if request_id and not is_request_id(request_id):
            raise InvalidInput(
                f"request_id={request_id!r} cannot be used. Give 1 to 128 letters, digits and signs of ._:/+=-"
            )
        self.request_id = request_id or new_request_id()
        self._name_input = name_input
        self._policy = policy
        self._server = server
        self._end = time.monotonic() + seconds
        self._attempt = 1
        self._span = span(self.request_id) if span else None
        self._security = security
        self._code = "CANCELLED"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.end("OK" if error is None else self._code)

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """The metadata of each attempt."""
        token = self._security.metadata() if self._security else ()
        return ((REQUEST_ID_KEY, self.request_id), *token, *(self._span.metadata if self._span else ()))

    def remaining(self) -> float:
        """The seconds until the deadline."""
        return max(0.001, self._end - time.monotonic())

    def wait_after(self, error: Any) -> float | None:
        """The seconds to wait before the next attempt; None if there is none."""
        if error.code().name not in self._policy.codes or self._attempt >= self._policy.attempts:
            return None
        if not isinstance(to_signet_error(error), Busy | Unavailable):
            return None  # for example a message that is too large
        seconds = self._policy.wait_seconds(self._attempt, read_retry_seconds(error.trailing_metadata()))
        if seconds >= self.remaining():
            return None
        self._attempt += 1
        return seconds

    def _explain_missing_connection(self) -> str:
        seconds = min(_PROBE_SECONDS, self.remaining())
        if self._security is None:
            return describe_listener(self._server, seconds)
        return describe_listener(self._server, seconds, self._security.tls_context(), self._security.server_name)

    def to_error(self, error: Any) -> SignetError:
        """The error to raise for the last attempt. It can take some seconds to find out why there is no connection."""
        self._code, details = error.code().name, error.details() or ""
        if error.code() is grpc.StatusCode.UNAVAILABLE and details.startswith(_NO_CONNECTION):
            reason = self._explain_missing_connection()
            raised: SignetError = Unavailable(
                f"{self._server}: no evaluator answers at this address{reason and f' ({reason})'}. Start one "
                "(`signet up`), or name the address of another."
            )
        else:
            raised = to_signet_error(error, self._server)
        if type(raised) is InvalidInput:
            raised = InvalidInput(self._name_input(str(raised)))
        raised.request_id = raised.request_id or self.request_id
        raised.add_note(f"request id: {raised.request_id}")
        return raised
