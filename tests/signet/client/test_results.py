"""The answers that the clients return."""

from dataclasses import FrozenInstanceError, fields

import pytest

from signet.client import Moment, Prediction, Recognition
from signet.landmarks import NothingSigned
from signet.v1 import evaluator_pb2


def test_every_field_of_a_response_is_in_the_answer() -> None:
    names = {field.name for field in fields(Recognition)} - {"request_id"}
    assert names == {field.name for field in evaluator_pb2.RecognizeResponse.DESCRIPTOR.fields}


def test_an_answer_has_the_values_of_the_response() -> None:
    response = evaluator_pb2.RecognizeResponse(
        predictions=[evaluator_pb2.Prediction(gloss="book", probability=0.75), evaluator_pb2.Prediction(gloss="go")],
        moment=evaluator_pb2.Moment(start_seconds=0.5, end_seconds=1.25),
        warnings=["more than one person"],
        in_vocabulary=0.5,
        timing=evaluator_pb2.Timing(model_seconds=1, total_seconds=2),
    )
    answer = Recognition.from_response(response, "id-1")
    assert answer.best == Prediction("book", 0.75)
    assert answer.moment == Moment(0.5, 1.25)
    assert (answer.warnings, answer.in_vocabulary, answer.nothing_signed) == (("more than one person",), 0.5, None)
    assert (answer.timing.model_seconds, answer.timing.total_seconds) == (1, 2)
    assert answer.request_id == "id-1"
    with pytest.raises(FrozenInstanceError):
        answer.frames = 1  # type: ignore[misc]


def test_every_reason_why_nothing_is_signed_has_a_name() -> None:
    for name, value in evaluator_pb2.NothingSigned.items():
        answer = Recognition.from_response(evaluator_pb2.RecognizeResponse(nothing_signed=name))
        assert (answer.best, answer.moment, answer.in_vocabulary) == (None, None, None)
        assert (answer.nothing_signed is None) == (value == 0)
        assert value == 0 or answer.nothing_signed in set(NothingSigned)
    later = evaluator_pb2.RecognizeResponse(nothing_signed=99)  # type: ignore[arg-type]
    assert Recognition.from_response(later).nothing_signed == "unknown"
