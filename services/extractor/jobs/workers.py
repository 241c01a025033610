"""A pool of worker processes. A clip that kills or blocks its worker does not affect other clips."""

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from services.extractor.jobs import worker
from services.extractor.jobs.board import JobBoard, JobStopped, Progress
from services.extractor.jobs.calls import SILENT_SECONDS, Call, CallQueue
from services.extractor.jobs.memory_limit import workers_that_fit
from services.extractor.jobs.processes import CleanContext
from services.extractor.jobs.stderr_filter import StderrFilter
from services.extractor.jobs.time_limits import length_factor
from services.extractor.jobs.worker import name_job
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import ClipError, DeadlineExceeded, SignetError
from signet.rpc.limits import MAX_MESSAGE_BYTES

_log = logging.getLogger(__name__)

# After this long a worker that does not notice that its job was stopped is replaced. Loading MediaPipe takes seconds.
_STOP_SECONDS = 10.0

# A clip of a call has this much more time for each frame: four times the work of one core. The caller's deadline and
# its departure end the work earlier.
_SECONDS_PER_FRAME = 0.2
# The time of such a clip without frames: loading MediaPipe on a busy machine takes half of it.
_CALL_SECONDS = 60.0
# A worker that was told to stop a long clip for another one is replaced after this time. It works on a frame for less.
_STOP_SECONDS_FOR_OTHERS = 5.0
# A video that takes longer to open, or for one packet and its frame, is given up. Real clips take 0.3 s at most.
_MOST_SILENT_SECONDS = 20.0
# The time between two looks at a clip of a call. It delays clips that wait for a long one to stop.
_LOOK_SECONDS = 0.2
# The bytes that the large clips of calls have together. This process keeps them until the calls end.
_MOST_BYTES = MAX_MESSAGE_BYTES

Job = TypeVar("Job")
Result = TypeVar("Result")


_STOPPED = "the extractor was stopped before this clip was done. Start it again: stored clips are not extracted twice."


class WorkersStopped(SignetError):
    """The pool was closed while a job was waiting or running."""

    code = "UNAVAILABLE"


class WorkerPool:
    """Worker processes with one MediaPipe graph each. They end when this process ends, even if it is killed.

    Args:
        count: number of workers; 0 takes one per core, and no more than fit into the memory of the container.
        clip_timeout: seconds after which a clip is given up and its worker is replaced. A clip of more than a minute
            has more time (`time_limits`), but only as long as it goes on: after so many seconds without a packet it is
            given up, too.
        limits_memory: whether each worker may use only the memory that a clip needs.
    """

    def __init__(self, count: int = 0, clip_timeout: float = 300.0, *, limits_memory: bool = True) -> None:
        self.count = count or workers_that_fit(len(os.sched_getaffinity(0)))
        self._clip_timeout = clip_timeout
        self._limits_memory = limits_memory
        # Not fork: MediaPipe, gRPC and their threads do not survive a fork.
        self._processes = CleanContext()
        self._lock = threading.Lock()
        self._pool: Any = None
        self._closed = False
        self._scheduled: set[Future[Any]] = set()
        self._board = JobBoard(self._processes)
        self._calls = CallQueue(self.count, self._board, _MOST_BYTES)
        self._stderr = StderrFilter(self._processes)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers at once. Running jobs raise `WorkersStopped`."""
        with self._lock:
            self._closed = True
            self._end_pool(WorkersStopped(_STOPPED))
        self._stderr.close()

    def each(
        self,
        function: Callable[..., Result],
        jobs: Iterable[tuple[Job, tuple[Any, ...]]],
        stopped: Callable[[], bool] = lambda: False,
        watch: Callable[[Job, Progress], None] = lambda job, progress: None,
    ) -> Generator[tuple[Job, Result | ClipError], None, None]:
        """Run `function(*arguments)` for each (job, arguments), as many at a time as there are workers.

        Yields each job with its result, in order of completion. Once `stopped()` is true, no further job is started,
        and running jobs are awaited. Closing the iterator abandons running jobs. `watch` gets the progress of the jobs.

        Raises:
            WorkersStopped: the pool was closed.
            SignetError: an error other than `ClipError`, which means that no job can succeed.
        """
        waiting = (_Attempt(*job) for job in jobs)
        running: dict[Future[Result], _Attempt[Job]] = {}
        again: list[_Attempt[Job]] = []
        try:
            while True:
                while len(running) < self.count and not stopped():
                    attempt = again.pop() if again else next(waiting, None)
                    if attempt is None:
                        break
                    attempt.place = self._board.add()
                    attempt.timeout = self._clip_timeout * length_factor(attempt.arguments)
                    running[self._schedule(function, attempt, attempt.timeout)] = attempt
                if not running:
                    return
                # Short waits, so that signal handlers can run.
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                self._report(running.values(), watch)
                if not done:
                    self._remove_failed_pool()
                for future in [future for future in running if self._hangs(future, running[future])]:
                    future.cancel()
                    attempt = running.pop(future)
                    yield attempt.job, self._error_of_hang(attempt)
                for future in done & running.keys():
                    attempt = running.pop(future)
                    try:
                        outcome: Result | ClipError = self._result(future, attempt)
                    except ClipError as error:
                        outcome = error
                    except BrokenProcessPool:
                        # The whole pool failed. Each job that was in it is tried once more in a new pool.
                        attempt.failures += 1
                        if attempt.failures == 1:
                            again.append(attempt)
                            continue
                        outcome = ClipError(
                            "crashed",
                            f"{name_job(attempt.arguments)}: the workers died twice while they worked on it.",
                        )
                    yield attempt.job, outcome
        finally:
            for future in running:
                future.cancel()

    def _hangs(self, future: "Future[Any]", attempt: "_Attempt[Any]") -> bool:
        """Whether a job has not begun with a packet of its video for too long."""
        return not future.done() and self._board.silent_seconds(attempt.place) > self._clip_timeout

    def _error_of_hang(self, attempt: "_Attempt[Any]") -> ClipError:
        return ClipError(
            "timeout",
            f"{name_job(attempt.arguments)}: nothing came out of its decoder for {self._clip_timeout:.0f} s. Convert "
            "it to H.264, or raise --clip-timeout-seconds.",
        )

    def check_room(self, size: int) -> None:
        """Check that `one` would accept a clip of so many bytes.

        Raises:
            Busy: too many clips of calls are under way.
        """
        self._calls.check_room(size)

    def _report(self, attempts: "Iterable[_Attempt[Job]]", watch: Callable[[Job, Progress], None]) -> None:
        for attempt in attempts:
            watch(attempt.job, self._board.progress(attempt.place))

    async def one(
        self, function: Callable[..., Result], arguments: tuple[Any, ...], timeout: float | None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Result:  # fmt: skip
        """Run one job in addition to all others. The job is stopped if this call is cancelled.

        The timeout, in seconds, includes the wait for a free worker; None waits for ever. `watch` gets the progress.

        Raises:
            ClipError: the clip is not usable.
            DeadlineExceeded: the time is over. The job is stopped.
            Busy: too many clips of calls are under way.
        """
        size = sum(len(argument) for argument in arguments if isinstance(argument, bytes))
        qualities = (argument for argument in arguments if isinstance(argument, TrackingQuality))
        call = self._calls.add(size, next(qualities, TrackingQuality.FAST))
        call.watch = watch
        try:
            return await self._run_call(call, function, arguments, timeout)
        finally:
            self._calls.remove(call)

    async def _run_call(
        self, call: Call, function: Callable[..., Result], arguments: tuple[Any, ...], timeout: float | None
    ) -> Result:
        end = math.inf if timeout is None else time.monotonic() + timeout
        attempt = _Attempt(None, arguments)
        while True:
            while not self._calls.may_start(call):
                if time.monotonic() >= end:
                    raise DeadlineExceeded(
                        f"the clip was not done within {timeout:.1f} s: it waited, because other clips are shorter. "
                        "Allow more time, or cut the clip to the sign."
                    )
                await asyncio.sleep(_LOOK_SECONDS)
            attempt.place = call.place = self._board.add()
            try:
                return await self._run_attempt(call, function, attempt, end, timeout)
            except (JobStopped, CancelledError):
                if not call.stopping:
                    raise
                self._calls.stopped(call)
            except BrokenProcessPool as error:
                # The whole pool failed, perhaps because of another clip. Each job is tried once more in a new pool.
                attempt.failures += 1
                if attempt.failures > 1:
                    raise ClipError(
                        "crashed", "the workers died while they worked on it. Convert the clip to H.264."
                    ) from error
                call.future = None

    async def _run_attempt(
        self, call: Call, function: Callable[..., Result], attempt: "_Attempt[Any]", end: float, timeout: float | None
    ) -> Result:
        """Run the job of a call once; `end` is the time of the deadline."""
        try:
            future: Future[Result] = await asyncio.to_thread(self._schedule, function, attempt, None)
            call.future = future
            settled = asyncio.wrap_future(future)
            settled.add_done_callback(_mark_as_retrieved)
            while not settled.done():
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlineExceeded(
                        f"the clip was not done within {timeout:.1f} s: {self._reached(future, attempt)}. Allow more "
                        "time, or cut the clip to the sign."
                    )
                self._check_limit(attempt)
                self._calls.check_work(call)
                call.report(self._board)
                self._calls.make_room(self._all_busy(), self._stop_for_others)
                await asyncio.wait([settled], timeout=min(left, _LOOK_SECONDS))
                await asyncio.to_thread(self._remove_failed_pool)
            return self._result(future, attempt)
        finally:
            silent = self._board.silent_seconds(attempt.place) > SILENT_SECONDS
            self._stop(call.future, attempt.place, 0.0 if silent else _STOP_SECONDS)

    def _all_busy(self) -> bool:
        return sum(future.running() for future in tuple(self._scheduled)) >= self.count

    def _stop_for_others(self, call: Call) -> None:
        _log.info("a long clip is stopped, because shorter ones wait; it is begun again later")
        # A worker that is busy with one packet for long cannot notice that it should stop.
        silent = self._board.silent_seconds(call.place) > SILENT_SECONDS
        self._stop(call.future, call.place, 0.0 if silent else _STOP_SECONDS_FOR_OTHERS)

    def _stop(self, future: "Future[Any] | None", place: int, seconds: float) -> None:
        """Stop a job that has not ended.

        Its worker ends it before the next packet, and is free at once. A worker that does not do so in these seconds is
        replaced.
        A job that still waits ends as soon as a worker takes it.
        """
        self._board.stop(place)
        if future is None or future.done():
            return

        def replace_worker() -> None:
            if future.running():
                future.cancel()

        timer = threading.Timer(seconds, replace_worker)
        timer.daemon = True
        future.add_done_callback(lambda _: timer.cancel())
        timer.start()

    def _check_limit(self, attempt: "_Attempt[Any]") -> None:
        """Give a clip up that takes longer than a clip of its length may take.

        Raises:
            ClipError: the time is over.
        """
        if self._board.silent_seconds(attempt.place) > _MOST_SILENT_SECONDS:
            raise ClipError(
                "timeout",
                f"{name_job(attempt.arguments)}: its header or one of its frames takes more than "
                f"{_MOST_SILENT_SECONDS:.0f} s. Convert it to H.264.",
            )
        progress = self._board.progress(attempt.place)
        limit = min(self._clip_timeout, _CALL_SECONDS) + _SECONDS_PER_FRAME * progress.total
        if self._board.running_seconds(attempt.place) > limit:
            raise ClipError(
                "timeout",
                f"{name_job(attempt.arguments)}: not done within {limit:.0f} s, the extractor's limit for a clip of "
                f"its length: {progress}. Cut it to the sign.",
            )

    def _reached(self, future: "Future[Result]", attempt: "_Attempt[Any]") -> str:
        """How far a job is, in words."""
        if not future.running():
            return "it waited for a worker, because all of them worked on other clips"
        return str(self._board.progress(attempt.place))

    def _schedule(
        self, function: Callable[..., Result], attempt: "_Attempt[Any]", timeout: float | None
    ) -> "Future[Result]":
        self._remove_failed_pool()
        with self._lock:
            if self._closed:
                raise WorkersStopped(_STOPPED)
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=self.count,
                    initializer=worker.set_up,
                    initargs=(self._stderr.write_end, self._board, self._limits_memory),
                    context=self._processes,
                )
            future: Future[Result] = self._pool.schedule(
                worker.run_job, args=(attempt.place, function, attempt.arguments), timeout=timeout
            )
            self._scheduled.add(future)
            future.add_done_callback(self._scheduled.discard)
            return future

    def _remove_failed_pool(self) -> None:
        """Remove a failed pool (a worker died outside of any job), so that the next job starts a new pool."""
        with self._lock:
            if self._pool is None or self._pool.active:
                return
            _log.warning("the workers died; new ones will be started")
            self._end_pool(BrokenProcessPool("the worker pool failed"))

    def _end_pool(self, error: Exception) -> None:
        """End the pool, and fail its unfinished jobs with this error. Otherwise their callers would wait for ever."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
        for future in tuple(self._scheduled):
            if not future.done():
                future.set_exception(error)

    def _result(self, future: "Future[Result]", attempt: "_Attempt[Any]") -> Result:
        """The result of a finished job. Every failure of its worker becomes a `ClipError`."""
        name = name_job(attempt.arguments)
        try:
            return future.result()
        except (SignetError, BrokenProcessPool, CancelledError):
            raise
        except TimeoutError:
            raise ClipError(
                "timeout",
                f"{name}: not done within {attempt.timeout:.0f} s, the extractor's limit for a clip of its length: "
                f"{self._board.progress(attempt.place)}. Cut it to the sign, or raise --clip-timeout-seconds.",
            ) from None
        except MemoryError:
            raise ClipError(
                "too_large",
                f"{name}: needs more memory than a worker may use (MemoryError). Convert it to H.264, or make it "
                "smaller.",
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
    """A job, its place on the board and its time limit, and how often the whole pool failed while the job was in it."""

    job: Job
    arguments: tuple[Any, ...]
    place: int = 0
    timeout: float = 0.0
    failures: int = 0


def _mark_as_retrieved(settled: "asyncio.Future[Any]") -> None:
    """Prevent that asyncio logs the exception of a future that nobody awaits any more."""
    if not settled.cancelled():
        settled.exception()
