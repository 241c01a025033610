"""The Trainer servicer: converts, calls the domain, converts back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.trainer import converters as convert
from services.trainer.runs.queue import TrainingQueue
from signet.v1 import trainer_pb2 as pb
from signet.v1 import trainer_pb2_grpc

# How often a watcher looks for new events: below what an eye notices, far above what it costs.
_WATCH_SECONDS = 0.1


class TrainerServicer(trainer_pb2_grpc.TrainerServicer):
    """`signet.v1.Trainer`."""

    def __init__(self, runs: TrainingQueue) -> None:
        self._runs = runs

    # Their meaning stands in the .proto.
    # ruff: noqa: D102
    async def StartRun(self, request: pb.StartRunRequest, context: Any) -> pb.StartRunResponse:  # noqa: N802
        if request.resume_run_id:
            changes = convert.given_in(request.config)
            run = await asyncio.to_thread(self._runs.resume, request.resume_run_id, changes)
            return pb.StartRunResponse(run_id=run.run_id)
        return pb.StartRunResponse(run_id=self._runs.start(convert.config_from(request.config)).run_id)

    async def WatchRun(  # noqa: N802
        self, request: pb.WatchRunRequest, context: Any
    ) -> AsyncIterator[pb.WatchRunResponse]:
        run = self._runs.find(request.run_id)
        ahead = -1
        while not run.events and not run.ended:
            if (now := self._runs.count_runs_ahead(run)) != ahead:
                ahead = now
                yield convert.queued_to(ahead)
            await asyncio.sleep(_WATCH_SECONDS)
        sent = 0
        while True:
            # Asked before the events are read: what comes between is read in the next round.
            ended = run.ended
            for event in run.events[sent:]:
                yield convert.event_to(event)
                sent += 1
            if ended:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    async def StopRun(self, request: pb.StopRunRequest, context: Any) -> pb.StopRunResponse:  # noqa: N802
        return convert.state_to(self._runs.stop(request.run_id))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:  # noqa: N802
        found = await asyncio.to_thread(lambda: list(self._runs.list_runs()))
        return pb.ListRunsResponse(runs=[convert.summary_to(summary) for summary in found])
