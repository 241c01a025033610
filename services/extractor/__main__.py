"""The extractor's process: settings, wiring, serve. `python -m services.extractor --help` lists the settings."""

from services.extractor.metrics import ExtractorMetrics
from services.extractor.service import ExtractorServicer
from services.extractor.settings import ExtractorSettings
from services.extractor.workers import Workers
from signet.server import ServiceServer, new_registry, run_service, serve_until_stopped, service_names
from signet.store import open_store
from signet.v1 import extractor_pb2, extractor_pb2_grpc


async def _main(settings: ExtractorSettings) -> None:
    registry = new_registry()
    store = open_store(settings)
    with Workers(settings.workers, settings.clip_timeout_seconds) as workers:
        servicer = ExtractorServicer(settings, store, workers, ExtractorMetrics(registry))
        server = ServiceServer(settings, registry)
        (name,) = service_names(extractor_pb2)
        server.add(name, extractor_pb2_grpc.add_ExtractorServicer_to_server, servicer)
        await serve_until_stopped(server, servicer.drain)


def main() -> None:
    """Serve until told to stop."""
    run_service(ExtractorSettings, _main)


if __name__ == "__main__":
    main()
