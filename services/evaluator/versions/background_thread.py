"""A thread for slow work that must not keep the process from ending, such as a download from a store that hangs."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class BackgroundThread:
    """Runs functions one after another. When the process ends, it does not wait for the one that runs.

    The threads of `asyncio.to_thread` and of executors are waited for: a store that does not answer would delay the
    end of the service for minutes.
    """

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        self._last: Future[None] | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[[], None]) -> None:
        """Run a function in the thread. A cancelled caller leaves at once; the function goes on if it has begun."""
        self._last = Future()
        self._waiting.put((function, self._last))
        await asyncio.wrap_future(self._last)

    async def finish(self, seconds: float) -> None:
        """Wait until the last function has ended, at most so long."""
        if self._last is not None and not self._last.done():
            await asyncio.wait([asyncio.wrap_future(self._last)], timeout=seconds)

    def _work(self) -> None:
        while True:
            function, result = self._waiting.get()
            if result.set_running_or_notify_cancel():
                try:
                    function()
                except BaseException as error:  # noqa: BLE001  (the caller gets it)
                    result.set_exception(error)
                else:
                    result.set_result(None)
            del function, result
