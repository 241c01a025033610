"""Long clips of calls do not keep short ones from being answered."""

import asyncio
import multiprocessing
import signal
import statistics
import time
from concurrent.futures import Future

import pytest

from bench.hostile.videos import matroska_with_tags
from services.extractor.jobs import calls, worker
from services.extractor.jobs.board import JobBoard, VideoSize
from services.extractor.jobs.calls import Call, CallQueue
from services.extractor.jobs.workers import WorkerPool
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import Busy, ClipError
from tests.services.extractor.conftest import MakeVideo


async def _extract(workers: WorkerPool, video: bytes) -> int:
    extracted = await workers.one(worker.extract_bytes, (video, worker.Labels("c")), None)
    return extracted.frames


async def _send_again_and_again(workers: WorkerPool, video: bytes) -> None:
    while True:
        try:
            await _extract(workers, video)
        except Busy:
            await asyncio.sleep(0.1)


async def _seconds(workers: WorkerPool, video: bytes) -> float:
    started = time.monotonic()
    await _extract(workers, video)
    return time.monotonic() - started


@pytest.mark.parametrize("count", [1, 2])
def test_long_clips_sent_four_at_a_time_do_not_keep_a_short_clip_from_being_answered(
    make_video: MakeVideo, count: int
) -> None:
    short, long = make_video("short.mp4", frames=30).read_bytes(), make_video(frames=3000).read_bytes()

    async def main(workers: WorkerPool) -> None:
        await asyncio.gather(*[_extract(workers, short) for _ in range(count)])  # each worker loads MediaPipe
        before = statistics.median([await _seconds(workers, short) for _ in range(3)])
        attack = [asyncio.create_task(_send_again_and_again(workers, long)) for _ in range(4)]
        await asyncio.sleep(1)
        attacked = [await _seconds(workers, short) for _ in range(5)]
        for task in attack:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*attack, return_exceptions=True)
        # Other programs may have come or gone meanwhile.
        usual = max(before, statistics.median([await _seconds(workers, short) for _ in range(4)][1:]))
        # One core may have to serve two clips.
        assert statistics.median(attacked) < 2 * usual + 0.5, (usual, attacked)
        assert max(attacked) < 4 * usual + 1, (usual, attacked)

    with WorkerPool(count) as workers:
        asyncio.run(main(workers))


def test_clips_that_were_stopped_for_others_are_answered_in_the_end(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_LONG_SECONDS", 0.5)
    short, long = make_video("short.mp4", frames=20).read_bytes(), make_video(frames=60).read_bytes()
    stops: list[int] = []

    async def main(workers: WorkerPool) -> None:
        attack = [asyncio.create_task(_extract(workers, long)) for _ in range(3)]
        while len([call for call in workers._calls._calls if call.long and call.future]) < 2:
            await asyncio.sleep(0.05)
        assert await _extract(workers, short) == 20
        stops.extend(call.stops for call in workers._calls._calls)
        assert await asyncio.gather(*attack) == [60, 60, 60]

    with WorkerPool(2) as workers:
        asyncio.run(main(workers))
    assert max(stops) == 1


@pytest.fixture
def board() -> JobBoard:
    return JobBoard(multiprocessing.get_context("spawn"))


def _open(
    queue: CallQueue,
    board: JobBoard,
    frames: int,
    pixels: int = 640 * 480,
    size: int = 1000,
    quality: TrackingQuality = TrackingQuality.FULL,
) -> Call:
    """A clip of 25 frames a second that a worker has opened."""
    call = queue.add(size, quality)
    call.place, call.future = board.add(), Future()
    call.future.set_running_or_notify_cancel()
    board.start(call.place)
    tracked = frames if quality is TrackingQuality.FULL else frames * 10 // 25
    board.note_packet(call.place, VideoSize(frames, pixels, tracked))
    queue.check_work(call)
    return call


def _schedule(queue: CallQueue) -> Call:
    """A clip that no worker has opened."""
    call = queue.add(1000)
    call.future = Future()
    return call


def test_a_clip_is_long_by_its_frames_and_their_pixels(board: JobBoard) -> None:
    queue = CallQueue(4, board, 10**9)
    assert not _open(queue, board, 180).long
    assert _open(queue, board, 300).long
    assert _open(queue, board, 100, 4096 * 2304).long
    assert not _open(queue, board, 50, 4096 * 2304).long


def test_a_clip_of_the_quality_fast_is_long_by_its_tracked_frames(board: JobBoard) -> None:
    queue = CallQueue(4, board, 10**9)
    fast = TrackingQuality.FAST
    assert not _open(queue, board, 600, quality=fast).long
    assert _open(queue, board, 750, quality=fast).long
    assert _open(queue, board, 125, 4096 * 2304, quality=fast).long
    assert not _open(queue, board, 100, 4096 * 2304, quality=fast).long


def test_a_clip_that_tells_less_work_than_it_is_becomes_long(board: JobBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = CallQueue(4, board, 10**9)
    call = _open(queue, board, 1)
    assert not call.long
    monkeypatch.setattr(calls, "_LONG_ELAPSED_SECONDS", 0.0)
    queue.check_work(call)
    assert call.long


def test_a_clip_with_a_packet_that_takes_seconds_becomes_long(board: JobBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = CallQueue(4, board, 10**9)
    call = _schedule(queue)
    call.place = board.add()
    monkeypatch.setattr(calls, "SILENT_SECONDS", 0.0)
    queue.check_work(call)
    assert not call.long, "no worker has opened it"
    board.open(call.place)
    queue.check_work(call)
    assert call.long


def test_a_header_that_takes_minutes_to_read_is_given_up_and_does_not_keep_a_short_clip_from_being_answered(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.extractor.jobs.workers._MOST_SILENT_SECONDS", 8.0)
    short, tags = make_video("short.mp4", frames=6).read_bytes(), matroska_with_tags(150_000)

    async def main(workers: WorkerPool) -> None:
        await _extract(workers, short)
        attack = asyncio.create_task(_extract(workers, tags))
        await asyncio.sleep(4)
        started = time.monotonic()
        assert await _extract(workers, short) == 6
        assert time.monotonic() - started < 20  # a new worker loads MediaPipe
        with pytest.raises(ClipError, match=r"^c: its header or one of its frames takes more than 8 s\. Convert"):
            await attack
        assert await _extract(workers, short) == 6

    with WorkerPool(1) as workers:
        asyncio.run(main(workers))


def test_long_clips_use_all_workers_until_another_clip_waits_and_then_half_of_them(board: JobBoard) -> None:
    queue = CallQueue(4, board, 10**9)
    long = [_open(queue, board, 3000) for _ in range(4)]
    stopped: list[Call] = []
    queue.make_room(True, stopped.append)
    assert stopped == []
    for expected in ([3], [3, 2], [3, 2], [3, 2]):  # the youngest first, and two keep their workers
        _schedule(queue)
        queue.make_room(True, stopped.append)
        assert stopped == [long[index] for index in expected]
    queue.make_room(False, stopped.append)
    assert len(stopped) == 2


def test_a_stopped_clip_waits_for_one_of_the_workers_for_long_clips(board: JobBoard) -> None:
    queue = CallQueue(2, board, 10**9)
    first, second = _open(queue, board, 3000), _open(queue, board, 3000)
    queue.stopped(second)
    assert second.stops == 1
    assert not queue.may_start(second)
    assert queue.may_start(_schedule(queue))
    queue.remove(first)
    assert queue.may_start(second)


def test_one_worker_gives_a_long_clip_up_that_it_cannot_finish(board: JobBoard) -> None:
    queue = CallQueue(1, board, 10**9)
    call = _open(queue, board, 3000)
    for _ in range(3):
        queue.stopped(call)
        assert queue.may_start(call)
        call.future = Future()
    with pytest.raises(Busy, match="was needed for other clips 4 times") as refused:
        queue.stopped(call)
    assert refused.value.retry_seconds == 60


def test_long_clips_do_not_fill_the_queue_of_the_others(board: JobBoard) -> None:
    queue = CallQueue(1, board, 10**9)
    for _ in range(5):
        _open(queue, board, 3000)
    with pytest.raises(Busy, match="5 other clips of more than 10 s of work"):
        _open(queue, board, 3000)
    for _ in range(4):  # and the one that was refused
        _schedule(queue)
    with pytest.raises(Busy, match="works on 1 clips, and 4 wait"):
        queue.add(1000)


def test_large_clips_have_a_limit_of_bytes_together_and_leave_room_for_small_ones(board: JobBoard) -> None:
    queue = CallQueue(4, board, 10_000_000)
    call = queue.add(50_000_000)
    with pytest.raises(Busy, match="have 50000000 bytes; with this one they would have more than 10000000") as refused:
        queue.add(4_200_000)
    assert refused.value.retry_seconds == 5
    queue.add(4_000_000)
    queue.remove(call)
    queue.add(5_000_000)
    queue.add(5_000_000)
    with pytest.raises(Busy):
        queue.check_room(5_000_000)
    queue.check_room(4_000_000)


def test_clips_that_kill_their_workers_in_a_row_stop_neither_the_pool_nor_other_clips(make_video: MakeVideo) -> None:
    short = make_video("short.mp4", frames=6).read_bytes()
    crashed = []

    async def kill(workers: WorkerPool) -> None:
        for _ in range(12):
            with pytest.raises(ClipError, match="its worker died") as caught:
                await workers.one(signal.raise_signal, (signal.SIGKILL,), None)
            crashed.append(caught.value.reason)

    async def main(workers: WorkerPool) -> None:
        attack = asyncio.create_task(kill(workers))
        while not attack.done():
            assert await _extract(workers, short) == 6
        await attack
        assert await _extract(workers, short) == 6

    with WorkerPool(2) as workers:
        asyncio.run(main(workers))
    assert crashed == ["crashed"] * 12
