"""The health check of containers, over gRPC and over the page."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from services.local.child_processes import free_ports
from signet.rpc.health import is_serving
from signet.rpc.metrics_server import MetricsServer
from tests.signet.security.conftest import secured


def test_a_server_is_serving_until_it_stops() -> None:
    with secured() as server:
        addresses = [f"127.0.0.1:{server.port}", f"http://127.0.0.1:{server.metrics_port}/healthz"]
        assert [is_serving(address, 5) for address in addresses] == [True, True]

    assert [is_serving(address, 1) for address in addresses] == [False, False]


def test_an_address_without_a_server_is_not_serving() -> None:
    (port,) = free_ports(1)
    assert not is_serving(f"127.0.0.1:{port}", 0.5)
    assert not is_serving(f"http://127.0.0.1:{port}/healthz", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_serving(f"http://127.0.0.1:{silent.getsockname()[1]}/healthz", 0.3)


def test_a_service_whose_loop_of_calls_is_blocked_is_not_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signet.rpc.metrics_server._HEALTH_SECONDS", 0.3)
    loop = asyncio.new_event_loop()
    blocked, done = threading.Event(), threading.Event()

    async def yes() -> bool:
        return True

    def block() -> None:
        blocked.set()
        done.wait(10)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    pages = MetricsServer("127.0.0.1", 0, CollectorRegistry(), lambda: asyncio.run_coroutine_threadsafe(yes(), loop))
    url = f"http://127.0.0.1:{pages.port}/healthz"
    try:
        assert is_serving(url, 5)
        loop.call_soon_threadsafe(block)
        assert blocked.wait(5)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(url, timeout=5)
        done.set()
        assert is_serving(url, 5)
    finally:
        done.set()
        pages.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_server_of_metrics_alone_has_no_page_of_health() -> None:
    pages = MetricsServer("127.0.0.1", 0, CollectorRegistry())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pages.port}/healthz", timeout=5) as answer:
            assert answer.read() != b"SERVING\n"
    finally:
        pages.stop()
