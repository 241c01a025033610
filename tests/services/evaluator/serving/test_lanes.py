"""Lanes: each clip goes to the lane of its cost, and costly lanes take turns."""

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.lanes import Lanes
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import ClipRequest, Pipeline, ProcessedClip
from services.evaluator.serving.servable_model import ServableModel
from signet.errors import Busy
from signet.landmarks import ClipLength
from signet.registry import ModelCard

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

MB = 1_000_000
SHORT, MEDIUM, LONG = ClipLength(60, 2.0), ClipLength(360, 12.0), ClipLength(5_400, 180.0)


class HeldPipeline(Pipeline):
    """Answers nothing, keeps the order of the requests, and waits at requests with the names in `held`."""

    def __init__(self) -> None:
        super().__init__(EvaluatorMetrics(CollectorRegistry()))
        self.order: list[str] = []
        self.held: set[str] = set()
        self.release = threading.Event()

    async def has(self, name: str) -> None:
        """Wait for a request."""
        async with asyncio.timeout(10):
            while name not in self.order:
                await asyncio.sleep(0.001)

    def process(self, model: ServableModel, requests: Sequence[ClipRequest]) -> list[ProcessedClip | Exception]:
        self.order += [request.name for request in requests]
        if any(request.name in self.held for request in requests):
            assert self.release.wait(10)
        return [ProcessedClip(0, (), None) for _ in requests]


@pytest.fixture
def pipeline() -> HeldPipeline:
    return HeldPipeline()


@pytest.fixture
def lanes(pipeline: HeldPipeline) -> Lanes:
    return Lanes(pipeline)


@pytest.fixture
def model(world: "World", card: ModelCard) -> LoadedModel:
    return LoadedModel.load(world.store, card.name, card.version, threads=1)


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


def test_the_three_lanes_share_no_places_and_no_queue(lanes: Lanes) -> None:
    found = [lanes.lane(length, 30_000) for length in (SHORT, MEDIUM, LONG)]
    assert len({id(lane.admission) for lane in found}) == 3
    assert len({id(lane.queue) for lane in found}) == 3


def test_only_the_costly_lanes_share_a_thread(model: LoadedModel, pipeline: HeldPipeline) -> None:
    """A short clip is answered while a long one is computed, and a medium one waits."""

    async def main() -> None:
        lanes = Lanes(pipeline)
        short, medium, long = (lanes.lane(length, 30_000) for length in (SHORT, MEDIUM, LONG))
        pipeline.held.add("long")
        first = asyncio.create_task(long.queue.answer(model, ClipRequest(b"", "long"), 1_800))
        await pipeline.has("long")
        behind = asyncio.create_task(medium.queue.answer(model, ClipRequest(b"", "medium"), 120))
        await short.queue.answer(model, ClipRequest(b"", "short"), 20)
        assert not first.done()
        assert not behind.done()
        pipeline.release.set()
        await asyncio.gather(first, behind)

    asyncio.run(main())
    assert pipeline.order == ["long", "short", "medium"]


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


def test_medium_and_long_clips_take_turns_at_their_thread(model: LoadedModel, pipeline: HeldPipeline) -> None:
    """A medium clip waits for one batch of long clips at most, and the other way round."""

    async def main() -> None:
        lanes = Lanes(pipeline)
        medium, long = lanes.lane(MEDIUM, 1), lanes.lane(LONG, 1)
        pipeline.held.add("long")
        calls = [asyncio.create_task(long.queue.answer(model, ClipRequest(b"", "long"), 1_800)) for _ in range(5)]
        await pipeline.has("long")
        calls += [asyncio.create_task(medium.queue.answer(model, ClipRequest(b"", "medium"), 300)) for _ in range(20)]
        await asyncio.sleep(0.01)
        pipeline.release.set()
        await asyncio.gather(*calls)

    asyncio.run(main())
    turn = ["long", *["medium"] * 6]
    assert pipeline.order == [*turn, *turn, *turn, "long", "medium", "medium", "long"]


def test_a_small_video_has_a_place_beside_the_largest_one(lanes: Lanes) -> None:
    with lanes.videos(64 * MB).admit(64 * MB):
        with pytest.raises(Busy, match="large videos"), lanes.videos(10 * MB).admit(10 * MB):
            pass
        with lanes.videos(MB).admit(MB):
            pass
