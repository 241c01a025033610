"""A pool of worker processes in which a clip that kills or hangs its worker costs only itself."""

import asyncio
import logging
import math
import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from services.extractor.jobs import worker
from signet.errors import ClipError, DeadlineExceeded, SignetError

_log = logging.getLogger(__name__)

# What MediaPipe and TensorFlow Lite say of every graph that starts. Everything else that a worker says is passed on.
# TensorFlow Lite writes a line in pieces, and two workers' pieces meet.
_CHATTER = re.compile(
    rb"(INFO: )*("
    rb"Created TensorFlow Lite XNNPACK delegate for CPU\.|\s*$"
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} .*(inference_feedback_manager|landmark_projection_calculator|gl_context)"
    rb")"
)

Job = TypeVar("Job")
Result = TypeVar("Result")


_STOPPED = "the extractor was stopped while it worked on this. Start it again: what is in the store is not done twice."


class WorkersStopped(SignetError):
    """The pool was closed under a job."""

    code = "UNAVAILABLE"


class Workers:
    """Worker processes with one MediaPipe graph each. They end with this process, however it ends.

    Args:
        count: how many; 0 takes one per core.
        clip_timeout: seconds after which a clip is given up and its worker replaced.
    """

    def __init__(self, count: int = 0, clip_timeout: float = 300.0) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._clip_timeout = clip_timeout
        # Not fork: MediaPipe, gRPC and their threads do not survive one.
        self._processes = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._pool: Any = None
        self._closed = False
        self._scheduled: set[Future[Any]] = set()
        self._stderr = _Sieve(self._processes)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers at once, whatever they do; jobs under way raise `WorkersStopped`."""
        with self._lock:
            self._closed = True
            self._end_pool(WorkersStopped(_STOPPED))
        self._stderr.close()

    def each(
        self,
        function: Callable[..., Result],
        jobs: Iterable[tuple[Job, tuple[Any, ...]]],
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[Job, Result | ClipError], None, None]:
        """Run `function(*arguments)` for each (job, arguments), as many at a time as there are workers.

        Gives each job with its result as they come. Once `stopped()` is true no further job is begun, and those under
        way are still waited for. Leaving the iteration abandons them.

        Raises:
            WorkersStopped: the pool was closed meanwhile.
            SignetError: other than a `ClipError`: no job can succeed.
        """
        waiting = iter(jobs)
        running: dict[Future[Result], _Attempt[Job]] = {}
        again: list[_Attempt[Job]] = []
        try:
            while True:
                while len(running) < self.count and not stopped():
                    attempt = again.pop() if again else _next_attempt(waiting)
                    if attempt is None:
                        break
                    running[self._schedule(function, attempt.arguments)] = attempt
                if not running:
                    return
                # Short waits, so that a signal's handler gets its turn.
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                if not done:
                    self._bury_broken_pool()
                for future in done:
                    attempt = running.pop(future)
                    try:
                        outcome: Result | ClipError = self._result(future, attempt.arguments)
                    except ClipError as error:
                        outcome = error
                    except BrokenProcessPool:
                        # The pool fell together with whoever was in it; each gets one more chance in a new one.
                        attempt.failures += 1
                        if attempt.failures == 1:
                            again.append(attempt)
                            continue
                        outcome = ClipError("crashed", f"{_name(attempt.arguments)}: the workers died over it, twice.")
                    yield attempt.job, outcome
        finally:
            for future in running:
                future.cancel()

    async def one(self, function: Callable[..., Result], arguments: tuple[Any, ...], timeout: float | None) -> Result:
        """Run one job among the others.

        Args:
            function: what to run in a worker.
            arguments: for it.
            timeout: seconds until the caller gives up, waiting for a worker included; None waits on.

        Raises:
            ClipError: the clip is not usable.
            DeadlineExceeded: the time is over; the job is ended with it.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        future = await asyncio.to_thread(self._schedule, function, arguments)
        settled = asyncio.wrap_future(future)
        try:
            while not settled.done():
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"the clip was not done within {timeout:.1f} s. Allow more time, or send a shorter clip."
                    )
                await asyncio.wait([settled], timeout=min(left, 1.0))
                await asyncio.to_thread(self._bury_broken_pool)
            return self._result(future, arguments)
        except BrokenProcessPool as error:
            raise ClipError("crashed", "the workers died over the clip. Convert it to H.264.") from error
        finally:
            future.cancel()  # nothing to a job that is done
            if settled.done() and not settled.cancelled():
                settled.exception()  # looked at above, through the future that it wraps

    def _schedule(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> "Future[Result]":
        self._bury_broken_pool()
        with self._lock:
            if self._closed:
                raise WorkersStopped(_STOPPED)
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=self.count,
                    initializer=worker.set_up,
                    initargs=(self._stderr.entrance,),
                    context=self._processes,
                )
            future: Future[Result] = self._pool.schedule(function, args=arguments, timeout=self._clip_timeout)
            self._scheduled.add(future)
            future.add_done_callback(self._scheduled.discard)
            return future

    def _bury_broken_pool(self) -> None:
        """Clear away a pool that gave up (a worker died outside of any job), so that the next job starts a new one."""
        with self._lock:
            if self._pool is None or self._pool.active:
                return
            _log.warning("the workers died; new ones will be started")
            self._end_pool(BrokenProcessPool("the pool gave up"))

    def _end_pool(self, error: Exception) -> None:
        """End the pool, and give what it had accepted this error: nobody else would, and it would wait for ever."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
        for future in tuple(self._scheduled):
            if not future.done():
                future.set_exception(error)

    def _result(self, future: "Future[Result]", arguments: tuple[Any, ...]) -> Result:
        """The finished job's result, with every way of dying said as a `ClipError`."""
        name = _name(arguments)
        try:
            return future.result()
        except (SignetError, BrokenProcessPool, CancelledError):
            raise
        except TimeoutError:
            raise ClipError(
                "timeout",
                f"{name}: not done within {self._clip_timeout:.0f} s; its worker was ended. Shorten it, or raise "
                "--clip-timeout-seconds.",
            ) from None
        except ProcessExpired as error:
            raise ClipError(
                "crashed", f"{name}: its worker died (exit status {error.exitcode}). Convert it to H.264."
            ) from error
        except Exception as error:
            _log.exception("%s: unexpected %s in a worker", name, type(error).__name__)
            raise ClipError("crashed", f"{name}: unexpected {type(error).__name__} ({error}); see the log.") from error


@dataclass
class _Attempt(Generic[Job]):
    """A job, and how often the whole pool fell while it was in it."""

    job: Job
    arguments: tuple[Any, ...]
    failures: int = 0


def _next_attempt(waiting: Iterator[tuple[Job, tuple[Any, ...]]]) -> _Attempt[Job] | None:
    following = next(waiting, None)
    return None if following is None else _Attempt(*following)


def _name(arguments: tuple[Any, ...]) -> str:
    """What to call a job: every worker function takes the file first, or its bytes."""
    return arguments[0].name if arguments and isinstance(arguments[0], Path) else "the clip"


class _Sieve:
    """Passes on what the workers write to standard error, less the chatter.

    It is read here and not in the worker, so that a dying worker's last words arrive.
    """

    def __init__(self, processes: Any) -> None:
        self._reader, self.entrance = processes.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._sift, daemon=True)
        self._thread.start()

    def _sift(self) -> None:
        with open(self._reader.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                if not _CHATTER.match(line):
                    sys.stderr.write(line.decode(errors="replace"))
                    sys.stderr.flush()
        self._reader.close()

    def close(self) -> None:
        """The workers are gone: pass on the rest, and end."""
        self.entrance.close()
        self._thread.join(timeout=1.0)
