"""Streams over recorded frames, alone and in batches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from signet.landmarks.body import Frames
from signet.streaming.evaluation.streams import run_stream, run_streams
from tests.signet.streaming.signing import MODEL, made_model, signing

STREAMS = [
    signing((1.0, 1), (2.5, 2), seconds=5.0),
    signing((0.5, 3), seconds=2.5),
    signing(seconds=1.0),
    [],
]


def compute(windows: Sequence[Frames], dominance: Sequence[float]) -> list[npt.NDArray[np.float32]]:
    assert len(windows) == len(dominance) > 0
    return [made_model(window) for window in windows]


def test_streams_that_share_batches_find_what_each_finds_alone() -> None:
    together = run_streams(MODEL, compute, STREAMS)
    alone = [run_stream(MODEL, compute, frames) for frames in STREAMS]
    assert [[event.sign for event in found] for found in together] == [[event.sign for event in f] for f in alone]
    assert [[event.sign.gloss for event in found] for found in together] == [["near", "middle"], ["far"], [], []]


def test_a_sign_is_found_when_its_event_comes_and_not_before_its_frames() -> None:
    (first, second) = run_stream(MODEL, compute, STREAMS[0])
    assert first.sign.end < first.newest < second.newest <= STREAMS[0][-1][0]
    assert first.computing >= 0


def test_the_score_of_a_model_without_a_vocabulary_score_is_the_probability() -> None:
    (scored, *_) = run_stream(MODEL, compute, STREAMS[0])
    (unscored, *_) = run_stream(replace(MODEL, vocabulary_score=None), compute, STREAMS[0])
    assert scored.score == pytest.approx(scored.sign.vocabulary_score)
    assert unscored.score == unscored.sign.probability
