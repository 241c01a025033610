"""Ends runs of graphs that take too long."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnxruntime as ort

# How often running graphs are checked.
_CHECK_SECONDS = 0.25


class Watchdog:
    """Watches the runs of all graphs with one thread. A timer for each run would start a thread for each run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The options of the runs that are under way, and when each must end.
        self._runs: dict[int, tuple[Any, float]] = {}
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Any]:
        """The options for a run of a graph. If the context is open for longer, the run ends at its next node."""
        options = ort.RunOptions()
        with self._lock:
            self._runs[id(options)] = options, time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
        if not self._busy.is_set():
            self._busy.set()
        try:
            yield options
        finally:
            with self._lock:
                del self._runs[id(options)]

    def _watch(self) -> None:
        while self._busy.wait():
            time.sleep(_CHECK_SECONDS)
            now = time.monotonic()
            with self._lock:
                for options, end in self._runs.values():
                    if now > end:
                        options.terminate = True
                if not self._runs:
                    self._busy.clear()


# The watchdog of this process.
WATCHDOG = Watchdog()
