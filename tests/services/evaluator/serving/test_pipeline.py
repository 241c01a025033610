"""The work of a batch: each clip gets the answer that it gets alone."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.pipeline import ClipRequest, Pipeline, ProcessedClip
from signet import landmarks
from signet.errors import InvalidInput
from signet.landmarks import NothingSigned
from signet.registry import ModelCard
from tests.services.evaluator.conftest import place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def model(world: "World", card: ModelCard) -> LoadedModel:
    return LoadedModel.load(world.store, card.name, card.version, threads=1)


def test_good_clips_still_ones_and_broken_ones_of_a_batch_get_their_own_answers(model: LoadedModel, sign: Any) -> None:
    pipeline = Pipeline(EvaluatorMetrics(CollectorRegistry()))
    good = [landmarks.dump(sign(f"clip{n}", "", place_of(n % 6, 6), frames=20 + 9 * n)) for n in range(9)]
    nothing = landmarks.dump(sign("nothing", "", None))
    data = [*good[:4], b"<html>", nothing, *good[4:], good[0][:-10]]
    requests = [ClipRequest(clip, f"clip {number}") for number, clip in enumerate(data)]
    answers = pipeline.process(model, requests)
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        (alone,) = pipeline.process(model, [request])
        if isinstance(alone, Exception):
            assert isinstance(answer, InvalidInput)
            assert str(answer) == str(alone)
            assert request.name in str(answer)
            continue
        assert isinstance(answer, ProcessedClip)
        assert (answer.frames, answer.nothing_signed) == (alone.frames, alone.nothing_signed)
        if alone.decoded is not None:
            assert answer.decoded is not None
            np.testing.assert_allclose(answer.decoded.posterior, alone.decoded.posterior, atol=1e-5)
            assert (answer.decoded.greedy, answer.decoded.continuous, answer.decoded.time_span) == (
                alone.decoded.greedy,
                alone.decoded.continuous,
                alone.decoded.time_span,
            )
            assert answer.seconds.keys() == {"prepare", "model", "decode"}
    found = [answer.nothing_signed for answer in answers if isinstance(answer, ProcessedClip)]
    assert found.count(NothingSigned.NO_HAND_FOUND) == 1
    assert sum(isinstance(answer, Exception) for answer in answers) == 2


def test_a_batch_of_broken_clips_does_not_run_the_model(model: LoadedModel) -> None:
    registry = CollectorRegistry()
    answers = Pipeline(EvaluatorMetrics(registry)).process(model, [ClipRequest(b"", "clip")] * 2)
    assert all(isinstance(answer, InvalidInput) for answer in answers)
    assert registry.get_sample_value("signet_evaluator_batch_clips_count") == 0
