"""Lanes: each clip goes to the lane of its cost, and costly lanes take turns."""

import asyncio
import threading

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.lanes import Lane, Lanes
from signet.errors import Busy
from signet.landmarks import ClipLength

MB = 1_000_000
SHORT, MEDIUM, LONG = ClipLength(60, 2.0), ClipLength(360, 12.0), ClipLength(5_400, 180.0)


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(EvaluatorMetrics(CollectorRegistry()))


@pytest.mark.parametrize(
    ("frames", "seconds", "size", "like"),
    [
        (60, 2.0, 30_000, SHORT),
        (720, 6.0, 380_000, SHORT),
        (2, 6.1, 1_500, MEDIUM),
        (721, 2.0, 400_000, MEDIUM),
        (60, 2.0, 2 * MB, MEDIUM),
        (2, 31.0, 1_500, LONG),
        (2, 180.0, 1_500, LONG),
        (4_000, 2.0, 2 * MB, LONG),
        (60, 2.0, 19 * MB, LONG),
    ],
)
def test_a_clip_goes_to_the_lane_of_its_cost(
    lanes: Lanes, frames: int, seconds: float, size: int, like: ClipLength
) -> None:
    """Two frames can be three minutes, and a short clip can have unknown tensors of many bytes."""
    assert lanes.lane(ClipLength(frames, seconds), size) is lanes.lane(like, 30_000)


def test_the_three_lanes_share_no_places_and_only_the_costly_ones_share_a_thread(lanes: Lanes) -> None:
    short, medium, long = (lanes.lane(length, 30_000) for length in (SHORT, MEDIUM, LONG))
    assert len({id(lane.admission) for lane in (short, medium, long)}) == 3
    assert medium.threads is long.threads
    assert medium.batcher is long.batcher
    assert short.threads is not long.threads
    assert short.batcher is not long.batcher


def test_sixteen_of_the_longest_clips_fill_their_lane_and_no_other(lanes: Lanes) -> None:
    long = lanes.lane(LONG, 1_500)
    places = [long.admission.admit(1_500, 180.0) for _ in range(16)]
    for place in places:
        place.__enter__()
    with pytest.raises(Busy, match="16 long clips"), long.admission.admit(1_500, 180.0):
        pass
    for length in (SHORT, MEDIUM):
        with lanes.lane(length, 30_000).admission.admit(30_000, length.seconds):
            pass
    for place in places:
        place.__exit__(None, None, None)


def test_medium_and_long_clips_take_turns_at_their_thread(lanes: Lanes) -> None:
    """A medium clip waits for one long clip at most, and the other way round."""
    order: list[str] = []

    async def work(lane: Lane, name: str) -> None:
        await lane.run(order.append, name)

    async def main() -> None:
        medium, long = lanes.lane(MEDIUM, 1), lanes.lane(LONG, 1)
        held = threading.Event()
        first = asyncio.create_task(long.run(held.wait, 10))
        await asyncio.sleep(0.01)
        calls = [asyncio.create_task(work(long, "long")) for _ in range(4)]
        await asyncio.sleep(0.01)
        calls += [asyncio.create_task(work(medium, "medium")) for _ in range(4)]
        await asyncio.sleep(0.01)
        held.set()
        await asyncio.gather(first, *calls)

    asyncio.run(main())
    assert order[:6].count("medium") >= 3
    assert order[:6].count("long") >= 2


def test_a_small_video_has_a_place_beside_the_largest_one(lanes: Lanes) -> None:
    with lanes.videos(64 * MB).admit(64 * MB):
        with pytest.raises(Busy, match="large videos"), lanes.videos(10 * MB).admit(10 * MB):
            pass
        with lanes.videos(MB).admit(MB):
            pass
