"""The limits and the checks of connections, between real servers and clients."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from signet.errors import Busy, DeadlineExceeded, Unavailable
from signet.rpc.client import signet_errors
from signet.rpc.limits import CHANNEL_OPTIONS, SERVER_OPTIONS
from signet.v1 import extractor_pb2, extractor_pb2_grpc
from tests.signet.rpc.conftest import Served

Request = extractor_pb2.ExtractClipRequest

# A client with this option pings every second. A server with gRPC's own limits ends its connection after three pings.
PINGS = [("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0)]


def test_a_client_with_keepalive_pings_gets_the_answer_of_a_long_call(served: Served) -> None:
    with grpc.insecure_channel(served.address, options=PINGS) as channel:
        stub = extractor_pb2_grpc.ExtractorStub(channel)
        assert stub.ExtractClip(Request(clip_id="sleep 6", video=b"v"), timeout=20).landmarks == b"v"


def test_a_client_that_pings_without_a_call_keeps_its_connection(served: Served) -> None:
    states: list[str] = []
    options = [*PINGS, ("grpc.keepalive_permit_without_calls", 1)]
    with grpc.insecure_channel(served.address, options=options) as channel:
        channel.subscribe(lambda state: states.append(state.name))
        stub = extractor_pb2_grpc.ExtractorStub(channel)
        stub.ExtractClip(Request(), timeout=20)
        time.sleep(6)
        stub.ExtractClip(Request(), timeout=20)
        # A subscriber may miss a state that soon passes. A connection that ended would add "IDLE".
        assert [state for state in states if state != "CONNECTING"] == ["IDLE", "READY"]


class Network:
    """A TCP relay to a server that can stop to forward bytes, without an end of the connections."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._target = port
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._stack.callback(client.close)
            self._stack.callback(server.close)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.cut.is_set():
                    target.sendall(data)
        except OSError:
            return


@contextmanager
def network(port: int) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(port, stack)


# Dead connections are noticed in 3 s instead of 80 s.
FAST = {"grpc.keepalive_time_ms": 1000, "grpc.http2.ping_timeout_ms": 2000}


def test_a_dead_connection_is_noticed_by_both_sides_during_a_call(tmp_path: Path) -> None:
    server = Served(
        tmp_path,
        "from signet.rpc import limits\n"
        f"limits.SERVER_OPTIONS = [*{{**dict(limits.SERVER_OPTIONS), **{FAST}}}.items()]\n",
    )
    options = [*{**dict(CHANNEL_OPTIONS), **FAST}.items()]
    try:
        with network(server.port) as relay, grpc.insecure_channel(relay.address, options) as channel:
            call = extractor_pb2_grpc.ExtractorStub(channel).ExtractClip.future(Request(clip_id="sleep 90"), timeout=80)
            time.sleep(1)
            assert not call.done()
            relay.cut.set()
            began = time.monotonic()
            with pytest.raises(Unavailable), signet_errors():
                call.result()
            while 'code="CANCELLED"' not in server.metrics():
                assert time.monotonic() - began < 20
                time.sleep(0.2)
        assert time.monotonic() - began < 20
    finally:
        server.child.stop(5)


@pytest.mark.parametrize("options", [CHANNEL_OPTIONS, SERVER_OPTIONS])
def test_a_silent_connection_carries_a_ping_before_a_proxy_forgets_it(options: list[tuple[str, int]]) -> None:
    """The shortest times after which well-known proxies forget a connection: HAProxy 50 s, nginx and AWS ALB 60 s."""
    assert dict(options)["grpc.keepalive_time_ms"] <= 30_000


def test_more_calls_than_the_server_works_on_are_refused_and_health_checks_are_answered(tmp_path: Path) -> None:
    server = Served(tmp_path, 'from signet.rpc import limits\nlimits._MAX_CALLS = {"calls": 8, "streams": 1}\n')
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = extractor_pb2_grpc.ExtractorStub(channel)
            calls = [stub.ExtractClip.future(Request(clip_id="sleep 30"), timeout=60) for _ in range(8)]
            time.sleep(1)
            with pytest.raises(Busy, match=r"works on 8 calls already\. Try again in 1 s\.") as raised, signet_errors():
                stub.ExtractClip(Request(), timeout=10)
            assert raised.value.retry_seconds == 1
            assert server.health("") == "SERVING"
            assert len(list(stub.WatchExtraction(extractor_pb2.WatchExtractionRequest(), timeout=10))) == 3
            for call in calls:
                call.cancel()
            until = time.monotonic() + 10
            while True:
                try:
                    assert stub.ExtractClip(Request(video=b"v"), timeout=10).landmarks == b"v"
                    break
                except grpc.RpcError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
    finally:
        server.child.stop(5)


def test_each_of_600_calls_that_begin_at_once_gets_the_answer_of_the_server(tmp_path: Path) -> None:
    """With a small limit of streams, gRPC ended some with UNAVAILABLE: they begin before the client knows the limit."""
    server = Served(tmp_path, "")
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = extractor_pb2_grpc.ExtractorStub(channel)
            calls = [stub.ExtractClip.future(Request(video=b"v" * 2000), timeout=60) for _ in range(600)]
            codes = {call.code() for call in calls}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    finally:
        server.child.stop(5)


def test_a_call_ends_after_the_longest_time_of_its_server(tmp_path: Path) -> None:
    server = Served(tmp_path, "from signet.rpc import limits\nlimits._MAX_CALL_SECONDS = 1.0\n")
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = extractor_pb2_grpc.ExtractorStub(channel)
            with pytest.raises(DeadlineExceeded, match="not done within the deadline"), signet_errors():
                stub.ExtractClip(Request(clip_id="sleep 30"))
    finally:
        server.child.stop(5)


def test_a_thousand_idle_connections_leave_descriptors_for_calls(tmp_path: Path) -> None:
    """The soft limit is 1,024 in many systems, and the hard one much higher."""
    server = Served(tmp_path, "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))\n")
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
    try:
        with ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10)).sendall(hello)
            with grpc.insecure_channel(server.address) as channel:
                stub = extractor_pb2_grpc.ExtractorStub(channel)
                assert stub.ExtractClip(Request(video=b"v"), timeout=20).landmarks == b"v"
            assert "signet_rpc_requests_total" in server.metrics()
            assert "Too many open files" not in server.child.log.read_text()
    finally:
        server.child.stop(5)
