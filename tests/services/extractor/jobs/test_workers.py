"""Workers: a job that kills, hangs or starves its worker costs only itself."""

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path

import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.workers import Workers
from signet.errors import ClipError, DeadlineExceeded
from tests.services.extractor.conftest import SHORT


def test_dying_and_hanging_jobs_are_named_and_the_others_done() -> None:
    jobs: list[tuple[str, tuple[object, ...]]] = [("sleep", (0.1,)), ("hang", (60,)), ("again", (0.2,))]
    with Workers(2, clip_timeout=1.0) as workers:
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


def test_a_job_that_wants_all_memory_is_refused_it() -> None:
    with Workers(1) as workers:
        ((_, greedy),) = workers.each(bytes, [("greedy", (20 * 1024**3,))])
        assert isinstance(greedy, ClipError)
        assert "MemoryError" in str(greedy)


def test_workers_that_die_between_jobs_are_replaced() -> None:
    with Workers(2) as workers:
        pids = {pid for _, pid in workers.each(os.getpid, [(index, ()) for index in range(8)])}
        for pid in pids:
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        assert dict(workers.each(len, [("after", ("abc",))])) == {"after": 3}


def test_stopping_begins_no_further_job() -> None:
    done: list[int] = []
    with Workers(1) as workers:
        jobs = [(index, (0.05,)) for index in range(50)]
        done.extend(job for job, _ in workers.each(time.sleep, jobs, lambda: len(done) >= 3))
    assert len(done) <= 4


def test_one_job_ends_when_its_caller_has_no_more_time(workers: Workers) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"not done within 0\.5 s"):
        asyncio.run(workers.one(time.sleep, (30,), 0.5))
    assert time.monotonic() - started < 5
    assert asyncio.run(workers.one(len, ("abc",), 30)) == 3


@pytest.mark.clips
def test_mediapipes_chatter_is_sifted_out_and_everything_else_passed_on(
    wlasl: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Workers(1) as workers:
        data = (wlasl / "clips" / f"{SHORT[0]}.mp4").read_bytes()
        list(workers.each(worker.extract_bytes, [(0, (data, worker.Labels("c")))]))
        list(workers.each(os.write, [(0, (2, b"a real complaint\n"))]))
    assert capfd.readouterr().err == "a real complaint\n"
