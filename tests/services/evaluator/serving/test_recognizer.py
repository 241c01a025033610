"""The recognizer: one version answers a call from its beginning to its end."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.extractor_client import ExtractorClient
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.recognizer import RecognitionResult, Recognizer
from services.evaluator.serving.served_model import ServedModel
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidInput, NotReady
from signet.landmarks import NothingSigned
from signet.registry import LATEST, ModelCard
from tests.services.evaluator.conftest import GLOSSES, place_of
from tests.services.evaluator.serving.test_batching import HeldModel, models

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

__all__ = ["models"]

SECONDS = 20.0


class Served(ServedModel):
    """Serves the model that the test gives it."""

    model: LoadedModel | None = None

    def current(self) -> LoadedModel:
        return self.model or super().current()


def recognizer(world: "World", model: LoadedModel | None) -> tuple[Recognizer, Served, CollectorRegistry]:
    collected = CollectorRegistry()
    metrics = EvaluatorMetrics(collected)
    served = Served(world.store, "signet", LATEST, metrics, threads=1)
    served.model = model
    if model is not None:
        metrics.show_served(model.card)
    return Recognizer(served, ExtractorClient(""), metrics), served, collected


def recognise(recognizer: Recognizer, clip: bytes, top_k: int = 0) -> RecognitionResult:
    return asyncio.run(recognizer.recognise(clip, top_k))


@pytest.fixture
def clip(sign: Any) -> bytes:
    """A clip of `drink`."""
    return landmarks.dump(sign("new", "", place_of(2, 6), frames=40))


def test_a_version_that_is_published_during_a_call_does_not_answer_it(
    world: "World", models: tuple[HeldModel, HeldModel], clip: bytes
) -> None:
    old, new = models
    asked, served, collected = recognizer(world, old)

    async def main() -> tuple[RecognitionResult, RecognitionResult]:
        first = asyncio.create_task(asked.recognise(clip))
        await old.run_started()
        served.model = new
        second = asyncio.create_task(asked.recognise(clip))
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
    asked, _, _ = recognizer(world, model)
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
    asked, _, _ = recognizer(world, LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, landmarks.dump(sign("new", "", place_of(1, 3))))
    assert found.ranked[0].gloss == "go"
    assert len(found.ranked) == 3


def test_the_best_path_and_the_continuous_decoder_are_not_mixed_up(
    world: "World", snapshot: Dataset, clip: bytes
) -> None:
    card = world.publish(snapshot, insertion_penalty=1000.0)
    asked, _, _ = recognizer(world, LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, clip)
    assert found.decoded is not None
    assert (found.decoded.continuous, found.decoded.greedy) == ((), ("drink",))
    assert found.seconds.keys() == {"prepare", "model", "decode", "total"}
    assert found.seconds["total"] >= sum(found.seconds[stage] for stage in ("prepare", "model", "decode"))


def test_a_clip_without_a_sign_is_not_given_to_the_model(world: "World", card: ModelCard, sign: Any) -> None:
    asked, _, collected = recognizer(world, LoadedModel.load(world.store, "signet", card.version, 1))
    found = recognise(asked, landmarks.dump(sign("new", "", None, frames=40)))
    assert (found.nothing_signed, found.ranked, found.decoded) == (NothingSigned.NO_HAND_FOUND, (), None)
    assert found.frames == 13
    assert found.seconds.keys() == {"prepare", "total"}
    counter = "signet_evaluator_nothing_signed_total"
    count = {reason: collected.get_sample_value(counter, {"reason": reason}) for reason in NothingSigned}
    assert count == {"too short": 0, "no hand found": 1, "no hand moves": 0}
    assert collected.get_sample_value("signet_evaluator_batch_clips_count") == 0


def test_without_a_model_nothing_is_recognised(world: "World", clip: bytes) -> None:
    asked, _, _ = recognizer(world, None)
    with pytest.raises(NotReady, match="has just started"):
        recognise(asked, clip)
    with pytest.raises(NotReady):
        asyncio.run(asked.recognise_video(b"video"))
