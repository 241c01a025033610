"""Requests that never arrive completely, or that are many and large, against the memory of a server."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import grpc
import pytest

from signet.errors import Busy
from signet.rpc.client import Client
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.rpc.receiving import MAX_SLOW_REQUESTS, RequestReceiver
from signet.v1 import extractor_pb2
from tests.signet.rpc.conftest import Served
from tests.signet.rpc.http2 import HalfClient

EXTRACT = "/signet.v1.Extractor/ExtractClip"
DECLARED, SENT = MAX_MESSAGE_BYTES, 28 * 2**20


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """A server of its own, so that its peak of memory is that of one test."""
    running = Served(tmp_path)
    yield running
    running.child.stop(10)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Served]:
    """A server whose requests must arrive within 3 s."""
    running = Served(tmp_path, "from signet.rpc import receiving\nreceiving.RECEIVE_SECONDS = 3.0\n")
    yield running
    running.child.stop(10)


def memory(served: Served, field: str) -> int:
    """A field of /proc/<pid>/status in bytes: VmHWM for the peak, VmRSS for now."""
    (line,) = (
        line for line in Path(f"/proc/{served.child.pid}/status").read_text().splitlines() if line.startswith(field)
    )
    return 1024 * int(line.split()[1])


def wait_until(check: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(("connections", "calls"), [(1, 12), (12, 1)])
def test_half_sent_messages_do_not_fill_the_memory(impatient: Served, connections: int, calls: int) -> None:
    before = memory(impatient, "VmHWM")
    with ExitStack() as stack, Client(extractor=impatient.address) as client:
        clients = [stack.enter_context(HalfClient(impatient.port)) for _ in range(connections)]
        streams = [(half, half.call(EXTRACT)) for half in clients for _ in range(calls)]
        threads = [Thread(target=half.send_part, args=(stream, DECLARED, SENT)) for half, stream in streams]
        for thread in threads:
            thread.start()
        for _ in range(20):
            request = extractor_pb2.ExtractClipRequest(video=bytes(300_000))
            assert len(client.extractor.ExtractClip(request, timeout=10).landmarks) == 300_000
        for thread in threads:
            thread.join()
        assert memory(impatient, "VmHWM") - before < 240 * 2**20  # 336 MiB were sent
        # The few that may go on end after their time.
        wait_until(lambda: all(stream in half.ended for half, stream in streams), 20)
        for half, stream in streams:
            refusal = half.answers[stream]
            assert b"arrive slowly" in refusal or b"did not arrive completely" in refusal
    wait_until(lambda: memory(impatient, "VmRSS") - before < 100 * 2**20, 10)


def test_a_request_that_stops_arriving_ends_with_deadline_exceeded(impatient: Served) -> None:
    with HalfClient(impatient.port) as half:
        began = time.monotonic()
        stream = half.call(EXTRACT)
        half.send_part(stream, 1000, 500)
        wait_until(lambda: stream in half.ended, 10)
        assert 2 < half.ended[stream] - began < 8
        assert b"grpc-status\x014" in half.answers[stream]
        assert b"did not arrive completely within 3 s" in half.answers[stream]


def test_more_stalled_calls_than_the_server_allows_leave_room_for_others(fresh: Served) -> None:
    with ExitStack() as stack, Client(extractor=fresh.address) as client:
        clients = [stack.enter_context(HalfClient(fresh.port)) for _ in range(3)]
        for half in clients:
            for _ in range(100):
                half.send_part(half.call(EXTRACT), 1000, 500)
        wait_until(lambda: sum(len(half.ended) for half in clients) >= 300 - MAX_SLOW_REQUESTS, 3)
        assert client.extractor.ExtractClip(extractor_pb2.ExtractClipRequest(video=b"v"), timeout=5).landmarks == b"v"
        assert fresh.health("") == "SERVING"


def test_large_invalid_requests_of_one_client_at_a_time_and_many_at_once_keep_the_memory_small(fresh: Served) -> None:
    before = memory(fresh, "VmRSS")
    request = extractor_pb2.ExtractClipRequest(video=bytes(MAX_MESSAGE_BYTES), clip_id="InvalidInput")

    def send(_number: int) -> set[str]:
        codes = set()
        with Client(extractor=fresh.address) as client:
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as raised:
                    client.extractor.ExtractClip(request, timeout=60)
                codes.add(raised.value.code().name)
        return codes

    with ThreadPoolExecutor(8) as pool:
        codes = set().union(*pool.map(send, range(8)))
    assert "INVALID_ARGUMENT" in codes
    assert codes <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert "Traceback" not in fresh.child.log.read_text()
    wait_until(lambda: memory(fresh, "VmRSS") - before < 100 * 2**20, 10)


def test_large_requests_are_refused_while_others_are_worked_on() -> None:
    async def hold() -> None:
        receiver = RequestReceiver()
        with receiver.hold(MAX_MESSAGE_BYTES), receiver.hold(3 * 2**20):
            with pytest.raises(Busy, match=r"33554432 bytes\. Try again in 2 s") as raised, receiver.hold(1 << 25):
                pass
            assert raised.value.retry_seconds == 2
            with receiver.hold(10 * 2**20):
                pass
        with receiver.hold(MAX_MESSAGE_BYTES + 1000):  # the largest clip and the other fields of its message
            pass

    asyncio.run(hold())


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_that_grpc_itself_refuses_leaves_no_traceback_in_the_log(
    fresh: Served, compression: grpc.Compression
) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(fresh.address, options, compression) as channel:
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(EXTRACT)(bytes(DECLARED + 2**20), timeout=30)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Traceback" not in fresh.child.log.read_text()
