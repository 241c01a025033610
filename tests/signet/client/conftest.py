"""A server whose answers a test writes down, and both clients behind the same calls."""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from signet.client import (
    AsyncSignetClient,
    ClipSource,
    LandmarkPart,
    Recognition,
    RetryPolicy,
    ServedModelStatus,
    SignetClient,
)
from signet.errors import SignetError
from signet.rpc.limits import SERVER_OPTIONS
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc

QUICK = RetryPolicy(first_seconds=0.02)


class ScriptedServer(evaluator_pb2_grpc.RecognizerServicer, extractor_pb2_grpc.ExtractorServicer):
    """Ends its calls with the statuses of `script`, one for each call, and answers the calls after them."""

    def __init__(self) -> None:
        self.script: list[tuple[grpc.StatusCode, str, dict[str, str]]] = []
        self.calls: list[dict[str, str]] = []  # the metadata of each call
        self.remaining: list[float] = []  # the seconds until the deadline of each call
        self.times: list[float] = []
        self.busy = 0
        self.most_busy = 0
        self.seconds = 0.0  # of work for each answer
        self.videos: list[bytes] = []
        self._lock = threading.Lock()
        self.left = threading.Event()

    def _begin(self, context: Any) -> None:
        with self._lock:
            self.calls.append(dict(context.invocation_metadata()))
            self.remaining.append(context.time_remaining())
            self.times.append(time.monotonic())
            step = self.script.pop(0) if self.script else None
        if step is not None:
            code, details, metadata = step
            context.set_trailing_metadata(tuple(metadata.items()))
            context.abort(code, details)

    def Recognize(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._begin(context)
        with self._lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        context.add_callback(self.left.set)
        time.sleep(self.seconds)
        with self._lock:
            self.busy -= 1
        gloss = request.video.decode(errors="replace")
        if gloss == "bad":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "video: not a video. Send one.")
        return evaluator_pb2.RecognizeResponse(predictions=[evaluator_pb2.Prediction(gloss=gloss, probability=0.5)])

    def ExtractClipStream(self, requests: Any, context: Any) -> Any:  # noqa: N802
        self._begin(context)
        context.add_callback(self.left.set)
        received = list(requests)
        time.sleep(self.seconds)
        video = b"".join(request.chunk for request in received)
        self.videos.append(video)
        if len(video) != received[0].size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the video is not complete")
        for part in range(2):
            for piece in (b"one ", b"two"):
                yield extractor_pb2.ExtractClipStreamResponse(landmarks=piece, part=part)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """The server, which listens at `address`."""
    servicer = ScriptedServer()
    server = grpc.server(ThreadPoolExecutor(16), options=SERVER_OPTIONS)
    evaluator_pb2_grpc.add_RecognizerServicer_to_server(servicer, server)
    extractor_pb2_grpc.add_ExtractorServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    server.start()
    yield servicer
    server.stop(None).wait()


class Caller:
    """Calls the methods of one of both clients, each call with a client of its own."""

    def __init__(self, asynchronous: bool) -> None:
        self._asynchronous = asynchronous

    def recognise(
        self, address: str, clip: ClipSource, *, top_k: int = 0, model: tuple[str, str] = ("", ""), **options: Any
    ) -> Recognition:
        """Recognise with a client of these options; `model` is the name and the version of the call."""
        options = {"retry": QUICK, **options}
        model_name, model_version = model
        if not self._asynchronous:
            with SignetClient(address, **options) as client:
                return client.recognise(clip, top_k=top_k, model_name=model_name, model_version=model_version)

        async def call() -> Recognition:
            async with AsyncSignetClient(address, **options) as client:
                return await client.recognise(clip, top_k=top_k, model_name=model_name, model_version=model_version)

        return asyncio.run(call())

    def serving(self, address: str, model_name: str = "") -> tuple[ServedModelStatus, ...]:
        if not self._asynchronous:
            with SignetClient(address) as client:
                return client.serving(model_name)

        async def call() -> tuple[ServedModelStatus, ...]:
            async with AsyncSignetClient(address) as client:
                return await client.serving(model_name)

        return asyncio.run(call())

    def recognise_many(
        self, address: str, clips: Iterable[ClipSource], concurrency: int
    ) -> list[Recognition | SignetError]:
        if not self._asynchronous:
            with SignetClient(address, retry=QUICK) as client:
                return list(client.recognise_many(clips, concurrency=concurrency))

        async def call() -> list[Recognition | SignetError]:
            async with AsyncSignetClient(address, retry=QUICK) as client:
                return [answer async for answer in client.recognise_many(clips, concurrency=concurrency)]

        return asyncio.run(call())

    def extract(self, address: str, video: Any, **options: Any) -> list[LandmarkPart]:
        options = {"retry": QUICK, "extractor": address, **options}
        if not self._asynchronous:
            with SignetClient(address, **options) as client:
                return list(client.extract(video))

        async def call() -> list[LandmarkPart]:
            async with AsyncSignetClient(address, **options) as client:
                return [part async for part in client.extract(video)]

        return asyncio.run(call())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """The client for threads, and the one for asyncio."""
    return Caller(request.param)
