"""A service whose behaviour its requests name, as a process of its own."""

import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.local.child_processes import Child, free_ports

# A service of our own contract whose behaviour the request names. Run as its own process, as services are.
PROGRAM = """
import asyncio, logging, sys
from signet import errors
from signet.rpc.server import ServiceServer, new_registry, run_service, serve_until_stopped, service_names
from signet.rpc.settings import ServiceSettings
from signet.v1 import extractor_pb2, extractor_pb2_grpc


class Servicer(extractor_pb2_grpc.ExtractorServicer):
    async def ExtractClip(self, request, context):
        what = request.clip_id
        if what == "ClipError":
            raise errors.ClipError("html", "message of ClipError")
        if hasattr(errors, what):
            raise getattr(errors, what)(f"message of {what}")
        if what == "busy for 2.5 s":
            raise errors.Busy("too much", 2.5)
        if what == "log":
            logging.getLogger("own").warning("two\\nlines")
            await asyncio.to_thread(logging.getLogger("own").warning, "from a thread")
        if what == "bug":
            raise ZeroDivisionError("secret detail")
        if what == "timeout":
            raise TimeoutError
        if what.startswith("sleep "):
            print("begun", what, file=sys.stderr, flush=True)
            await asyncio.sleep(float(what.split()[1]))
        return extractor_pb2.ExtractClipResponse(landmarks=request.video)

    async def ExtractClipStream(self, requests, context):
        async for _ in requests:
            yield extractor_pb2.ExtractClipStreamResponse()

    async def ExtractStream(self, requests, context):
        async for _ in requests:
            yield extractor_pb2.ExtractStreamResponse()

    async def WatchExtraction(self, request, context):
        for n in range(3):
            yield extractor_pb2.WatchExtractionResponse(progress=extractor_pb2.ExtractionProgress(extracted=n))
        if request.extraction_id:
            raise errors.NotFound(f"no such extraction: {request.extraction_id * 100}")


async def main(settings):
    server = ServiceServer(settings, new_registry())
    (name,) = service_names(extractor_pb2)
    server.add(name, extractor_pb2_grpc.add_ExtractorServicer_to_server, Servicer())
    async def drain():
        print("own work drained", file=sys.stderr)
    await serve_until_stopped(server, drain)


run_service(ServiceSettings, main)
"""

DRAIN_SECONDS = 2.0


class Served:
    """The program above, running. `before` is Python source that it runs first; `settings` are added to its own."""

    def __init__(self, folder: Path, before: str = "", settings: Mapping[str, str] | None = None) -> None:
        self.program = folder / "program.py"
        self.program.write_text(before + PROGRAM)
        self.port, self.metrics_port = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        environment = {
            "SIGNET_PORT": str(self.port),
            "SIGNET_METRICS_PORT": str(self.metrics_port),
            "SIGNET_DRAIN_SECONDS": str(DRAIN_SECONDS),
            **(settings or {}),
        }
        self.child = Child("served", [sys.executable, str(self.program)], environment, folder / "log")
        self.child.wait_until(lambda: self.health("") == "SERVING", 30)

    def health(self, service: str) -> str:
        with grpc.insecure_channel(self.address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=2
                )
            except grpc.RpcError as error:
                self.health_message = str(error.details())
                return str(error.code().name)
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def wait_until_logged(self, text: str, seconds: float = 60) -> None:
        """Wait until its log has a text, such as `begun WHAT` of a call that sleeps."""
        self.child.wait_until(lambda: text in self.child.log.read_text(), seconds)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    yield running
    running.child.stop(10)
