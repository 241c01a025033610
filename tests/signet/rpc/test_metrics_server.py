"""The page of metrics under attack: connections that are held, slow, or send too much."""

import gzip
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from signet.rpc import metrics_server
from signet.rpc.metrics_server import MetricsServer


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    Counter("things", "of the test", registry=registry).inc(3)
    running = MetricsServer("127.0.0.1", 0, registry)
    yield running
    running.stop()


def scrape(server: MetricsServer, headers: dict[str, str] | None = None, path: str = "/metrics") -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers or {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def exchange(server: MetricsServer, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 15) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def test_a_scrape_gets_the_metrics_compressed_if_it_asks_for_that(server: MetricsServer) -> None:
    assert b"things_total 3.0" in scrape(server)
    assert b"things_total 3.0" in gzip.decompress(scrape(server, {"Accept-Encoding": "gzip"}))
    openmetrics = scrape(server, {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.rstrip().endswith(b"# EOF")
    assert b"things_total" not in scrape(server, path="/metrics?name[]=other")


def test_a_thousand_held_connections_take_no_threads_and_a_scrape_is_answered(server: MetricsServer) -> None:
    threads = threading.active_count()
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
        began = time.monotonic()
        for _ in range(5):
            assert b"things_total 3.0" in scrape(server)
        assert time.monotonic() - began < 5
        assert threading.active_count() <= threads  # threads of other tests may end
        assert len(server._open) <= metrics_server.MAX_CONNECTIONS + 1


def test_a_connection_without_a_request_is_closed_after_its_time(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "_CONNECTION_SECONDS", 1.0)
    began = time.monotonic()
    assert exchange(server, b"GET /metrics HTTP/1.1\r\nHost: ") == b""
    assert 0.5 < time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", b""),
        (b"GET / HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x00\xc8\r\n\r\n", b"HTTP/1.1 400 "),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
    ],
)
def test_a_request_that_cannot_be_used_is_refused(server: MetricsServer, data: bytes, answer: bytes) -> None:
    assert exchange(server, data).startswith(answer)
    assert b"things_total 3.0" in scrape(server)


def test_a_taken_port_is_an_error(server: MetricsServer) -> None:
    with pytest.raises(OSError, match="in use"):
        MetricsServer("127.0.0.1", server.port, CollectorRegistry())
