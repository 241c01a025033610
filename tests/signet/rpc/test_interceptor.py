"""What a server does with calls that no client of ours makes: clear status codes, and no traceback in the log."""

import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc

from signet.errors import InvalidInput, NotFound
from signet.rpc.client import Client, signet_errors
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.v1 import extractor_pb2
from tests.signet.rpc.conftest import Served

NO_MESSAGE = b"\xff\xff\xff"  # a field that never ends

METHODS = [
    *(f"signet.v1.Extractor/{name}" for name in extractor_pb2.DESCRIPTOR.services_by_name["Extractor"].methods_by_name),
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


def call(served: Served, method: str, data: bytes, options: Iterable[tuple[str, int]] = ()) -> tuple[str, str]:
    """Call a method with these bytes as a stream of one request; the status code and its message."""
    with grpc.insecure_channel(served.address, options=list(options)) as channel:
        try:
            list(channel.stream_stream(f"/{method}")(iter([data]), timeout=20))
        except grpc.RpcError as error:
            return error.code().name, str(error.details())
    return "OK", ""


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_does_not_parse_is_an_invalid_argument_and_one_line_in_the_log(
    served: Served, method: str
) -> None:
    before = served.child.log.read_text()
    for _ in range(3):
        code, message = call(served, method, NO_MESSAGE)
        assert code == "INVALID_ARGUMENT"
        assert message.startswith(f"{method}: the request (3 bytes) does not parse.")
    added = served.child.log.read_text().removeprefix(before)
    assert added.count("\n") == 1
    assert f"{method}: refused a request that does not parse" in added


def test_text_that_is_not_utf8_is_an_invalid_argument(served: Served) -> None:
    code, message = call(served, "signet.v1.Extractor/ExtractClip", b"\x12\x02\xff\xfe")  # clip_id
    assert (code, "does not parse" in message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("method", ["signet.v1.Extractor/Track", "signet.v1.Recognizer/Recognize", "x/y", "nonsense"])
def test_an_unknown_method_is_refused_with_the_methods_that_the_server_has(served: Served, method: str) -> None:
    code, message = call(served, method, b"")
    assert code == "UNIMPLEMENTED"
    assert method in message
    service = descriptor_pool.Default().FindServiceByName("signet.v1.Extractor")
    for known in service.methods:
        assert f"/signet.v1.Extractor/{known.name}" in message
    assert 'signet_rpc_requests_total{code="UNIMPLEMENTED",method="unknown"}' in served.metrics()
    assert "signet.v1.Extractor/Track" not in served.metrics()


def test_a_message_over_the_limit_is_refused_with_the_limit(served: Served) -> None:
    video = bytes(MAX_MESSAGE_BYTES + 2**20)
    method = "signet.v1.Extractor/ExtractClip"
    code, message = call(served, method, video, [("grpc.max_send_message_length", -1)])
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in message
    with Client(extractor=served.address) as client, signet_errors():
        with pytest.raises(InvalidInput, match=f"The limit is {MAX_MESSAGE_BYTES} bytes"), signet_errors():
            client.extractor.ExtractClip(extractor_pb2.ExtractClipRequest(video=video), timeout=20)
        # A clip of exactly the limit fits, with the other fields of its message.
        largest = extractor_pb2.ExtractClipRequest(video=bytes(MAX_MESSAGE_BYTES), clip_id="x")
        assert len(client.extractor.ExtractClip(largest, timeout=60).landmarks) == MAX_MESSAGE_BYTES


@pytest.mark.parametrize("name", ["x" * 1000, "手" * 500])
def test_the_message_of_an_error_fits_into_a_header_whatever_the_servicer_says(served: Served, name: str) -> None:
    with Client(extractor=served.address) as client, pytest.raises(NotFound) as caught, signet_errors():
        list(client.extractor.WatchExtraction(extractor_pb2.WatchExtractionRequest(extraction_id=name), timeout=20))
    assert str(caught.value).startswith(f"no such extraction: {name[:100]}")


def test_the_streams_of_the_health_service_work(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        answers = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(answers).status == health_pb2.HealthCheckResponse.SERVING
        answers.cancel()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _call_in_bytes(added: dict[bytes, bytes], body: bytes) -> bytes:
    """The bytes of a call of ExtractClip with these headers in addition (RFC 7541, 6.2.2)."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/signet.v1.Extractor/ExtractClip",
        b":authority": b"x",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
        **added,
    }
    block = b"".join(b"\0" + bytes([len(key)]) + key + bytes([len(text)]) + text for key, text in headers.items())
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 4, 1, block) + _frame(0, 1, 1, body)


FOREIGN: dict[str, bytes] = {
    "a compression that is not known": _call_in_bytes({b"grpc-encoding": b"zstd"}, b"\1\0\0\0\3abc"),
    "compressed without a name of the compression": _call_in_bytes({}, b"\1\0\0\0\3abc"),
    "gzip that is none": _call_in_bytes({b"grpc-encoding": b"gzip"}, b"\1\0\0\0\3abc"),
    "a message that is cut off": _call_in_bytes({}, b"\0\0\0\0\5abc"),
    "JSON": _call_in_bytes({b"content-type": b"application/json"}, b"{}"),
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n",
    "a client with TLS": bytes.fromhex("16030100c8010000c40303") + bytes(197),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_bytes_on_the_port_leave_no_traceback_and_the_next_call_is_answered(served: Served, name: str) -> None:
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.settimeout(1)
        connection.sendall(FOREIGN[name])
        try:
            while data := connection.recv(4096):
                answer += data
        except (TimeoutError, ConnectionResetError):
            pass
    if "compress" in name or "gzip" in name:
        assert b"grpc-message" in answer
    client: Any
    with Client(extractor=served.address) as client:
        assert client.extractor.ExtractClip(extractor_pb2.ExtractClipRequest(video=b"v"), timeout=20).landmarks == b"v"
    assert "Traceback" not in served.child.log.read_text()


LARGE_BYTES = 24 * 2**20
LARGE_CLIP = extractor_pb2.ExtractClipRequest(video=bytes(LARGE_BYTES))
LARGE_NAME = "x" * LARGE_BYTES

# Calls that fail, each with a large request.
FAILING: dict[str, tuple[str, bytes, str]] = {
    "a servicer refuses it": (
        "signet.v1.Extractor/ExtractClip",
        extractor_pb2.ExtractClipRequest(clip_id="InvalidInput", video=bytes(LARGE_BYTES)).SerializeToString(),
        "INVALID_ARGUMENT",
    ),
    "a servicer has a bug": (
        "signet.v1.Extractor/ExtractClip",
        extractor_pb2.ExtractClipRequest(clip_id="bug", video=bytes(LARGE_BYTES)).SerializeToString(),
        "INTERNAL",
    ),
    "the request of a stream is too long": (
        "signet.v1.Extractor/WatchExtraction",
        extractor_pb2.WatchExtractionRequest(extraction_id=LARGE_NAME).SerializeToString(),
        "INVALID_ARGUMENT",
    ),
    "it does not parse": (
        "signet.v1.Extractor/ExtractClip",
        LARGE_CLIP.SerializeToString() + NO_MESSAGE,
        "INVALID_ARGUMENT",
    ),
    "its method is unknown": ("signet.v1.Extractor/Track", LARGE_CLIP.SerializeToString(), "UNIMPLEMENTED"),
    "a question for health is too long": (
        "grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service=LARGE_NAME).SerializeToString(),
        "INVALID_ARGUMENT",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_failed_calls_do_not_keep_their_requests_in_memory(served: Served, name: str) -> None:
    method, data, expected = FAILING[name]
    assert call(served, method, data, [("grpc.max_send_message_length", -1)])[0] == expected
    before = resident_bytes(served)
    for _ in range(12):
        call(served, method, data, [("grpc.max_send_message_length", -1)])
    assert resident_bytes(served) - before < 4 * LARGE_BYTES


def resident_bytes(served: Served) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{served.child.pid}/status").read_text())
    assert found
    return 1024 * int(found[1])
