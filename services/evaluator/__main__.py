"""The evaluator's process: `python -m services.evaluator --help`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.models.service import RegistryServicer
from services.evaluator.reports.queue import EvaluationQueue
from services.evaluator.service import EvaluationServicer, RecognizerServicer
from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.recognizer import Recognizer
from services.evaluator.serving.served_model import ServedModel
from services.evaluator.settings import EvaluatorSettings
from signet.rpc.server import ServiceServer, new_registry, run_service, serve_until_stopped, service_names
from signet.store import open_store
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, registry_pb2, registry_pb2_grpc

# Python's threads take turns of this length. With the usual 5 ms, a short clip takes three times as long beside a long
# one, because it waits for several turns.
_SWITCH_SECONDS = 0.0005


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
    served = ServedModel(store, settings.model_name, settings.alias, metrics, threads=settings.threads)
    evaluations = EvaluationQueue(store, metrics, commit=settings.commit, threads=settings.threads)
    await asyncio.to_thread(served.refresh)  # before the server listens
    await asyncio.to_thread(evaluations.show_stored)
    async with aclosing(ExtractorClient(settings.extractor)) as extractor:
        server = ServiceServer(settings, registry)
        recognizer, evaluation = service_names(evaluator_pb2)
        server.add(
            recognizer,
            evaluator_pb2_grpc.add_RecognizerServicer_to_server,
            RecognizerServicer(Recognizer(served, extractor, metrics)),
        )
        server.add(
            evaluation,
            evaluator_pb2_grpc.add_EvaluationServicer_to_server,
            EvaluationServicer(store, settings, evaluations),
        )
        (models,) = service_names(registry_pb2)
        server.add(
            models,
            registry_pb2_grpc.add_RegistryServicer_to_server,
            RegistryServicer(store, settings.model_name, writable=settings.registry_writes),
        )
        pollers = [asyncio.create_task(served.poll(settings.refresh_seconds))]
        if settings.auto_evaluate:
            pollers.append(asyncio.create_task(evaluations.poll(served, settings.refresh_seconds)))
        try:
            yield server
        finally:
            for poller in pollers:
                poller.cancel()


async def serve(settings: EvaluatorSettings) -> None:
    """Serve until the process is told to stop."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    async with evaluator(settings) as server:
        await serve_until_stopped(server)


def main() -> None:
    """Read the settings, and serve."""
    run_service(EvaluatorSettings, serve)


if __name__ == "__main__":
    main()
