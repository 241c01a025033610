"""Threads for calls: cancelled calls leave nothing behind, and never more functions run than there are threads."""

import asyncio
import gc
import threading
import weakref

import pytest

from services.evaluator.serving.work_threads import WorkThreads

SECONDS = 10.0


class Payload:
    """The arguments of a call, which a test can look for."""


def test_a_function_gives_its_result_or_its_error() -> None:
    async def main() -> None:
        threads = WorkThreads(1, "test")
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 7, 0)
        assert await threads.run(divmod, 9, 2) == (4, 1)

    asyncio.run(main())


def test_a_thousand_cancelled_calls_are_not_run_and_do_not_stay_in_memory() -> None:
    """A client that sends large clips and cancels them at once must not fill the memory behind a busy thread."""

    async def main() -> None:
        threads, held = WorkThreads(1, "test"), threading.Event()
        ran: list[Payload] = []
        busy = asyncio.create_task(threads.run(held.wait, SECONDS))
        await asyncio.sleep(0.01)
        payloads = []
        for _ in range(1000):
            payload = Payload()
            payloads.append(weakref.ref(payload))
            call = asyncio.create_task(threads.run(ran.append, payload))
            del payload
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
        del call
        gc.collect()
        assert [left() for left in payloads if left() is not None] == []
        held.set()
        assert await busy
        assert await threads.run(len, "abc") == 3
        assert ran == []

    asyncio.run(main())


def test_a_cancelled_call_keeps_its_thread_until_its_function_returns() -> None:
    async def main() -> None:
        threads, held, after = WorkThreads(1, "test"), threading.Event(), threading.Event()
        running = asyncio.create_task(threads.run(held.wait, SECONDS))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        behind = asyncio.create_task(threads.run(after.set))
        await asyncio.sleep(0.1)
        assert not behind.done()
        assert not after.is_set()
        held.set()
        async with asyncio.timeout(SECONDS):
            await behind
        assert after.is_set()

    asyncio.run(main())


def test_no_more_functions_run_than_there_are_threads() -> None:
    async def main() -> None:
        threads, lock = WorkThreads(2, "test"), threading.Lock()
        running, most = 0, 0

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.01)
            with lock:
                running -= 1

        calls = [asyncio.create_task(threads.run(work)) for _ in range(20)]
        await asyncio.sleep(0.02)
        for call in calls[::3]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert most == 2

    asyncio.run(main())
