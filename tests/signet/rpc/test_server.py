"""The server of a service over a real channel: health, reflection, status codes, metrics, graceful stop."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.local.child_processes import free_ports
from signet.errors import (
    AlreadyExists,
    Busy,
    ClipError,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    SignetError,
    Unavailable,
)
from signet.rpc.client import Client, signet_errors
from signet.v1 import evaluator_pb2, extractor_pb2, extractor_pb2_grpc, trainer_pb2
from tests.signet.rpc.conftest import DRAIN_SECONDS, Served


@pytest.fixture
def extract(served: Served) -> Iterator[Callable[..., Any]]:
    with Client(extractor=served.address) as client:

        def call(what: str = "", video: bytes = b"", timeout: float = 5) -> Any:
            with signet_errors():
                return client.extractor.ExtractClip(
                    extractor_pb2.ExtractClipRequest(clip_id=what, video=video), timeout=timeout
                )

        yield call


def _count(metrics: str, method: str, code: str) -> float:
    found = re.search(rf'signet_rpc_requests_total{{code="{code}",method="{method}"}} ([\d.]+)', metrics)
    return float(found[1]) if found else 0.0


def test_health_says_serving_for_the_process_and_for_each_service(served: Served) -> None:
    assert served.health("") == "SERVING"
    assert served.health("signet.v1.Extractor") == "SERVING"
    assert served.health("signet.v1.Nothing") == "NOT_FOUND"
    assert served.health_message.startswith(
        "health of 'signet.v1.Nothing': there is no such service. Known services are"
    )


def test_reflection_lists_the_services(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    names = {service.name for service in answer.list_services_response.service}
    assert {"signet.v1.Extractor", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    "kind",
    [
        InvalidInput, NotFound, AlreadyExists, Conflict, NotReady, Busy, Unavailable, DeadlineExceeded, DataLoss,
        SignetError,
    ],
)  # fmt: skip
def test_an_error_reaches_the_client_as_the_same_error(extract: Callable[..., Any], kind: type[SignetError]) -> None:
    with pytest.raises(kind, match=f"message of {kind.__name__}") as raised:
        extract(kind.__name__)
    assert type(raised.value) is kind


def test_a_clip_error_reaches_the_client_as_invalid_input(extract: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match="message of ClipError") as raised:
        extract(ClipError.__name__)
    assert type(raised.value) is InvalidInput


def test_a_bug_gives_details_to_the_log_and_not_to_the_client(extract: Callable[..., Any], served: Served) -> None:
    with pytest.raises(SignetError, match="unexpected ZeroDivisionError; see the log") as raised:
        extract("bug")
    assert "secret detail" not in str(raised.value)
    assert "secret detail" in served.child.log.read_text()


def test_a_timeout_in_a_servicer_is_deadline_exceeded(extract: Callable[..., Any]) -> None:
    with pytest.raises(DeadlineExceeded, match="Allow more time"):
        extract("timeout")


def test_the_deadline_of_a_caller_is_respected(extract: Callable[..., Any]) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"ExtractClip: not done within the deadline\. Allow more time\."):
        extract("sleep 30", timeout=2)
    assert time.monotonic() - began < 5


def test_a_message_with_a_whole_video_is_accepted(extract: Callable[..., Any]) -> None:
    video = bytes(20 * 1024 * 1024)
    assert extract("", video).landmarks == video


def test_an_unknown_method_is_a_plain_error(served: Served) -> None:
    with Client(trainer=served.address) as client, pytest.raises(SignetError), signet_errors():
        client.trainer.ListRuns(trainer_pb2.ListRunsRequest(), timeout=5)


def test_an_error_ends_a_stream_after_its_responses(served: Served) -> None:
    with Client(extractor=served.address) as client:
        whole = client.extractor.WatchExtraction(extractor_pb2.WatchExtractionRequest(), timeout=5)
        assert [response.progress.extracted for response in whole] == [0, 1, 2]
        seen = []
        with pytest.raises(NotFound, match="no such extraction"), signet_errors():
            seen += client.extractor.WatchExtraction(extractor_pb2.WatchExtractionRequest(extraction_id="x"), timeout=5)


def test_each_call_is_timed_and_counted_by_method_and_code(extract: Callable[..., Any], served: Served) -> None:
    method = "signet.v1.Extractor/ExtractClip"
    before = served.metrics()
    for _ in range(3):
        extract()
    with pytest.raises(NotFound):
        extract("NotFound")
    after = served.metrics()
    assert _count(after, method, "OK") - _count(before, method, "OK") == 3
    assert _count(after, method, "NOT_FOUND") - _count(before, method, "NOT_FOUND") == 1
    assert f'signet_rpc_seconds_count{{method="{method}"}}' in after
    assert "process_resident_memory_bytes" in after


def test_a_call_that_its_caller_cancels_is_counted_as_cancelled(served: Served) -> None:
    method = "signet.v1.Extractor/ExtractClip"
    before = _count(served.metrics(), method, "CANCELLED")
    with Client(extractor=served.address) as client:
        call = client.extractor.ExtractClip.future(extractor_pb2.ExtractClipRequest(clip_id="sleep 31"), timeout=30)
        served.wait_until_logged("begun sleep 31")
        call.cancel()
        deadline = time.monotonic() + 20
        while _count(served.metrics(), method, "CANCELLED") == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_server_listens_only_on_this_machine(served: Served) -> None:
    for port in (served.port, served.metrics_port):
        with socket.socket() as other:
            other.settimeout(2)
            # Another address of this host: refused, since only 127.0.0.1 listens.
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_a_missing_server_is_unavailable() -> None:
    (port,) = free_ports(1)
    with Client(evaluator=f"127.0.0.1:{port}") as client, pytest.raises(Unavailable), signet_errors():
        client.recognizer.Recognize(evaluator_pb2.RecognizeRequest(), timeout=5)


@pytest.mark.parametrize("taken", ["port", "metrics_port"])
def test_a_taken_port_gives_one_log_line_and_exit_status_1(served: Served, taken: str) -> None:
    done = subprocess.run(
        [sys.executable, str(served.program), f"--{taken.replace('_', '-')}", str(getattr(served, taken))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"127.0.0.1:{getattr(served, taken)}" in done.stderr
    assert f"--{taken.replace('_', '-')}" in done.stderr


def test_help_lists_all_settings(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, str(served.program), "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    for flag in ("--store", "--s3-secret-key", "--host", "--port", "--metrics-port", "--drain-seconds", "--log-level"):
        assert flag in done.stdout


@pytest.mark.parametrize(("seconds", "finishes"), [(1.0, True), (60.0, False)])
def test_after_sigterm_calls_may_finish_and_long_ones_are_cancelled(
    tmp_path: Path, seconds: float, finishes: bool
) -> None:
    served = Served(tmp_path)
    try:
        with Client(extractor=served.address) as client:
            call = client.extractor.ExtractClip.future(
                extractor_pb2.ExtractClipRequest(clip_id=f"sleep {seconds}", video=b"v"), timeout=90
            )
            served.wait_until_logged(f"begun sleep {seconds}")
            began = time.monotonic()
            os.kill(served.child.pid, signal.SIGTERM)
            if finishes:
                assert call.result().landmarks == b"v"
            else:
                with pytest.raises(SignetError), signet_errors():
                    call.result()
            while served.child.running:
                assert time.monotonic() - began < DRAIN_SECONDS + 5
                time.sleep(0.05)
        log = served.child.log.read_text()
        assert "own work drained" in log
        assert "signet.rpc.server: stopped" in log
    finally:
        served.child.stop(5)


@pytest.mark.parametrize("callers", [4, 64])
def test_a_stopping_server_resets_no_call_of_callers_that_go_on(tmp_path: Path, callers: int) -> None:
    """Before, gRPC reset the calls that it had received and Python had not begun: their status was CANCELLED."""
    served = Served(tmp_path, settings={"SIGNET_DRAIN_SECONDS": "8"})
    statuses: list[grpc.StatusCode] = []

    async def call_until_refused() -> None:
        async with grpc.aio.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = extractor_pb2_grpc.ExtractorStub(channel)
            while True:
                try:
                    await stub.ExtractClip(extractor_pb2.ExtractClipRequest(clip_id="sleep 0.01"), timeout=30)
                except grpc.aio.AioRpcError as error:
                    statuses.append(error.code())
                    return

    async def main() -> None:
        calls = [asyncio.create_task(call_until_refused()) for _ in range(callers)]
        await asyncio.sleep(1.0)
        os.kill(served.child.pid, signal.SIGTERM)
        began = time.monotonic()
        await asyncio.gather(*calls)
        while served.child.running:
            assert time.monotonic() - began < 8 + 5
            await asyncio.sleep(0.05)

    try:
        asyncio.run(main())
    finally:
        served.child.stop(5)
    assert statuses == [grpc.StatusCode.UNAVAILABLE] * callers


@pytest.mark.parametrize(
    ("variable", "value"), [("SIGNET_PORT", "many"), ("SIGNET_LOG_LEVEL", "loud"), ("SIGNET_STORE", "ftp://x/y")]
)
def test_an_unusable_setting_gives_one_log_line_that_names_it(tmp_path: Path, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.evaluator"],
        env={**os.environ, "SIGNET_STORE": tmp_path.as_uri(), variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert value in done.stderr
    assert variable.removeprefix("SIGNET_").lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
