"""The trainer process: settings, wiring, serving until SIGTERM."""

import asyncio

from services.trainer.metrics import TrainerMetrics
from services.trainer.runs import Runs
from services.trainer.service import TrainerServicer
from services.trainer.settings import TrainerSettings
from services.trainer.training import use_threads
from signet.server import ServiceServer, new_registry, run_service, serve_until_stopped
from signet.store import open_store
from signet.v1 import trainer_pb2_grpc


async def _main(settings: TrainerSettings) -> None:
    use_threads(settings.threads)
    registry = new_registry()
    runs = Runs(open_store(settings), TrainerMetrics(registry))
    server = ServiceServer(settings, registry)
    server.add("signet.v1.Trainer", trainer_pb2_grpc.add_TrainerServicer_to_server, TrainerServicer(runs))
    await serve_until_stopped(server, drain=lambda: asyncio.to_thread(runs.close))


def main() -> None:
    """Serve until told to stop."""
    run_service(TrainerSettings, _main)


if __name__ == "__main__":
    main()
