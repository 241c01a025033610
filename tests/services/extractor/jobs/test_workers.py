"""The worker pool: a job that kills, blocks or exhausts its worker does not affect other jobs."""

import asyncio
import ctypes
import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from services.extractor.jobs import calls, worker
from services.extractor.jobs import workers as pools
from services.extractor.jobs.workers import WorkerPool, WorkersStopped
from signet.errors import Busy, ClipError, DeadlineExceeded
from tests.services.extractor.conftest import SHORT, MakeVideo


def test_dying_and_hanging_jobs_become_clip_errors_and_the_others_succeed() -> None:
    jobs: list[tuple[str, tuple[object, ...]]] = [("sleep", (0.1,)), ("hang", (60,)), ("again", (0.2,))]
    with WorkerPool(2, clip_timeout=1.0) as workers:
        outcomes = dict(workers.each(time.sleep, jobs))
        assert outcomes["sleep"] is None
        assert outcomes["again"] is None
        assert isinstance(outcomes["hang"], ClipError)
        assert outcomes["hang"].reason == "timeout"

        for deadly, arguments in ((os._exit, (3,)), (ctypes.string_at, (0,)), (signal.raise_signal, (signal.SIGKILL,))):
            ((_, dead),) = workers.each(deadly, [("dead", arguments)])
            assert isinstance(dead, ClipError)
            assert dead.reason == "crashed"
        assert dict(workers.each(len, [("after", ("abc",))])) == {"after": 3}


def test_a_job_cannot_take_all_memory() -> None:
    with WorkerPool(1) as workers:
        ((_, greedy),) = workers.each(bytes, [("greedy", (20 * 1024**3,))])
        assert isinstance(greedy, ClipError)
        assert "MemoryError" in str(greedy)


def test_a_job_with_more_than_a_gigabyte_is_refused_and_the_next_succeeds() -> None:
    with WorkerPool(1) as workers:
        ((_, greedy),) = workers.each(bytes, [("greedy", (1024**3 + (os.cpu_count() or 1) * 64 * 1024**2,))])
        assert isinstance(greedy, ClipError)
        assert greedy.reason == "too_large"
        assert dict(workers.each(len, [("after", ("abc",))])) == {"after": 3}


def test_workers_that_die_between_jobs_are_replaced() -> None:
    with WorkerPool(2) as workers:
        pids = {pid for _, pid in workers.each(os.getpid, [(index, ()) for index in range(8)])}
        for pid in pids:
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        assert dict(workers.each(len, [("after", ("abc",))])) == {"after": 3}


def test_stopping_starts_no_further_job() -> None:
    done: list[int] = []
    with WorkerPool(1) as workers:
        jobs = [(index, (0.05,)) for index in range(50)]
        done.extend(job for job, _ in workers.each(time.sleep, jobs, lambda: len(done) >= 3))
    assert len(done) <= 4


def test_a_job_ends_at_the_deadline_of_its_caller(workers: WorkerPool) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"not done within 0\.5 s"):
        asyncio.run(workers.one(time.sleep, (30,), 0.5))
    assert time.monotonic() - started < 5
    assert asyncio.run(workers.one(len, ("abc",), 30)) == 3


@pytest.fixture
def no_clip_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long clips would be stopped for the clips that wait."""
    for limit in ("_LONG_SECONDS", "_LONG_ELAPSED_SECONDS"):
        monkeypatch.setattr(calls, limit, math.inf)


def _wait_for_frames(workers: WorkerPool, place: int) -> None:
    deadline = time.monotonic() + 120
    while not workers._board.progress(place).done:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("no_clip_is_long")
def test_a_worker_whose_caller_has_gone_stops_before_the_next_frame_and_takes_the_next_clip(
    make_video: MakeVideo,
) -> None:
    long = make_video(frames=3000).read_bytes()  # minutes of MediaPipe

    async def main(workers: WorkerPool) -> None:
        first = await workers.one(os.getpid, (), None)
        running = asyncio.create_task(workers.one(worker.extract_bytes, (long, worker.Labels("c")), None))
        waiting = asyncio.create_task(workers.one(worker.extract_bytes, (long, worker.Labels("d")), None))
        await asyncio.to_thread(_wait_for_frames, workers, 1)
        left = time.monotonic()
        for task in (waiting, running):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await workers.one(os.getpid, (), None) == first, "a new worker would have to load MediaPipe again"
        assert time.monotonic() - left < 8

    with WorkerPool(1) as workers:
        asyncio.run(main(workers))


@pytest.mark.usefixtures("no_clip_is_long")
def test_a_clip_that_is_not_done_in_time_says_how_far_it_came(make_video: MakeVideo) -> None:
    long = make_video(frames=3000).read_bytes()
    job = (worker.extract_bytes, (long, worker.Labels("c")))

    async def main(workers: WorkerPool) -> None:
        running = asyncio.create_task(workers.one(*job, None))
        await asyncio.to_thread(_wait_for_frames, workers, 0)
        with pytest.raises(DeadlineExceeded, match=r"it waited for a worker.*\. Allow more time, or cut the clip"):
            await workers.one(*job, 0.2)
        running.cancel()
        late = asyncio.create_task(workers.one(*job, 8.0))
        with pytest.raises(DeadlineExceeded, match=r"not done within 8\.0 s: \d+ of 3000 frames were done in"):
            await late

    with WorkerPool(1) as workers:
        asyncio.run(main(workers))


def test_a_long_clip_of_a_call_may_take_longer_than_a_short_one(make_video: MakeVideo) -> None:
    short, long = make_video("short.mp4", frames=6).read_bytes(), make_video(frames=300).read_bytes()
    with WorkerPool(1, clip_timeout=120) as workers:
        asyncio.run(workers.one(worker.extract_bytes, (short, worker.Labels("c")), None))
        workers._clip_timeout = 2
        extracted = asyncio.run(workers.one(worker.extract_bytes, (long, worker.Labels("c")), None))
        assert extracted.frames == 300


def test_the_limit_for_a_clip_is_not_to_be_raised_by_a_caller_who_cannot() -> None:
    with WorkerPool(1, clip_timeout=0.5) as workers:
        with pytest.raises(
            ClipError, match=r"the extractor's limit for a clip of its length: .*\. Cut it to the sign\.$"
        ) as caught:
            asyncio.run(workers.one(time.sleep, (60,), None))
        assert caught.value.reason == "timeout"
        ((_, owner),) = workers.each(time.sleep, [("job", (60,))])
        assert "or raise --clip-timeout-seconds" in str(owner)


def test_a_video_without_a_path_is_named_by_its_labels_when_it_is_not_done_in_time(make_video: MakeVideo) -> None:
    data = make_video(frames=3000).read_bytes()
    with WorkerPool(1, clip_timeout=0.5) as workers:
        ((_, error),) = workers.each(worker.extract_bytes, [("job", (data, worker.Labels("my clip")))])
    assert str(error).startswith("my clip: not done within")


def test_a_closed_pool_starts_no_worker_again() -> None:
    workers = WorkerPool(1)
    assert dict(workers.each(len, [("before", ("abc",))])) == {"before": 3}
    workers.close()
    with pytest.raises(WorkersStopped):
        list(workers.each(len, [("after", ("abc",))]))
    with pytest.raises(WorkersStopped):
        asyncio.run(workers.one(len, ("abc",), 5))
    assert workers._pool is None


def test_closing_the_pool_ends_running_jobs_with_an_error() -> None:
    workers = WorkerPool(1)
    timer = threading.Timer(1.0, workers.close)
    timer.start()
    started = time.monotonic()
    with pytest.raises(WorkersStopped):
        list(workers.each(time.sleep, [("long", (60,))]))
    timer.join()
    assert time.monotonic() - started < 20


def _sleep_the_first_time(marker: Path) -> str:
    """Hang if no earlier call left the marker."""
    if marker.exists():
        return "done"
    marker.touch()
    time.sleep(60)
    return "slept"


def _always_sleep(folder: Path) -> None:
    """Hang, and leave a marker of each call."""
    (folder / str(time.monotonic_ns())).touch()
    time.sleep(60)


def _end_pool_when(ready: threading.Event, workers: WorkerPool, times: int, started: list[int], folder: Path) -> None:
    """End the pool under its jobs, as often as asked, each time once a further job has begun."""
    for number in range(1, times + 1):
        while len(list(folder.iterdir())) < number and not ready.is_set():
            time.sleep(0.02)
        with workers._lock:
            workers._end_pool(BrokenProcessPool("ended by the test"))
        started.append(number)


@pytest.mark.parametrize(("function", "times", "outcome"), [("first", 1, "done"), ("always", 2, "crashed")])
def test_a_job_is_tried_twice_if_its_pool_fails(tmp_path: Path, function: str, times: int, outcome: str) -> None:
    stop = threading.Event()
    started: list[int] = []
    with WorkerPool(1, clip_timeout=120) as workers:
        killer = threading.Thread(target=_end_pool_when, args=(stop, workers, times, started, tmp_path))
        killer.start()
        try:
            if function == "first":
                ((_, result),) = workers.each(_sleep_the_first_time, [("job", (tmp_path / "marker",))])
                assert result == outcome
            else:
                ((_, failure),) = workers.each(_always_sleep, [("job", (tmp_path,))])
                assert isinstance(failure, ClipError)
                assert failure.reason == outcome
                assert len(list(tmp_path.iterdir())) == 2
        finally:
            stop.set()
            killer.join()
    assert started == list(range(1, times + 1))


def test_simultaneous_callers_share_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make_pool_slowly(**settings: object) -> object:
        time.sleep(0.1)  # long enough for the other callers to arrive
        pool = real(**settings)
        made.append(pool)
        return pool

    real = pools.ProcessPool  # type: ignore[attr-defined]
    monkeypatch.setattr(pools, "ProcessPool", make_pool_slowly)
    with WorkerPool(1) as workers:
        results: list[object] = []
        threads = [
            threading.Thread(target=lambda: results.extend(workers.each(len, [("job", ("abc",))]))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [("job", 3)] * 4
    assert len(made) == 1


@pytest.mark.clips
def test_routine_lines_of_mediapipe_are_dropped_and_all_other_output_is_passed_on(
    wlasl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with WorkerPool(1) as workers:
        data = (wlasl / "clips" / f"{SHORT[0]}.mp4").read_bytes()
        list(workers.each(worker.extract_bytes, [(0, (data, worker.Labels("c")))]))
        list(workers.each(os.write, [(0, (2, b"a real complaint\n"))]))
    assert capfd.readouterr().err == "a real complaint\n"


def test_closing_waits_for_a_pool_that_is_being_made_and_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    making, may_go_on = threading.Event(), threading.Event()

    def make_pool_slowly(**settings: object) -> object:
        making.set()
        may_go_on.wait(20)
        return real(**settings)

    real = pools.ProcessPool  # type: ignore[attr-defined]
    monkeypatch.setattr(pools, "ProcessPool", make_pool_slowly)
    workers = WorkerPool(1)
    with ThreadPoolExecutor(2) as threads:
        job = threads.submit(lambda: list(workers.each(time.sleep, [("long", (60,))])))
        assert making.wait(20)
        closed = threads.submit(workers.close)
        wait([closed], timeout=0.5)  # without a lock, the pool is closed here and made afterwards
        may_go_on.set()
        closed.result(20)
        pool = workers._pool
        if pool is not None:
            pool.stop()
        assert isinstance(job.exception(20), WorkersStopped)
    assert pool is None


def test_too_many_clips_of_calls_are_refused_with_a_time_to_retry() -> None:
    async def main(workers: WorkerPool) -> None:
        running = [asyncio.create_task(workers.one(time.sleep, (30,), None)) for _ in range(5)]
        await asyncio.sleep(0.1)
        with pytest.raises(Busy, match=r"works on 1 clips, and 4 wait\. Retry in 5 s\.") as refused:
            await workers.one(len, ("abc",), None)
        assert refused.value.retry_seconds == 5
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert len(workers._calls) == 0

    with WorkerPool(1) as workers:
        asyncio.run(main(workers))


def _fail_with_memory(megabytes: int) -> None:
    """Refuse a clip, as a decoder that holds much memory does."""
    held = bytearray(megabytes * 1024**2)
    try:
        int(chr(held[0]))
    except ValueError as error:
        raise ClipError("damaged", "the clip is damaged") from error


def test_a_refused_clip_with_much_memory_leaves_it_to_the_next_clip() -> None:
    with WorkerPool(1) as workers:
        outcomes = [outcome for _, outcome in workers.each(_fail_with_memory, [(index, (500,)) for index in range(3)])]
    assert [str(outcome) for outcome in outcomes] == ["the clip is damaged"] * 3
