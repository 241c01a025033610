"""Each service behind a real server on a thread of its own, with a directory store, for tests that attack all calls."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from queue import Queue

import grpc
from prometheus_client import CollectorRegistry

from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.service import ExtractorServicer
from services.extractor.settings import ExtractorSettings
from services.extractor.streams.pool import StreamPool
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.queue import TrainingQueue
from services.trainer.service import TrainerServicer
from services.trainer.settings import TrainerSettings
from signet.rpc.gpu import Nvml
from signet.rpc.limits import CHANNEL_OPTIONS, SERVER_OPTIONS
from signet.rpc.server import ServiceServer
from signet.store import DirectoryStore
from signet.v1 import extractor_pb2_grpc, trainer_pb2_grpc

Serve = Callable[[], AbstractAsyncContextManager[ServiceServer]]


@contextmanager
def listening(serve: Serve) -> Iterator[str]:
    """A server on a thread of its own, and its address."""
    started: Queue[int] = Queue()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        async with serve() as server:
            await server.start()
            started.put(server.port)
            await stop.wait()
            await server.stop()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        yield f"127.0.0.1:{started.get(timeout=60)}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def serving(serve: Serve) -> Iterator[grpc.Channel]:
    """A server on a thread of its own, and a channel to it."""
    with listening(serve) as address, grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield channel


@asynccontextmanager
async def trainer(store: DirectoryStore) -> AsyncIterator[ServiceServer]:
    """A trainer. Its runs fail as soon as they start, if the store has no clips."""
    registry = CollectorRegistry()
    runs = TrainingQueue(store, TrainerMetrics(registry), Nvml())
    server = ServiceServer(TrainerSettings(_cli_parse_args=False), registry)
    server.add("signet.v1.Trainer", trainer_pb2_grpc.add_TrainerServicer_to_server, TrainerServicer(runs))
    yield server
    await asyncio.to_thread(runs.close)


@asynccontextmanager
async def extractor(store: DirectoryStore, wlasl: Path, **settings: object) -> AsyncIterator[ServiceServer]:
    """An extractor with metadata of one gloss and no clip, which are written to the folder `wlasl`."""
    (wlasl / "clips").mkdir(parents=True)
    instance = {"video_id": "1", "split": "train", "signer_id": 1, "frame_start": 1, "frame_end": -1, "fps": 25}
    (wlasl / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": [instance]}]))
    registry = CollectorRegistry()
    metrics = ExtractorMetrics(registry)
    with WorkerPool(1, 60.0) as workers:
        extractions = ExtractionQueue(wlasl, None, store, workers, metrics)
        own = ExtractorSettings(_cli_parse_args=False, **settings)  # type: ignore[arg-type]
        server = ServiceServer(own, registry)
        servicer = ExtractorServicer(extractions, workers, metrics, streams=StreamPool(own.picture_streams))
        server.add("signet.v1.Extractor", extractor_pb2_grpc.add_ExtractorServicer_to_server, servicer)
        server.before_stop = servicer.stop_streams
        yield server
        servicer.close()


@contextmanager
def stand_in_extractor(servicer: extractor_pb2_grpc.ExtractorServicer, threads: int) -> Iterator[str]:
    """The address of a server with this servicer, for tests of what its callers do."""
    server = grpc.server(ThreadPoolExecutor(threads), options=SERVER_OPTIONS)
    extractor_pb2_grpc.add_ExtractorServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
