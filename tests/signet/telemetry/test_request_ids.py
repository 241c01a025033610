"""Which ids a call may have, and where its id is found again."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from signet.errors import Busy, SignetError
from signet.rpc.client import Client, signet_errors
from signet.telemetry.request_ids import is_request_id, new_request_id, read_request_id
from signet.v1 import extractor_pb2
from tests.signet.rpc.conftest import Served


def test_a_new_id_is_valid_and_unique() -> None:
    assert len({new_request_id() for _ in range(100)}) == 100
    assert is_request_id(new_request_id())


def test_an_id_has_a_length_and_characters_that_a_log_can_carry() -> None:
    assert is_request_id("a" * 128)
    for wrong in ("", "a" * 129, "a b", "a\n", "a\x1b[2J", "é", '"', b"a", None):
        assert not is_request_id(wrong)
        assert read_request_id([("x-request-id", wrong)]) == ""  # type: ignore[list-item]


def test_the_id_of_a_call_is_read_from_its_metadata() -> None:
    assert read_request_id([("other", "x"), ("x-request-id", "id-1")]) == "id-1"
    assert read_request_id(None) == read_request_id([]) == ""


Request = extractor_pb2.ExtractClipRequest


def answered_id(served: Served, request: Any, *sent: tuple[str, str], streaming: bool = False) -> str:
    """The id that comes back with the status of a call."""
    with Client(extractor=served.address) as client:
        stub = client.extractor
        if streaming:
            call = stub.WatchExtraction(extractor_pb2.WatchExtractionRequest(), timeout=20, metadata=sent)
            list(call)
        else:
            call = stub.ExtractClip.future(request, timeout=20, metadata=sent)
        return read_request_id(call.trailing_metadata())


@pytest.mark.parametrize("streaming", [False, True])
def test_the_id_of_a_call_comes_back_with_every_answer(served: Served, streaming: bool) -> None:
    assert answered_id(served, Request(), ("x-request-id", "mine-1"), streaming=streaming) == "mine-1"
    made = {answered_id(served, Request(), streaming=streaming) for _ in range(3)}
    assert len(made) == 3, "the server gives an id to a call that has none"
    assert all(made)
    for wrong in ("two words", "x" * 129):
        assert is_request_id(answered_id(served, Request(), ("x-request-id", wrong), streaming=streaming))


@pytest.mark.parametrize("what", ["NotFound", "busy for 2.5 s", "bug", "timeout"])
def test_the_id_of_a_call_comes_back_with_every_error(served: Served, what: str) -> None:
    with Client(extractor=served.address) as client, pytest.raises(SignetError) as caught, signet_errors():
        client.extractor.ExtractClip(Request(clip_id=what), timeout=20, metadata=[("x-request-id", f"mine-{what[:3]}")])
    assert caught.value.request_id == f"mine-{what[:3]}"
    if isinstance(caught.value, Busy):
        assert caught.value.retry_seconds == 2.5
    with grpc.insecure_channel(served.address) as channel, pytest.raises(grpc.RpcError) as unknown:
        channel.unary_unary("/no/such")(b"", timeout=20, metadata=[("x-request-id", "mine")])
    assert read_request_id(unknown.value.trailing_metadata()) == "mine"


def log_of_call(served: Served, what: str, request_id: str) -> str:
    """What a call adds to the log."""
    before = served.child.log.read_text()
    with Client(extractor=served.address) as client:
        try:
            client.extractor.ExtractClip(Request(clip_id=what), timeout=20, metadata=[("x-request-id", request_id)])
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL:
                assert request_id in error.details()
    return served.child.log.read_text().removeprefix(before)


def test_every_line_of_the_log_of_a_call_has_its_id(served: Served) -> None:
    lines = log_of_call(served, "log", "mine-2").splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "two\\nlines (request mine-2)",
        "from a thread (request mine-2)",
    ]
    first, *_ = log_of_call(served, "bug", "mine-3").splitlines()
    assert first.endswith("signet.v1.Extractor/ExtractClip failed (request mine-3)")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that logs text."""
    running = Served(tmp_path_factory.mktemp("text"))
    yield running
    running.child.stop(10)


@pytest.fixture(scope="module")
def json_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that logs JSON."""
    running = Served(tmp_path_factory.mktemp("json"), settings={"SIGNET_LOG_FORMAT": "json"})
    yield running
    running.child.stop(10)


def test_a_log_in_json_has_one_object_a_line_with_the_id_of_the_call(json_served: Served) -> None:
    events = [json.loads(line) for line in log_of_call(json_served, "log", "mine-4").splitlines()]
    assert [event["message"] for event in events] == ["two\nlines", "from a thread"]
    for event in events:
        assert event["time"].endswith("+00:00")
        assert {key: event[key] for key in ("level", "logger", "service", "request_id")} == {
            "level": "WARNING",
            "logger": "own",
            "service": "signet",
            "request_id": "mine-4",
        }
    (failed,) = [json.loads(line) for line in log_of_call(json_served, "bug", "mine-5").splitlines()]
    assert failed["request_id"] == "mine-5"
    assert failed["traceback"].startswith("Traceback")
    assert "ZeroDivisionError: secret detail" in failed["traceback"]
    every = [json.loads(line) for line in json_served.child.log.read_text().splitlines()]
    (start,) = [event for event in every if event["message"].startswith("listening on")]
    assert "request_id" not in start
