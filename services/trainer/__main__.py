"""The trainer process: settings, wiring, serving until SIGTERM."""

import asyncio

import torch

from services.trainer.metrics import TrainerMetrics
from services.trainer.runs import Runs
from services.trainer.service import TrainerServicer
from services.trainer.settings import TrainerSettings
from signet.server import ServiceServer, new_registry, run_service, serve_until_stopped, set_up_logging
from signet.store import open_store
from signet.v1 import trainer_pb2_grpc


async def _main(settings: TrainerSettings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    registry = new_registry()
    runs = Runs(open_store(settings), TrainerMetrics(registry))
    server = ServiceServer(settings, registry)
    server.add("signet.v1.Trainer", trainer_pb2_grpc.add_TrainerServicer_to_server, TrainerServicer(runs))
    await serve_until_stopped(server, drain=lambda: asyncio.to_thread(runs.close))


def main() -> None:
    """Run the trainer."""
    settings = TrainerSettings()
    set_up_logging(settings.log_level)
    run_service(_main(settings))


if __name__ == "__main__":
    main()
