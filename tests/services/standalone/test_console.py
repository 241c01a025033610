"""What `signet predict` prints about an answer."""

import io
import re

import pytest
from rich.console import Console

from services.standalone.console import show_prediction
from signet.client import Recognition
from signet.v1 import evaluator_pb2


def printed(response: evaluator_pb2.RecognizeResponse) -> str:
    text = io.StringIO()
    show_prediction(Console(file=text, width=200), Recognition.from_response(response))
    return text.getvalue()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (evaluator_pb2.NOTHING_SIGNED_TOO_SHORT, "nothing signed: the clip is too short for a sign"),
        (evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND, "nothing signed: no hand was found"),
        (evaluator_pb2.NOTHING_SIGNED_NO_HAND_MOVES, "nothing signed: no hand moves"),
        # A reason of a later version.
        (99, "nothing signed: this version of Signet does not know the reason"),
    ],
)
def test_a_clip_without_a_sign_is_printed_as_such_and_without_a_ranking(reason: int, words: str) -> None:
    text = printed(
        evaluator_pb2.RecognizeResponse(
            model_name="signet",
            model_version="2026",
            frames=20,
            nothing_signed=reason,  # type: ignore[arg-type]
        )
    )
    assert text.startswith(words)
    assert "best path" not in text
    assert "signet 2026; 20 frames" in text


def test_a_ranking_is_printed_with_its_moment() -> None:
    text = printed(
        evaluator_pb2.RecognizeResponse(
            predictions=[evaluator_pb2.Prediction(gloss="book", probability=0.75)],
            moment=evaluator_pb2.Moment(start_seconds=0.5, end_seconds=1.25),
            continuous_glosses=["book"],
            greedy_glosses=["book"],
            blank_ratio=0.5,
            frames=20,
            model_name="signet",
            model_version="2026",
        )
    )
    assert "book  0.750" in text
    assert "0.5 to 1.2 s into the clip" in text
    assert "best path: book; blank in 50 % of 20 frames" in text
    assert "nothing signed" not in text


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.12, "in vocabulary: 0.12 - probably none of the model's 20 signs"),
        (0.9, "in vocabulary: 0.90\n"),
        (None, ""),
    ],
)
def test_the_score_of_an_unknown_sign_is_printed_plainly(score: float | None, words: str) -> None:
    response = evaluator_pb2.RecognizeResponse(
        predictions=[evaluator_pb2.Prediction(gloss="black", probability=0.96)], vocabulary_size=20
    )
    if score is not None:
        response.in_vocabulary = score
    text = re.sub(r" +\n", "\n", printed(response))
    assert words in text
    assert ("in vocabulary" in text) == (score is not None)


def test_warnings_about_the_clip_are_printed_with_the_answer() -> None:
    response = evaluator_pb2.RecognizeResponse(
        predictions=[evaluator_pb2.Prediction(gloss="book", probability=0.9)],
        warnings=["more than one person is in the picture", "[bold]x"],
    )
    text = printed(response)
    assert "warning: more than one person is in the picture" in text
    assert "warning: [bold]x" in text
