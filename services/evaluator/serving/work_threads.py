"""Threads for the work of calls. Calls that are cancelled while they wait leave nothing behind."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class WorkThreads:
    """A few threads. Further calls wait in order of arrival.

    `asyncio.to_thread` would keep the arguments of a cancelled call until a thread is free, and would share its threads
    with the slow requests to the store.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._free = asyncio.Semaphore(threads)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in a thread, and return its result."""
        await self._free.acquire()
        try:
            work = self._pool.submit(function, *arguments)
        except BaseException:
            self._free.release()
            raise
        try:
            return await asyncio.wrap_future(work)
        finally:
            if work.done():
                self._free.release()
            else:  # the call was cancelled, and the thread is free only when the function has returned
                loop = asyncio.get_running_loop()
                work.add_done_callback(lambda done: self._release_later(done, loop))

    def _release_later(self, _: Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._free.release)
