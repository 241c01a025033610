"""The extractor process: settings, wiring, serving. `python -m services.extractor --help` lists the settings."""

import asyncio

from services.extractor.auto import AutoExtraction
from services.extractor.engines.lockstep_workers import workers_on_device
from services.extractor.jobs.queue import ExtractionQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.service import ExtractorServicer
from services.extractor.settings import ExtractorSettings
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.streams.pool import StreamPool
from signet.rpc.server import ServiceServer, new_registry, run_service, serve_until_stopped, service_names
from signet.store import open_store
from signet.v1 import extractor_pb2, extractor_pb2_grpc


async def _main(settings: ExtractorSettings) -> None:
    registry = new_registry()
    metrics = ExtractorMetrics(registry)
    store = open_store(settings, writable=True)
    timeout = settings.clip_timeout_seconds
    with (
        WorkerPool(settings.workers, timeout) as workers,
        workers_on_device(workers, settings.device, settings.quality, timeout) as corpus_workers,
    ):
        extractions = ExtractionQueue(
            settings.wlasl, settings.wlasl_clips, store, corpus_workers, metrics, settings.quality
        )
        server = ServiceServer(settings, registry)
        (name,) = service_names(extractor_pb2)
        servicer = ExtractorServicer(
            extractions, workers, metrics, settings.quality, StreamPool(settings.picture_streams)
        )
        server.add(name, extractor_pb2_grpc.add_ExtractorServicer_to_server, servicer)
        server.before_stop = servicer.stop_streams
        extractions.keep()
        follower = asyncio.create_task(_auto(settings, extractions).follow()) if settings.auto_extract else None

        async def drain() -> None:
            servicer.stop_streams()
            if follower is not None:
                follower.cancel()
            await extractions.drain(settings.drain_seconds)

        try:
            await serve_until_stopped(server, drain)
        finally:
            servicer.close()


def _auto(settings: ExtractorSettings, extractions: ExtractionQueue) -> AutoExtraction:
    return AutoExtraction(
        extractions,
        settings.wlasl,
        settings.wlasl_clips,
        corpus=settings.corpus,
        choice=SelectionCriteria(settings.max_glosses, settings.samples_per_gloss),
        seconds=settings.rescan_seconds,
    )


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    run_service(ExtractorSettings, _main)


if __name__ == "__main__":
    main()
