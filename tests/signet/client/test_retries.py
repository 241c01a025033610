"""When the clients send a call again."""

import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from signet.client import RetryPolicy
from signet.client.retries import RetriedCall
from signet.errors import Busy, DeadlineExceeded, InvalidInput, InvalidSetting, NotFound, SignetError, Unavailable
from signet.rpc.retry import RETRY_KEY

if TYPE_CHECKING:
    from tests.signet.client.conftest import Caller, ScriptedServer

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_is_sent_again_while_the_server_is_busy_or_away(caller: "Caller", scripted: "ScriptedServer") -> None:
    scripted.script = [(EXHAUSTED, "busy", {}), (UNAVAILABLE, "Socket closed", {}), (EXHAUSTED, "busy", {})]
    assert caller.recognise(scripted.address, b"book").best.gloss == "book"  # type: ignore[attr-defined,union-attr]
    assert len(scripted.calls) == 4
    assert len({call["x-request-id"] for call in scripted.calls}) == 1, "all attempts are one call in the logs"
    deadlines = [began + left for began, left in zip(scripted.times, scripted.remaining, strict=True)]
    assert max(deadlines) - min(deadlines) < 0.2, "and have one deadline"


def test_a_call_waits_for_as_long_as_the_server_says(caller: "Caller", scripted: Any) -> None:
    scripted.script = [(EXHAUSTED, "busy", {RETRY_KEY: "300"})]
    caller.recognise(scripted.address, b"book")
    assert 0.3 <= scripted.times[1] - scripted.times[0] < 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.INTERNAL, SignetError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.PERMISSION_DENIED, SignetError),
        (grpc.StatusCode.UNIMPLEMENTED, Unavailable),
    ],
)
def test_a_call_that_would_fail_again_is_not_sent_again(
    caller: "Caller", scripted: Any, code: grpc.StatusCode, kind: type[SignetError]
) -> None:
    scripted.script = [(code, "why", {})]
    with pytest.raises(kind) as caught:
        caller.recognise(scripted.address, b"book")
    assert "why" in str(caught.value)
    (call,) = scripted.calls
    assert caught.value.request_id == call["x-request-id"]
    assert caught.value.__notes__ == [f"request id: {call['x-request-id']}"]


def test_the_last_error_is_raised_after_all_attempts(caller: "Caller", scripted: Any) -> None:
    scripted.script = [(EXHAUSTED, f"busy {number}", {}) for number in range(9)]
    with pytest.raises(Busy, match="busy 2"):
        caller.recognise(scripted.address, b"book", retry=RetryPolicy(attempts=3, first_seconds=0.01))
    assert len(scripted.calls) == 3
    with pytest.raises(Busy):
        caller.recognise(scripted.address, b"book", retry=RetryPolicy(attempts=1))
    assert len(scripted.calls) == 4


def test_no_call_is_sent_after_its_deadline(caller: "Caller", scripted: Any) -> None:
    scripted.script = [(EXHAUSTED, "busy", {RETRY_KEY: "5000"})]
    began = time.monotonic()
    with pytest.raises(Busy) as caught:
        caller.recognise(scripted.address, b"book", timeout=1.0)
    assert time.monotonic() - began < 1, "the client does not wait for nothing"
    assert caught.value.retry_seconds == 5
    assert len(scripted.calls) == 1


def test_a_slow_answer_ends_the_call_at_its_deadline(caller: "Caller", scripted: Any) -> None:
    scripted.seconds = 1.0
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"127\.0\.0\.1.* no answer came within the deadline"):
        caller.recognise(scripted.address, b"book", timeout=0.3)
    assert time.monotonic() - began < 0.9
    assert scripted.left.wait(5), "the server knows that the caller has gone"


def test_an_address_without_a_server_is_an_error_that_says_what_listens_there(caller: "Caller") -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=rf"{address}: no evaluator answers.*\(nothing listens there\)"):
            caller.recognise(address, b"book")
    with pytest.raises(InvalidSetting, match="Give host:port"):
        caller.recognise("http://localhost:1", b"book")


def test_the_waiting_time_grows_and_is_random() -> None:
    policy = RetryPolicy(first_seconds=1.0, most_seconds=3.0)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 3.0), (9, 3.0)):
        waits = [policy.wait_seconds(attempt, None) for _ in range(200)]
        assert 0 <= min(waits) < 0.2 * longest
        assert 0.8 * longest < max(waits) <= longest
    assert 5 <= policy.wait_seconds(1, 5.0) <= 6


def test_an_id_that_no_log_can_carry_is_refused() -> None:
    with pytest.raises(InvalidInput, match="request_id="):
        RetriedCall(RetryPolicy(), 1.0, "a:1", "two words")
    assert RetriedCall(RetryPolicy(), 1.0, "a:1", "mine").metadata == (("x-request-id", "mine"),)
