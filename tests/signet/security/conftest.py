"""A small service with the real server around it, on a thread, with TLS and tokens as its settings say."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from signet.rpc.server import ServiceServer
from signet.rpc.settings import ServiceSettings
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc
from tests.certificates import Authority, Pair


class EchoServicer(extractor_pb2_grpc.ExtractorServicer, evaluator_pb2_grpc.RecognizerServicer):
    """Answers at once."""

    # The methods are those of the contract.
    # ruff: noqa: N802
    async def ExtractClip(self, request: Any, context: Any) -> Any:
        return extractor_pb2.ExtractClipResponse(landmarks=request.video)

    async def ExtractClipStream(self, requests: Any, context: Any) -> Any:
        async for request in requests:
            yield extractor_pb2.ExtractClipStreamResponse(landmarks=request.chunk)

    async def StartExtraction(self, request: Any, context: Any) -> Any:
        return extractor_pb2.StartExtractionResponse(extraction_id="x")

    async def Recognize(self, request: Any, context: Any) -> Any:
        gloss = request.video.decode(errors="replace")
        return evaluator_pb2.RecognizeResponse(predictions=[evaluator_pb2.Prediction(gloss=gloss, probability=0.5)])

    async def WatchExtraction(self, request: Any, context: Any) -> Any:
        yield extractor_pb2.WatchExtractionResponse()


@contextmanager
def secured(**settings: Any) -> Iterator[ServiceServer]:
    """A server with these settings; `port` is where it listens on 127.0.0.1."""
    started: Queue[ServiceServer | BaseException] = Queue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        try:
            server = ServiceServer(ServiceSettings(_cli_parse_args=False, **settings), CollectorRegistry())
            server.add("signet.v1.Extractor", extractor_pb2_grpc.add_ExtractorServicer_to_server, EchoServicer())
            server.add("signet.v1.Recognizer", evaluator_pb2_grpc.add_RecognizerServicer_to_server, EchoServicer())
            await server.start()
        except BaseException as error:  # noqa: BLE001  (the test gets it)
            started.put(error)
            return
        started.put(server)
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        server = started.get(timeout=30)
        if isinstance(server, BaseException):
            raise server
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, which no setting names."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="session")
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


@pytest.fixture(scope="session")
def client_pair(authority: Authority) -> Pair:
    return authority.issue("client", hosts=("client.example",))


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"
