"""A real evaluator with worker processes whose callers leave, or whose workers are killed: nothing is left behind."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest

from signet import landmarks
from signet.registry import ModelCard
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.v1 import evaluator_pb2
from signet.v1.evaluator_pb2_grpc import RecognizerStub
from tests.services.evaluator.conftest import place_of
from tests.services.evaluator.streaming.conftest import config, groups, signing
from tests.services.evaluator.test_process import Process, started, wait_for
from tests.services.evaluator.test_reloads import SECONDS, worker_ids

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

# More than there are places for calls (128) and for streams.
CALLS, STREAMS, PLACES = 300, 60, 6
# A call takes some milliseconds, and a stream below half of a second.
CALL_SECONDS, STREAM_SECONDS = 0.03, 0.4
AT_ONCE = 12
MAX_GROWN_MEGABYTES = 30
GLOSSES = ("drink", "book", "who", "go")


@pytest.fixture
def process(world: "World", card: ModelCard) -> Iterator[Process]:
    with started(world, SIGNET_COMPUTE_PROCESSES="2", SIGNET_STREAMS=str(PLACES)) as running:
        yield running
    assert "Traceback" not in "".join(running.log)


@pytest.fixture
def request_of_a_clip(sign: Any) -> evaluator_pb2.RecognizeRequest:
    clip = landmarks.dump(sign("new", "", place_of(2, 6), frames=40))
    return evaluator_pb2.RecognizeRequest(landmarks=clip)


def over_channel(process: Process, scenario: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(process.address, options=CHANNEL_OPTIONS) as channel:
            await scenario(RecognizerStub(channel))

    asyncio.run(main())


async def leave(call: Any, seconds: float) -> None:
    """Cancel a call after so many seconds, unless it has ended. It may end with the status of its deadline."""
    await asyncio.wait([asyncio.ensure_future(call.code())], timeout=seconds)
    call.cancel()
    assert await call.code() in {
        grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }, await call.details()  # fmt: skip


async def work_off(jobs: list[Callable[[], Awaitable[None]]]) -> None:
    """Do jobs, some at a time."""
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def megabytes(process: Process) -> float:
    """The memory of the evaluator and its workers."""
    ids = [process.process.pid, *worker_ids(process)]
    return float(sum(psutil.Process(pid).memory_info().rss for pid in ids)) / 1e6


def predictions(answer: evaluator_pb2.RecognizeResponse) -> list[tuple[str, float]]:
    return [(each.gloss, round(each.probability, 5)) for each in answer.predictions]


def test_calls_and_streams_that_are_cancelled_leave_no_place_and_no_memory(
    process: Process, request_of_a_clip: evaluator_pb2.RecognizeRequest
) -> None:
    chance = random.Random(21)  # noqa: S311  (moments are no secrets)
    messages = [config(), *groups(signing(GLOSSES), 15)]

    async def sending() -> AsyncIterator[evaluator_pb2.RecognizeStreamRequest]:
        for message in messages:
            yield message
            await asyncio.sleep(STREAM_SECONDS / len(messages))

    async def scenario(stub: Any) -> None:
        expected = predictions(await stub.Recognize(request_of_a_clip, timeout=SECONDS))

        def cancelled_call() -> Awaitable[None]:
            # Half of the calls have a deadline instead.
            seconds = chance.uniform(0.0, CALL_SECONDS)
            has_deadline = chance.random() < 0.5
            call = stub.Recognize(request_of_a_clip, timeout=seconds if has_deadline else SECONDS)
            return leave(call, SECONDS if has_deadline else seconds)

        async def cancelled_stream() -> None:
            seconds = chance.uniform(0.0, STREAM_SECONDS)
            has_deadline = chance.random() < 0.3
            call = stub.RecognizeStream(sending(), timeout=seconds if has_deadline else SECONDS)
            reading = asyncio.ensure_future(read(call))
            await leave(call, SECONDS if has_deadline else seconds)
            await reading

        async def round_of_jobs() -> None:
            jobs: list[Callable[[], Awaitable[None]]] = [cancelled_call] * CALLS + [cancelled_stream] * STREAMS
            chance.shuffle(jobs)
            await work_off(jobs)
            await asyncio.to_thread(wait_for, lambda: process.sample("signet_evaluator_streams") == 0)
            assert process.sample("signet_evaluator_stream_frames_behind") == 0

        await round_of_jobs()
        before = megabytes(process)
        await round_of_jobs()
        assert megabytes(process) - before < MAX_GROWN_MEGABYTES
        answers = await asyncio.gather(*(stub.Recognize(request_of_a_clip, timeout=SECONDS) for _ in range(100)))
        assert [predictions(answer) for answer in answers] == [expected] * 100
        # Each place for a stream is free.
        streams = [stub.RecognizeStream(iter(messages), timeout=SECONDS) for _ in range(PLACES)]
        assert await asyncio.gather(*map(read, streams)) == [list(GLOSSES)] * PLACES

    over_channel(process, scenario)
    ended = [
        process.sample(f'signet_evaluator_streams_ended_total{{outcome="{outcome}"}}')
        for outcome in ("cancelled", "failed")
    ]
    assert ended[0]
    assert not ended[1]
    assert process.stop() == 0


async def read(call: Any) -> list[str]:
    """The final signs of a stream, until it ends or is cancelled."""
    found = []
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        async for response in call:
            found += [response.final.gloss] if response.HasField("final") else []
    return found


def test_a_worker_that_is_killed_costs_no_stream_a_sign(process: Process) -> None:
    messages = [config(), *groups(signing(GLOSSES), 9)]
    sent = asyncio.Event()

    async def sending() -> AsyncIterator[evaluator_pb2.RecognizeStreamRequest]:
        for message in messages:
            yield message
            await asyncio.sleep(0.1)
        sent.set()

    async def scenario(stub: Any) -> None:
        streams = [asyncio.create_task(read(stub.RecognizeStream(sending(), timeout=SECONDS))) for _ in range(PLACES)]
        kills = 0
        while not sent.is_set():
            await asyncio.to_thread(
                wait_for, lambda: process.sample("signet_evaluator_compute_processes") == 2 or sent.is_set()
            )
            if not sent.is_set():
                os.kill(worker_ids(process)[kills % 2], signal.SIGKILL)
                kills += 1

                def ended(count: int = kills) -> bool:
                    return process.sample("signet_evaluator_compute_process_ends_total") == count

                await asyncio.to_thread(wait_for, ended)
        assert kills
        assert await asyncio.gather(*streams) == [list(GLOSSES)] * PLACES

    over_channel(process, scenario)
    assert process.stop() == 0
