"""The trainer process: it reads its settings, builds its parts, and serves until SIGTERM."""

import asyncio

from services.trainer.auto import AutoTraining
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.queue import TrainingQueue
from services.trainer.runtime.threads import use_threads
from services.trainer.service import TrainerServicer
from services.trainer.settings import TrainerSettings
from signet.registry import check_can_sign
from signet.rpc.gpu import Nvml
from signet.rpc.limits import MAX_PLAIN_MESSAGE_BYTES
from signet.rpc.server import ServiceServer, new_registry, run_service, serve_until_stopped
from signet.store import open_store
from signet.v1 import trainer_pb2_grpc


async def _main(settings: TrainerSettings) -> None:
    use_threads(settings.threads)
    nvml = Nvml()
    registry = new_registry(nvml)
    store = open_store(settings, writable=True)
    check_can_sign(store)
    runs = TrainingQueue(store, TrainerMetrics(registry), nvml)
    server = ServiceServer(settings, registry, MAX_PLAIN_MESSAGE_BYTES)
    server.add("signet.v1.Trainer", trainer_pb2_grpc.add_TrainerServicer_to_server, TrainerServicer(runs))
    auto = AutoTraining(store, runs, settings.train, settings.poll_seconds)
    follower = asyncio.create_task(auto.follow()) if settings.auto_train else None

    async def drain() -> None:
        if follower is not None:
            follower.cancel()
        await asyncio.to_thread(runs.close)

    await serve_until_stopped(server, drain)


def main() -> None:
    """Serve until SIGTERM."""
    run_service(TrainerSettings, _main)


if __name__ == "__main__":
    main()
