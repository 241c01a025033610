"""Traces of calls, received by a small collector that speaks OTLP over HTTP."""

import asyncio
import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.evaluator.__main__ import evaluator
from signet import landmarks
from signet.client import AsyncSignetClient, SignetClient
from signet.errors import InvalidInput, InvalidSetting
from signet.rpc.client import Client
from signet.store import DirectoryStore
from signet.telemetry.tracing import open_tracing, span, trace_metadata
from signet.v1 import extractor_pb2
from tests.conftest import ROOT
from tests.servers import extractor, listening
from tests.services.evaluator.conftest import GLOSSES, World, everyday_clips, make_clip, place_of
from tests.signet.rpc.conftest import Served


class Collector(ThreadingHTTPServer):
    """Receives spans at `url`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.spans: list[tuple[str, Any]] = []  # the name of the service, and the span

    def wait_for(self, names: set[str]) -> dict[str, tuple[str, Any]]:
        """Wait for spans of these names: service and span of each."""
        deadline = time.monotonic() + 30
        while not names <= (found := {sent.name: (service, sent) for service, sent in self.spans}).keys():
            assert time.monotonic() < deadline, f"{sorted(names)}: only {sorted(found)}"
            time.sleep(0.05)
        return found


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            data = gzip.decompress(data)
        assert self.path == "/v1/traces"
        assert isinstance(self.server, Collector)
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(names["service.name"], sent) for sent in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def own_spans() -> InMemorySpanExporter:
    """The spans of this program, as an application has them."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.publish(made.snapshot(everyday_clips()))
    return made


def _attributes(sent: Any) -> dict[str, str]:
    return {item.key: item.value.string_value for item in sent.attributes}


def test_a_trace_goes_from_the_client_through_the_evaluator_to_its_stages(
    collector: Collector, own_spans: InMemorySpanExporter, world: World
) -> None:
    clip = landmarks.dump(make_clip("new", "", place_of(2, len(GLOSSES)), frames=40))
    own_spans.clear()
    settings = world.settings(traces_endpoint=collector.url)
    with (
        listening(lambda: evaluator(settings)) as address,
        SignetClient(address, traces=True) as client,
        trace.get_tracer("test").start_as_current_span("of the application"),
    ):
        answer = client.recognise(clip)
    found = collector.wait_for({"signet.v1.Recognizer/Recognize", "prepare", "model", "decode"})
    of_call, of_application = own_spans.get_finished_spans()
    assert of_call.parent is not None
    assert of_call.parent.span_id == of_application.context.span_id
    service, served = found["signet.v1.Recognizer/Recognize"]
    assert service == "signet-evaluator"
    assert served.parent_span_id == of_call.context.span_id.to_bytes(8, "big")
    assert _attributes(served) == {
        "rpc.system": "grpc",
        "rpc.service": "signet.v1.Recognizer",
        "rpc.method": "Recognize",
        "signet.request_id": answer.request_id,
        "rpc.grpc.status": "OK",
    }
    for name in ("prepare", "model", "decode"):
        stage = found[name][1]
        assert stage.parent_span_id == served.span_id
        assert served.start_time_unix_nano <= stage.start_time_unix_nano
        assert stage.end_time_unix_nano <= served.end_time_unix_nano
    assert {sent.trace_id for _, sent in collector.spans} == {of_call.context.trace_id.to_bytes(16, "big")}


def test_a_trace_and_an_id_go_on_to_the_extractor(
    collector: Collector, own_spans: InMemorySpanExporter, world: World, tmp_path: Path
) -> None:
    own_spans.clear()
    store = DirectoryStore(tmp_path / "store")
    with listening(lambda: extractor(store, tmp_path / "wlasl", traces_endpoint=collector.url)) as behind:
        settings = world.settings(traces_endpoint=collector.url, extractor=behind)
        with listening(lambda: evaluator(settings)) as address:

            async def recognise() -> None:
                async with AsyncSignetClient(address, traces=True) as client:
                    await client.recognise(b"<html>", request_id="one-id")

            with pytest.raises(InvalidInput, match="web page") as caught:
                asyncio.run(recognise())
    assert caught.value.request_id == "one-id"
    found = collector.wait_for({"signet.v1.Recognizer/Recognize", "extract", "signet.v1.Extractor/ExtractClip"})
    service, extracted = found["signet.v1.Extractor/ExtractClip"]
    assert service == "signet-extractor"
    assert extracted.parent_span_id == found["extract"][1].span_id
    assert extracted.trace_id == found["signet.v1.Recognizer/Recognize"][1].trace_id
    assert _attributes(extracted)["signet.request_id"] == "one-id"
    assert _attributes(extracted)["rpc.grpc.status"] == "INVALID_ARGUMENT"
    (of_call,) = own_spans.get_finished_spans()
    assert of_call.attributes is not None
    assert of_call.attributes["rpc.grpc.status"] == "INVALID_ARGUMENT"


def test_a_service_traces_as_many_calls_as_it_is_told_and_its_log_names_the_trace(
    collector: Collector, tmp_path: Path
) -> None:
    settings = {
        "SIGNET_LOG_FORMAT": "json",
        "SIGNET_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
        "SIGNET_TRACES_SHARE": "0",
    }
    served = Served(tmp_path, settings=settings)
    parent = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    try:
        with Client(extractor=served.address) as client:
            stub, request = client.extractor, extractor_pb2.ExtractClipRequest(clip_id="log")
            stub.ExtractClip(request, timeout=20)  # not traced, because the share is 0
            stub.ExtractClip(request, timeout=20, metadata=[parent])  # traced, because its caller is
            list(stub.WatchExtraction(extractor_pb2.WatchExtractionRequest(), timeout=20, metadata=[parent]))
    finally:
        served.child.stop(10)
    collector.wait_for({"signet.v1.Extractor/ExtractClip", "signet.v1.Extractor/WatchExtraction"})
    assert len(collector.spans) == 2
    assert all(sent.parent_span_id == b"\xbb" * 8 for _, sent in collector.spans)
    events = [json.loads(line) for line in served.child.log.read_text().splitlines() if '"own"' in line]
    assert len({event["trace_id"] for event in events}) == 2
    assert [event["trace_id"] for event in events[2:]] == ["a" * 32] * 2


def test_a_collector_that_does_not_answer_holds_nothing_up(tmp_path: Path) -> None:
    served = Served(tmp_path, settings={"SIGNET_TRACES_ENDPOINT": "http://127.0.0.1:9"})
    with Client(extractor=served.address) as client:
        began = time.monotonic()
        for _ in range(20):
            client.extractor.ExtractClip(extractor_pb2.ExtractClipRequest(video=b"v"), timeout=20)
        assert time.monotonic() - began < 2
    began = time.monotonic()
    served.child.stop(10)
    assert time.monotonic() - began < 6
    assert "stopped" in served.child.log.read_text()


def test_without_a_collector_nothing_is_imported_and_nothing_recorded() -> None:
    program = "import sys, signet.client, services.evaluator.__main__; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
    assert open_tracing("evaluator", "", 1.0) is None
    assert span("model") is span("decode")
    assert trace_metadata() == ()


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://localhost", "http://", "x"])
def test_an_address_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidSetting, match=r"SIGNET_TRACES_ENDPOINT=.*http://localhost:4318"):
        open_tracing("evaluator", endpoint, 1.0)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidSetting, match=r"pip install 'signet\[tracing\]'"):
        open_tracing("evaluator", "http://localhost:4318", 1.0)
    with pytest.raises(InvalidSetting, match="traces=True"):
        SignetClient("localhost:1", traces=True)
