"""Decoding against the definition: every alignment written out and added up."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.decoding import (
    BLANK,
    best_path,
    blank_ratio,
    log_softmax,
    penalise_blank,
    single_sign_posterior,
    single_sign_scores,
)

Array = npt.NDArray[np.float64]


def _random(frames: int, classes: int, seed: int, scale: float = 3.0) -> Array:
    return log_softmax(np.random.default_rng(seed).normal(0, scale, (frames, classes + 1)))


def _collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(path) if c != BLANK)


def _enumerate(log_probs: Array) -> Array:
    """p([c] | x) by adding up the probability of every one of the (C + 1)^T paths that collapse to c alone."""
    frames, classes = log_probs.shape
    total = np.zeros(classes - 1)
    for path in itertools.product(range(classes), repeat=frames):
        if len(collapsed := _collapse(path)) == 1:
            total[collapsed[0] - 1] += math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return np.log(total)


@pytest.mark.parametrize(("frames", "classes"), [(1, 1), (1, 4), (2, 3), (4, 3), (6, 2), (5, 4), (7, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_the_score_of_a_sign_is_the_sum_over_all_its_alignments(frames: int, classes: int, seed: int) -> None:
    log_probs = _random(frames, classes, seed)
    assert np.allclose(single_sign_scores(log_probs), _enumerate(log_probs), rtol=0, atol=1e-10)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 10_000), st.floats(0, 30))
@settings(max_examples=60, deadline=None)
def test_the_posterior_sums_to_one_and_ranks_as_the_scores_do(
    frames: int, classes: int, seed: int, scale: float
) -> None:
    log_probs = _random(frames, classes, seed, scale)
    posterior = single_sign_posterior(log_probs)
    assert posterior.shape == (classes,)
    assert posterior.sum() == pytest.approx(1, abs=1e-9)
    assert posterior.argmax() == single_sign_scores(log_probs).argmax()


def test_scores_stay_finite_where_blank_is_all_but_certain_over_a_long_clip() -> None:
    logits = np.zeros((2000, 101))
    logits[:, BLANK] = 60
    posterior = single_sign_posterior(log_softmax(logits))
    assert np.isfinite(single_sign_scores(log_softmax(logits))).all()
    assert posterior == pytest.approx(np.full(100, 0.01))


def test_float32_scores_as_float64_does() -> None:
    log_probs = _random(60, 20, 1)
    assert np.allclose(single_sign_scores(log_probs), single_sign_scores(log_probs.astype(np.float32)), atol=1e-3)


@pytest.mark.parametrize(
    ("path", "signs"),
    [
        ([0, 0, 0], []),
        ([1, 1, 1], [1]),
        ([0, 2, 2, 0, 0], [2]),
        ([2, 0, 2], [2, 2]),
        ([1, 2, 2, 1], [1, 2, 1]),
        ([3], [3]),
    ],
)
def test_best_path_merges_repeats_and_drops_blanks(path: list[int], signs: list[int]) -> None:
    log_probs = log_softmax(10 * np.eye(4)[path])
    assert best_path(log_probs) == signs
    assert blank_ratio(log_probs) == path.count(BLANK) / len(path)


def test_a_penalty_moves_probability_from_the_blank_and_keeps_the_glosses_in_proportion() -> None:
    log_probs = _random(12, 5, 3)
    before = log_probs.copy()
    penalised = penalise_blank(log_probs, 2.0)
    assert np.allclose(np.exp(penalised).sum(axis=-1), 1)
    assert (penalised[:, BLANK] < log_probs[:, BLANK]).all()
    assert np.allclose(penalised[:, 1:] - penalised[:, 1:2], log_probs[:, 1:] - log_probs[:, 1:2])
    assert np.allclose(penalised[:, BLANK] - penalised[:, 1], log_probs[:, BLANK] - log_probs[:, 1] - 2.0)
    assert np.array_equal(log_probs, before)


def test_no_penalty_changes_nothing_and_enough_of_it_ends_every_empty_output() -> None:
    logits = np.zeros((30, 6))
    logits[:, BLANK] = 4
    logits[10:20, 3] = 3
    log_probs = log_softmax(logits)
    assert np.allclose(penalise_blank(log_probs, 0.0), log_probs)
    assert best_path(log_probs) == []
    assert 3 in best_path(penalise_blank(log_probs, 2.0))
