"""The recognizer: one version answers a call from its beginning to its end."""

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from safetensors.numpy import save

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving import pipeline as module
from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import ClipRequest, Pipeline, load_clip
from services.evaluator.serving.recognizer import RecognitionResult, Recognizer
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import Busy, InvalidInput
from signet.landmarks import NothingSigned
from signet.registry import ModelCard
from tests.services.evaluator.conftest import GLOSSES, place_of
from tests.services.evaluator.serving.test_batching import HeldModel, models

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

__all__ = ["models"]

SECONDS = 20.0


class OneModel(Recognizer):
    """Asks the model that the test gives it."""

    def __init__(self, model: LoadedModel, metrics: EvaluatorMetrics) -> None:
        super().__init__(ExtractorClient(""), metrics, Pipeline(metrics, 1))
        self.model = model

    async def ask(self, clip: bytes, top_k: int = 0) -> RecognitionResult:
        return await self.recognise(self.model, clip, top_k)


def recognizer(model: LoadedModel) -> tuple[OneModel, CollectorRegistry]:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)
    metrics.show_served(model.card)
    return OneModel(model, metrics), collected


def recognise(recognizer: OneModel, clip: bytes, top_k: int = 0) -> RecognitionResult:
    return asyncio.run(recognizer.ask(clip, top_k))


@pytest.fixture
def clip(sign: Any) -> bytes:
    """A clip of `drink`."""
    return landmarks.dump(sign("new", "", place_of(2, 6), frames=40))


def test_a_version_that_is_published_during_a_call_does_not_answer_it(
    world: "World", models: tuple[HeldModel, HeldModel], clip: bytes
) -> None:
    old, new = models
    asked, collected = recognizer(old)

    async def main() -> tuple[RecognitionResult, RecognitionResult]:
        first = asyncio.create_task(asked.ask(clip))
        await old.run_started()
        asked.model = new
        second = asyncio.create_task(asked.ask(clip))
        old.released.release()
        new.released.release()
        return await first, await second

    first, second = asyncio.run(main())
    assert first.decoded is not None
    assert second.decoded is not None
    assert (first.card.version, first.ranked[0].gloss, first.decoded.greedy) == (old.card.version, "drink", ("drink",))
    assert (second.card.version, second.ranked[0].gloss, second.decoded.greedy) == (new.card.version, "go", ("go",))
    counter = "signet_evaluator_predictions_total"
    assert (first.decoded.continuous, second.decoded.continuous) == (("drink",), ())
    count = {gloss: collected.get_sample_value(counter, {"gloss": gloss}) for gloss in GLOSSES}
    assert count == {"book": 0, "chair": 0, "drink": 1, "go": 1, "help": 0, "who": 0}


def test_as_many_glosses_are_returned_as_are_asked_for(world: "World", card: ModelCard, clip: bytes) -> None:
    model = LoadedModel.load(world.store, "signet", card.version, 1)
    asked, _ = recognizer(model)
    for top_k, count in ((0, 5), (1, 1), (3, 3), (6, 6)):
        ranked = recognise(asked, clip, top_k).ranked
        assert len(ranked) == count
        assert [one.probability for one in ranked] == sorted((one.probability for one in ranked), reverse=True)
    with pytest.raises(InvalidInput, match=r"top_k=7: the model signet/\S+ knows 6 glosses"):
        recognise(asked, clip, 7)


def test_a_vocabulary_of_three_is_returned_whole(world: "World", sign: Any) -> None:
    glosses = ("chair", "go", "who")
    snapshot = world.snapshot(world.everyday_clips(glosses))
    card = world.publish(snapshot)
    asked, _ = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, landmarks.dump(sign("new", "", place_of(1, 3))))
    assert found.ranked[0].gloss == "go"
    assert len(found.ranked) == 3


def test_the_best_path_and_the_continuous_decoder_are_not_mixed_up(
    world: "World", snapshot: Dataset, clip: bytes
) -> None:
    card = world.publish(snapshot, insertion_penalty=1000.0)
    asked, _ = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, clip)
    assert found.decoded is not None
    assert (found.decoded.continuous, found.decoded.greedy) == ((), ("drink",))
    assert found.seconds.keys() == {"prepare", "model", "decode", "total"}
    assert found.seconds["total"] >= sum(found.seconds[stage] for stage in ("prepare", "model", "decode"))


def test_a_clip_without_a_sign_is_not_given_to_the_model(world: "World", card: ModelCard, sign: Any) -> None:
    asked, collected = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, landmarks.dump(sign("new", "", None, frames=40)))
    assert (found.nothing_signed, found.ranked, found.decoded) == (NothingSigned.NO_HAND_FOUND, (), None)
    assert found.frames == 13
    assert found.seconds.keys() == {"prepare", "total"}
    counter = "signet_evaluator_nothing_signed_total"
    count = {reason: collected.get_sample_value(counter, {"reason": reason}) for reason in NothingSigned}
    assert count == {"too short": 0, "no hand found": 1, "no hand moves": 0}
    assert collected.get_sample_value("signet_evaluator_batch_clips_count") == 0


def stretched(sign: Any, frames: int, seconds: float) -> bytes:
    """A clip with hands in all frames, which are spread over so many seconds."""
    made = sign("long", "", place_of(2, 6), frames=frames)
    return landmarks.dump(replace(made, timestamps=np.linspace(0, seconds, frames).astype(np.float32)))


def test_eighty_clips_of_three_minutes_at_once_get_an_answer_or_are_refused_at_once(
    world: "World", card: ModelCard, clip: bytes, sign: Any
) -> None:
    """A short clip beside them is answered. Later calls have places again."""
    asked, _ = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    attack = stretched(sign, 1_800, 180.0)

    async def main() -> None:
        calls = [asyncio.create_task(asked.ask(attack)) for _ in range(80)]
        refused = [call for call in (await asyncio.wait(calls, timeout=0.01))[0] if call.exception()]
        assert len(refused) == 64
        for call in refused:
            error = call.exception()
            assert isinstance(error, Busy)
            assert error.retry_seconds == 5
            assert "the evaluator works on 16 long clips, and takes no more. Retry in 5 s." in str(error)
        assert (await asked.ask(clip)).ranked[0].gloss == "drink"
        assert sum(call.done() for call in calls) < 80, "the short clip did not wait for the long ones"
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert (await asked.ask(attack)).frames == 1_800

    asyncio.run(main())


def test_a_call_whose_deadline_passes_while_it_waits_is_not_started(
    world: "World", card: ModelCard, sign: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    held, prepared = threading.Event(), []

    def load(request: ClipRequest) -> Any:
        prepared.append(request)
        held.wait(SECONDS)
        return load_clip(request)

    monkeypatch.setattr(module, "load_clip", load)

    async def main() -> None:
        first = asyncio.create_task(asked.ask(stretched(sign, 100, 100.0)))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asked.ask(stretched(sign, 110, 110.0))
        held.set()
        assert (await first).frames == 1_000

    asyncio.run(main())
    assert len(prepared) == 1


def test_joints_that_are_not_finite_are_refused_and_huge_ones_get_an_answer_or_an_error_that_names_it(
    world: "World", card: ModelCard, sign: Any
) -> None:
    asked, _ = recognizer(LoadedModel.load(world.store, "signet", card.version, 1))
    made = sign("joints", "", place_of(2, 6), frames=40)
    tensors = {name: getattr(made, name) for name in ("presence", "visibility", "timestamps")}
    record = {"signet": made.record.model_dump_json(by_alias=True)}
    for value in (np.nan, np.inf, -np.inf):
        joints = made.landmarks.copy()
        joints[20, 3] = value
        with pytest.raises(InvalidInput, match="some of its joints are not finite"):
            recognise(asked, save({**tensors, "landmarks": joints}, record))
    largest = np.where(np.isfinite(made.landmarks), np.float16(65504), made.landmarks)
    assert recognise(asked, save({**tensors, "landmarks": largest}, record)).frames == 13
    nothing = replace(made, landmarks=np.full_like(made.landmarks, np.nan), presence=np.zeros_like(made.presence))
    assert recognise(asked, landmarks.dump(nothing)).nothing_signed is NothingSigned.NO_HAND_FOUND
    with pytest.raises(InvalidInput, match="top_k=4294967295: the model signet"):
        recognise(asked, landmarks.dump(made), 2**32 - 1)
