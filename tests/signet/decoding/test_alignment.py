"""Forced alignment, compared with the enumeration of all paths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.decoding import Span, align, align_sign, log_softmax, occupation, single_sign_scores
from signet.errors import InvalidInput
from tests.signet.decoding.enumeration import Array, Path, collapse, paths, posteriors, small


def _spans(path: Path) -> tuple[Span, ...]:
    """The frames of each sign of a path."""
    spans = []
    t = 0
    for c, run in itertools.groupby(path):
        frames = len(list(run))
        if c:
            spans.append(Span(c, t, t + frames - 1))
        t += frames
    return tuple(spans)


@given(small, st.data())
@settings(max_examples=60, deadline=None)
def test_the_alignment_is_the_best_of_all_paths_and_the_occupation_the_mean_over_them(
    log_probs: Array, data: st.DataObject
) -> None:
    found = list(paths(log_probs))
    signs = data.draw(st.sampled_from(sorted({collapse(path) for path, _ in found} - {()})))
    these = [(path, score) for path, score in found if collapse(path) == signs]
    alignment = align(log_probs, signs)
    best, score = max(these, key=lambda one: one[1])
    assert alignment.score == pytest.approx(score)
    assert alignment.spans == _spans(best)

    expected = np.zeros((len(log_probs), len(signs)))
    for path, score in these:
        for number, span in enumerate(_spans(path)):
            expected[span.first : span.last + 1, number] += math.exp(score)
    expected /= sum(math.exp(score) for _, score in these)
    np.testing.assert_allclose(occupation(log_probs, signs), expected, atol=1e-12)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 10_000), st.sampled_from([0.3, 3.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_the_span_of_one_sign_is_that_of_the_alignment(frames: int, classes: int, seed: int, scale: float) -> None:
    log_probs = posteriors(frames, classes, seed, scale)
    for sign in range(1, classes + 1):
        assert (align_sign(log_probs, sign),) == align(log_probs, [sign]).spans


def test_the_occupation_of_a_sign_is_the_derivative_of_the_score() -> None:
    log_probs, small_step = posteriors(9, 4, 0), 1e-6
    share = occupation(log_probs, [2])[:, 0]
    for t in range(9):
        moved = log_probs.copy()
        moved[t, 2] += small_step
        slope = (single_sign_scores(moved)[1] - single_sign_scores(log_probs)[1]) / small_step
        assert slope == pytest.approx(share[t], abs=1e-5)


def test_signs_are_found_in_their_frames_and_given_in_seconds() -> None:
    path = [0, 0, 0, 2, 2, 2, 2, 0, 0, 5, 5, 0, 5, 5, 5, 0]
    log_probs = log_softmax(8 * np.eye(6)[path])
    alignment = align(log_probs, [2, 5, 5])
    assert alignment.spans == (Span(2, 3, 6), Span(5, 9, 10), Span(5, 12, 14))
    assert alignment.spans[0].seconds(10.0) == (0.3, 0.7)
    share = occupation(log_probs, [2, 5, 5])
    assert share.shape == (16, 3)
    assert (share[3:7, 0] > 0.99).all()
    assert share.sum(axis=1).max() <= 1 + 1e-9


def test_a_clip_of_an_hour_is_aligned() -> None:
    log_probs = posteriors(36_000, 3, 0, 1.0)
    log_probs[20_000:20_010] = log_softmax(np.array([-9.0, 9.0, -9.0, -9.0]))
    (span,) = align(log_probs, [1]).spans
    assert span.first <= 20_000
    assert span.last >= 20_009
    share = occupation(log_probs, [1])
    assert np.isfinite(share).all()
    assert 0 <= share.min() <= share.max() <= 1


@pytest.mark.parametrize(
    ("frames", "signs", "words"),
    [
        (5, [], "give at least one, of the classes 1 to 3"),
        (5, [0], "classes 1 to 3"),
        (5, [4], "classes 1 to 3"),
        (2, [1, 1], "2 signs need 3 frames"),
        (2, [1, 2, 3], "the clip has 2"),
    ],
)
def test_impossible_alignments_are_refused_with_the_reason(frames: int, signs: list[int], words: str) -> None:
    for function in (align, occupation):
        with pytest.raises(InvalidInput, match=words):
            function(posteriors(frames, 3, 0), signs)
