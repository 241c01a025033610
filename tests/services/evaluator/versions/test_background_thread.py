"""The background thread: functions run in order, errors reach the caller, and the process ends without it."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from services.evaluator.versions.background_thread import BackgroundThread

SECONDS = 10.0


def test_functions_run_in_order_and_each_caller_gets_its_own_error() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        thread = BackgroundThread("test")
        first, second, third = (
            asyncio.create_task(thread.run(work)) for work in (lambda: done.append(1), fail, lambda: done.append(2))
        )
        await first
        with pytest.raises(ZeroDivisionError):
            await second
        await third

    asyncio.run(main())
    assert done == [1, 2]


def test_a_cancelled_caller_leaves_at_once_and_a_function_that_waits_is_not_begun() -> None:
    held, begun = threading.Event(), threading.Event()
    later: list[int] = []

    def work() -> None:
        begun.set()
        held.wait(SECONDS)

    async def main() -> None:
        thread = BackgroundThread("test")
        running = asyncio.create_task(thread.run(work))
        waiting = asyncio.create_task(thread.run(lambda: later.append(1)))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        held.set()
        await thread.run(lambda: None)

    asyncio.run(main())
    assert later == []


def test_finish_waits_for_the_last_function_but_not_longer_than_it_is_told() -> None:
    held = threading.Event()

    def work() -> None:
        held.wait(SECONDS)

    async def main() -> None:
        thread = BackgroundThread("test")
        await thread.finish(SECONDS)
        running = asyncio.create_task(thread.run(work))
        await asyncio.sleep(0)
        started = time.monotonic()
        await thread.finish(0.05)
        assert not running.done()
        assert time.monotonic() - started < SECONDS / 2
        held.set()
        await thread.finish(SECONDS)
        await running

    asyncio.run(main())


def test_a_process_ends_while_its_background_thread_works() -> None:
    program = """
import asyncio, time
from services.evaluator.versions.background_thread import BackgroundThread

async def main():
    task = asyncio.create_task(BackgroundThread("test").run(lambda: time.sleep(60)))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert time.monotonic() - started < 20
