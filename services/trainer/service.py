"""The gRPC servicer of the trainer: it converts requests, calls the queue of runs, and converts the results."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from services.trainer import converters
from services.trainer.runs.queue import TrainingQueue
from signet.v1 import trainer_pb2 as pb
from signet.v1 import trainer_pb2_grpc

# How often a watcher polls for new events: too short for a person to notice, and long against its cost.
_WATCH_SECONDS = 0.1

# The most runs that ListRuns answers with. `signet runs` lists all.
_MAX_LISTED = 1000


class TrainerServicer(trainer_pb2_grpc.TrainerServicer):
    """`signet.v1.Trainer`."""

    def __init__(self, runs: TrainingQueue) -> None:
        self._runs = runs

    # The .proto documents these methods.
    # ruff: noqa: D102
    async def StartRun(self, request: pb.StartRunRequest, context: Any) -> pb.StartRunResponse:  # noqa: N802
        if request.resume_run_id:
            changes = converters.set_fields(request.config)
            run = await asyncio.to_thread(self._runs.resume, request.resume_run_id, changes)
            return pb.StartRunResponse(run_id=run.run_id)
        return pb.StartRunResponse(run_id=self._runs.start(converters.config_from_message(request.config)).run_id)

    async def WatchRun(  # noqa: N802
        self, request: pb.WatchRunRequest, context: Any
    ) -> AsyncIterator[pb.WatchRunResponse]:
        run = self._runs.find(request.run_id)
        ahead = -1
        while not run.events and not run.ended:
            if (now := self._runs.count_runs_ahead(run)) != ahead:
                ahead = now
                yield converters.queued_to_message(ahead)
            await asyncio.sleep(_WATCH_SECONDS)
        sent = 0
        while True:
            # Read before the events: an event that comes in between is sent in the next round.
            ended = run.ended
            for event in run.events[sent:]:
                yield converters.event_to_message(event)
                sent += 1
            if ended:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    async def StopRun(self, request: pb.StopRunRequest, context: Any) -> pb.StopRunResponse:  # noqa: N802
        return converters.state_to_message(self._runs.stop(request.run_id))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:  # noqa: N802
        summaries = await asyncio.to_thread(lambda: list(islice(self._runs.list_runs(), _MAX_LISTED)))
        return pb.ListRunsResponse(runs=[converters.summary_to_message(summary) for summary in summaries])
