"""A worker process, as the evaluator sees it."""

import os
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from services.evaluator.serving.graph_check import child_environment

# A process whose connection is closed or broken ends within this time.
_END_SECONDS = 1.0


class WorkerDied(Exception):
    """A worker process has ended before it answered. The message says how."""


class WorkerProcess:
    """One worker process. One thread at a time may call it.

    Attributes:
        models: the keys of the models that it has loaded.
        overdue_at: when the call that is under way takes too long (monotonic seconds); None without a call.
    """

    def __init__(self, threads: int) -> None:
        """Start the process. `threads` is the number of threads inside one operator of a model."""
        self._connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        files = (theirs.fileno(), lifeline)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.evaluator.workers.worker", *map(str, (*files, threads))],
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=child_environment(),
            )
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self.models: set[int] = set()
        self.started_at = time.monotonic()
        self.overdue_at: float | None = None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def resident_bytes(self) -> int:
        """The memory of the process; 0 if it has ended."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def call(self, seconds: float, method: str, *arguments: Any) -> Any:
        """Call a method of `worker.Worker`. Blocks until it is answered; the pool kills it if it takes longer.

        Raises:
            WorkerDied: the process has ended.
            SignetError: the method raised it.
            RuntimeError: the method raised another error; the message has its traceback.
        """
        self.overdue_at = time.monotonic() + seconds
        try:
            self._connection.send((method, *arguments))
            succeeded, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._how_it_ended()) from error
        finally:
            self.overdue_at = None
        if not succeeded:
            raise answer
        return answer

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process. A call that is under way raises `WorkerDied`."""
        self._process.kill()

    def end(self) -> None:
        """End the process, and close its files."""
        self._close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _close(self) -> None:
        self._connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return f"process {self.pid} has closed its connection"
        if status < 0:
            return f"process {self.pid} was ended by signal {-status}"
        return f"process {self.pid} has ended with status {status}"
