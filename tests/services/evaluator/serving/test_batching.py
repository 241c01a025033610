"""The batcher over real models: each caller gets the answer of the version that it asked for."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.evaluator.serving.batching import Batcher, BatchQueue
from services.evaluator.serving.loaded_model import Frames, LoadedModel
from services.evaluator.serving.servable_model import ServableModel
from signet import registry
from signet.datasets.snapshot import Dataset
from signet.landmarks import to_model_input
from signet.registry import ModelCard
from tests.services.evaluator.conftest import GLOSSES, make_graph, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SECONDS = 10.0


class HeldModel(LoadedModel):
    """A model whose runs wait until the test lets them go; it keeps how many clips each run had."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.runs: list[int] = []
        self.started = threading.Semaphore(0)
        self.released = threading.Semaphore(0)
        self.held = False
        super().__init__(*arguments, **named)

    def log_probs(
        self,
        clips: Sequence[Frames],
        before_batch: Callable[[int], None] | None = None,
        dominance: Sequence[float] | None = None,
    ) -> list[Frames]:
        if self.held:
            self.runs.append(len(clips))
            self.started.release()
            assert self.released.acquire(timeout=SECONDS)
        return super().log_probs(clips, before_batch, dominance)

    async def run_started(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=SECONDS)


@pytest.fixture
def models(world: "World", snapshot: Dataset) -> tuple[HeldModel, HeldModel]:
    """Two versions that answer each clip differently.

    Their graphs have the glosses in opposite order, and the continuous decoder of the second one finds nothing.
    """
    places = [place_of(index, len(GLOSSES)) for index in range(len(GLOSSES))]
    made = []
    for order, changes in ((places, {}), (places[::-1], {"insertion_penalty": 1000.0})):
        card = world.publish(snapshot, make_graph(order), **changes)
        made.append(HeldModel(card, registry.read_file(world.store, card, "model.onnx"), 1))
        made[-1].held = True
    return made[0], made[1]


@pytest.fixture
def clips(sign: Any) -> list[Frames]:
    """One clip of each gloss, all of other lengths."""
    return [
        to_model_input(sign(f"c{index}", "", place_of(index, len(GLOSSES)), frames=24 + 3 * index))
        for index in range(len(GLOSSES))
    ]


class Queue:
    """A queue of a batcher that only runs models."""

    def __init__(self, batcher: Batcher[Frames, Frames]) -> None:
        self._queue: BatchQueue[Frames, Frames] = batcher.add_queue()

    async def log_probs(self, model: LoadedModel, clip: Frames) -> Frames:
        return await self._queue.answer(model, clip, len(clip))


def run_model(model: ServableModel, clips: list[Frames]) -> list[Frames]:
    assert isinstance(model, LoadedModel)
    return model.log_probs(clips)


def scenario(steps: Callable[[Queue], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(SECONDS):
            await steps(Queue(Batcher(run_model, "test")))

    asyncio.run(main())


def first_guess(model: LoadedModel, answer: Frames) -> str:
    return model.vocabulary[int(model.decode(answer).posterior.argmax())]


def test_callers_of_two_versions_each_get_their_own_version_s_answer(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    old, new = models

    async def steps(batcher: Queue) -> None:
        calls = [asyncio.create_task(batcher.log_probs(old, clips[0]))]
        await old.run_started()
        # They wait behind the first run: two for the old version, three for the new one, one for the old one.
        asked = [(old, 1), (old, 2), (new, 0), (new, 1), (new, 2), (old, 3)]
        calls += [asyncio.create_task(batcher.log_probs(model, clips[index])) for model, index in asked]
        await asyncio.sleep(0)
        for model in models:
            model.released.release(3)
        answers = await asyncio.gather(*calls)
        assert [first_guess(old, answer) for answer in answers] == ["book", "chair", "drink", "who", "help", "go", "go"]
        for (model, index), answer in zip([(old, 0), *asked], answers, strict=True):
            model.held = False
            np.testing.assert_allclose(answer, model.log_probs([clips[index]])[0], atol=1e-5)

    scenario(steps)
    assert old.runs == [1, 3], "callers of one version share a run, also if callers of another one came between them"
    assert new.runs == [3]


def test_each_caller_of_a_failed_run_gets_the_error_and_the_callers_behind_it_are_answered(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    old, new = models

    async def steps(batcher: Queue) -> None:
        first = asyncio.create_task(batcher.log_probs(old, clips[0]))
        await old.run_started()
        unusable = np.zeros((9, 75, 2), np.float32)
        failing = [asyncio.create_task(batcher.log_probs(old, clip)) for clip in (clips[1], unusable)]
        behind = asyncio.create_task(batcher.log_probs(new, clips[0]))
        await asyncio.sleep(0)
        old.released.release(3)
        new.released.release(1)
        failed = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(error) for error in failed] == [ValueError, ValueError]
        assert first_guess(old, await first) == "book"
        assert first_guess(old, await behind) == "who"
        assert first_guess(old, await batcher.log_probs(old, clips[2])) == "drink"

    scenario(steps)
    assert old.runs == [1, 2, 1]


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_caller_of_a_run_does_not_stop_the_next_run(
    models: tuple[HeldModel, HeldModel], clips: list[Frames], fails: bool
) -> None:
    model, _ = models

    async def steps(batcher: Queue) -> None:
        first = asyncio.create_task(batcher.log_probs(model, np.zeros((9, 75, 2), np.float32) if fails else clips[0]))
        await model.run_started()
        behind = asyncio.create_task(batcher.log_probs(model, clips[1]))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        model.released.release(2)
        assert first_guess(model, await behind) == "chair"

    scenario(steps)
    assert model.runs == [1, 1]


def test_a_caller_that_was_cancelled_before_its_run_is_not_computed(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    old, new = models

    async def steps(batcher: Queue) -> None:
        first = asyncio.create_task(batcher.log_probs(old, clips[0]))
        await old.run_started()
        gone = [asyncio.create_task(batcher.log_probs(old, clip)) for clip in clips[1:3]]
        stays = asyncio.create_task(batcher.log_probs(old, clips[3]))
        all_gone = asyncio.create_task(batcher.log_probs(new, clips[4]))
        await asyncio.sleep(0)
        for caller in (*gone, all_gone):
            caller.cancel()
        old.released.release(2)
        assert first_guess(old, await stays) == "go"
        await first
        await asyncio.gather(*gone, all_gone, return_exceptions=True)
        # The batcher is idle now, and starts again for the next caller.
        old.released.release(1)
        assert first_guess(old, await batcher.log_probs(old, clips[5])) == "who"

    scenario(steps)
    assert (old.runs, new.runs) == ([1, 1, 1], [])


def test_a_run_takes_at_most_32_callers_in_order_of_arrival(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    model, _ = models

    async def steps(batcher: Queue) -> None:
        calls = [asyncio.create_task(batcher.log_probs(model, clips[0]))]
        await model.run_started()
        calls += [asyncio.create_task(batcher.log_probs(model, clips[index % 6])) for index in range(33)]
        await asyncio.sleep(0)
        model.released.release(3)
        answers = await asyncio.gather(*calls)
        assert [first_guess(model, answer) for answer in answers[1:]] == [GLOSSES[index % 6] for index in range(33)]

    scenario(steps)
    assert model.runs == [1, 32, 1]


def test_no_two_runs_go_at_a_time(models: tuple[HeldModel, HeldModel], clips: list[Frames], card: ModelCard) -> None:
    old, new = models

    async def steps(batcher: Queue) -> None:
        calls = [asyncio.create_task(batcher.log_probs(model, clips[0])) for model in models]
        await old.run_started()
        await asyncio.sleep(0.05)
        assert new.runs == []
        old.released.release()
        new.released.release()
        assert [first_guess(old, answer) for answer in await asyncio.gather(*calls)] == ["book", "who"]

    scenario(steps)


def test_a_long_clip_does_not_pad_short_ones_and_no_clip_waits_for_ever(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    """A batch of 31 short clips and one of a minute would compute 32 minutes."""
    model, _ = models
    long = np.full((600, 75, 3), np.nan, np.float32)

    async def steps(batcher: Queue) -> None:
        calls = [asyncio.create_task(batcher.log_probs(model, clips[0]))]
        await model.run_started()
        for index in range(31):
            calls.append(asyncio.create_task(batcher.log_probs(model, clips[index % 6])))
            if index == 1:
                calls.append(asyncio.create_task(batcher.log_probs(model, long)))
        await asyncio.sleep(0)
        model.released.release()
        await model.run_started()
        assert model.runs == [1, 31], "the short clips go together, and the long one keeps its place"
        calls += [asyncio.create_task(batcher.log_probs(model, clips[0])) for _ in range(3)]
        await asyncio.sleep(0)
        model.released.release(3)
        await asyncio.gather(*calls)
        assert model.runs == [1, 31, 2, 2], (
            "the long one is next; one short clip fits, as half of the run is no padding"
        )

    scenario(steps)


def test_a_run_of_long_clips_has_at_most_2048_frames(models: tuple[HeldModel, HeldModel], clips: list[Frames]) -> None:
    model, _ = models
    long = np.full((600, 75, 3), np.nan, np.float32)

    async def steps(batcher: Queue) -> None:
        calls = [asyncio.create_task(batcher.log_probs(model, clips[0]))]
        await model.run_started()
        calls += [asyncio.create_task(batcher.log_probs(model, long)) for _ in range(7)]
        await asyncio.sleep(0)
        model.released.release(4)
        await asyncio.gather(*calls)

    scenario(steps)
    assert model.runs == [1, 3, 3, 1]


def test_a_thousand_cancelled_callers_leave_the_queue_at_once(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    model, _ = models

    async def steps(batcher: Queue) -> None:
        first = asyncio.create_task(batcher.log_probs(model, clips[0]))
        await model.run_started()
        left: list[weakref.ref[Frames]] = []
        for _ in range(1000):
            clip = np.zeros((9, 75, 3), np.float32)
            left.append(weakref.ref(clip))
            call = asyncio.create_task(batcher.log_probs(model, clip))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            del call, clip
        gc.collect()
        assert [clip() for clip in left if clip() is not None] == []
        model.released.release()
        await first

    scenario(steps)
    assert model.runs == [1]


def test_a_batch_takes_its_share_of_the_calls_that_are_under_way(
    models: tuple[HeldModel, HeldModel], clips: list[Frames]
) -> None:
    """The other callers send their next requests meanwhile."""
    model, _ = models

    async def main() -> None:
        queue = Batcher(run_model, "test").add_queue(2)
        calls = [asyncio.create_task(queue.answer(model, clips[0], len(clips[0])))]
        await model.run_started()
        calls += [asyncio.create_task(queue.answer(model, clips[0], len(clips[0]))) for _ in range(8)]
        await asyncio.sleep(0)
        model.released.release(9)
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert model.runs[0] == 1
    assert 4 <= model.runs[1] <= 5
    assert sum(model.runs) == 9
