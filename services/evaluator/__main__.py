"""The evaluator's process: `python -m services.evaluator --help`."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from services.evaluator.enrolment.service import EnrolmentServicer
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.models.service import RegistryServicer
from services.evaluator.reports.queue import EvaluationQueue
from services.evaluator.service import EvaluationServicer, RecognizerServicer
from services.evaluator.serving.compute import Compute
from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.pipeline import Pipeline
from services.evaluator.serving.recognizer import Recognizer
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.streaming.metrics import StreamMetrics
from services.evaluator.streaming.open_streams import OpenStreams
from services.evaluator.streaming.session import StreamServices
from services.evaluator.streaming.windows import WindowQueue
from services.evaluator.versions.lookup import Models
from services.evaluator.versions.model_memory import ModelMemory
from services.evaluator.workers.usable_cores import count_usable_cores
from services.evaluator.workers.worker_pool import ModelWorkerPool
from signet.rpc.server import ServiceServer, new_registry, run_service, serve_until_stopped, service_names
from signet.store import ObjectStore, open_store
from signet.v1 import (
    enrolment_pb2,
    enrolment_pb2_grpc,
    evaluator_pb2,
    evaluator_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
)

_log = logging.getLogger(__name__)

# Python's threads take turns of this length. With the usual 5 ms, a short clip takes three times as long beside a long
# one, because it waits for several turns.
_SWITCH_SECONDS = 0.0005

# This process takes 0.8 ms of a core for each call, and a worker 2 to 4 ms: it has no more to do for more workers.
_MOST_AUTO_PROCESSES = 4

# A load that has begun usually ends within this time. The process ends without it otherwise.
_CLOSE_SECONDS = 0.5
# After the last call, the process ends within this time.
_END_SECONDS = 1.5


@asynccontextmanager
async def evaluator(settings: EvaluatorSettings) -> AsyncIterator[ServiceServer]:
    """Build an evaluator that is ready to start, and that serves new versions as they are published.

    Raises:
        InvalidSetting: the settings name no store.
        Unavailable: the store cannot be reached.
    """
    store = await asyncio.to_thread(open_store, settings)
    registry = new_registry()
    metrics = EvaluatorMetrics(registry)
    async with _start_compute(settings, metrics) as compute, aclosing(ExtractorClient(settings.extractor)) as extractor:
        memory = ModelMemory(
            store,
            metrics,
            compute,
            max_models=settings.max_models,
            max_bytes=settings.model_memory_mib << 20,
        )
        models = Models(memory, settings.model_name, settings.alias, bundled=settings.bundled_model)
        evaluations = EvaluationQueue(store, metrics, commit=settings.commit, threads=settings.threads)
        await asyncio.to_thread(models.default.refresh)  # before the server listens
        await asyncio.to_thread(evaluations.show_stored)
        server = ServiceServer(settings, registry)
        streams = StreamServices(
            models, WindowQueue(compute), extractor, OpenStreams(settings.streams, StreamMetrics(registry))
        )
        server.before_stop = streams.open.stop
        recognizer, evaluation = service_names(evaluator_pb2)
        server.add(
            recognizer,
            evaluator_pb2_grpc.add_RecognizerServicer_to_server,
            RecognizerServicer(models, Recognizer(extractor, metrics, compute), streams),
        )
        server.add(
            evaluation,
            evaluator_pb2_grpc.add_EvaluationServicer_to_server,
            EvaluationServicer(store, settings, evaluations),
        )
        _add_model_services(server, store, extractor, settings)
        pollers = _start_pollers(settings, models, evaluations, server)
        try:
            yield server
        finally:
            for poller in pollers:
                poller.cancel()
            await models.close(_CLOSE_SECONDS)


@asynccontextmanager
async def _start_compute(settings: EvaluatorSettings, metrics: EvaluatorMetrics) -> AsyncIterator[Compute]:
    """Start the processes that run models, unless this process runs them."""
    cores = count_usable_cores()
    wanted = settings.compute_processes
    count = min(cores, _MOST_AUTO_PROCESSES) if wanted == "auto" else wanted
    if count < 2:
        yield Pipeline(metrics, settings.threads)
        return
    workers = ModelWorkerPool(count, metrics, settings.threads or max(1, cores // count))
    try:
        yield workers
    finally:
        await asyncio.to_thread(workers.close)


def _start_pollers(
    settings: EvaluatorSettings, models: Models, evaluations: EvaluationQueue, server: ServiceServer
) -> list[asyncio.Task[None]]:
    """Start what follows the store until it is cancelled."""
    pollers = [
        asyncio.create_task(models.poll_default(settings.refresh_seconds)),
        asyncio.create_task(models.poll_others(settings.refresh_seconds)),
        asyncio.create_task(models.show_health(server.set_model_health)),
    ]
    if settings.auto_evaluate:
        pollers.append(asyncio.create_task(evaluations.poll(models.default, settings.refresh_seconds)))
    return pollers


def _add_model_services(
    server: ServiceServer, store: ObjectStore, extractor: ExtractorClient, settings: EvaluatorSettings
) -> None:
    """Add the services that list and change published models."""
    name, writable = settings.model_name, settings.registry_writable
    (published,) = service_names(registry_pb2)
    server.add(
        published,
        registry_pb2_grpc.add_RegistryServicer_to_server,
        RegistryServicer(store, name, writable=writable),
    )
    (enrolment,) = service_names(enrolment_pb2)
    server.add(
        enrolment,
        enrolment_pb2_grpc.add_EnrolmentServicer_to_server,
        EnrolmentServicer(
            store, extractor, name, bundled=settings.bundled_model, writable=writable, threads=settings.threads
        ),
    )


async def serve(settings: EvaluatorSettings) -> None:
    """Serve until the process is told to stop."""
    sys.setswitchinterval(_SWITCH_SECONDS)

    async def drain() -> None:
        _end_process_after(settings.drain_seconds + _END_SECONDS)

    async with evaluator(settings) as server:
        await serve_until_stopped(server, drain)


def _end_process_after(seconds: float) -> None:
    """End this process after so many seconds, if it has not ended by itself.

    Python waits for threads. One that reads from a store that does not answer would keep the process for minutes.
    """

    def end() -> None:
        _log.warning("ending, although some work has not stopped; the store may not answer")
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def main() -> None:
    """Read the settings, and serve."""
    run_service(EvaluatorSettings, serve)


if __name__ == "__main__":
    main()
