"""The posterior of an isolated clip, compared with the sum over all enumerated alignments."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.decoding import BLANK, log_softmax, single_sign_posterior, single_sign_scores
from tests.signet.decoding.enumeration import Array, padded_batch, posteriors, sequences, small


def _enumerated(log_probs: Array) -> Array:
    """Log p([c] | x) of every gloss, from all paths."""
    total = sequences(log_probs)
    return np.array([total[(c,)] for c in range(1, log_probs.shape[1])])


@given(small)
@settings(max_examples=60, deadline=None)
def test_the_score_of_a_sign_is_the_sum_over_all_its_alignments(log_probs: Array) -> None:
    assert np.allclose(single_sign_scores(log_probs), _enumerated(log_probs), rtol=0, atol=1e-10)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(1, 3), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_padded_batch_scores_as_each_of_its_clips_alone(lengths: list[int], classes: int, seed: int) -> None:
    clips = [posteriors(frames, classes, seed + row) for row, frames in enumerate(lengths)]
    scores = single_sign_scores(*padded_batch(clips))
    assert scores.shape == (len(clips), classes)
    for row, clip in zip(scores, clips, strict=True):
        assert np.allclose(row, _enumerated(clip), rtol=0, atol=1e-10)


def test_many_clips_and_glosses_score_as_each_clip_alone() -> None:
    clips = [posteriors(1 + seed % 47, 300, seed) for seed in range(150)]
    scores = single_sign_scores(*padded_batch(clips))
    for row, clip in zip(scores, clips, strict=True):
        np.testing.assert_allclose(row, single_sign_scores(clip), rtol=0, atol=1e-10)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 10_000), st.floats(0, 30))
@settings(max_examples=60, deadline=None)
def test_the_posterior_sums_to_one_and_ranks_as_the_scores_do(
    frames: int, classes: int, seed: int, scale: float
) -> None:
    log_probs = posteriors(frames, classes, seed, scale)
    posterior = single_sign_posterior(log_probs)
    assert posterior.shape == (classes,)
    assert posterior.sum() == pytest.approx(1, abs=1e-9)
    assert posterior.argmax() == single_sign_scores(log_probs).argmax()


def test_scores_stay_finite_if_blank_is_almost_certain_over_a_long_clip() -> None:
    logits = np.zeros((2000, 101))
    logits[:, BLANK] = 60
    posterior = single_sign_posterior(log_softmax(logits))
    assert np.isfinite(single_sign_scores(log_softmax(logits))).all()
    assert posterior == pytest.approx(np.full(100, 0.01))


def test_the_score_of_an_hour_is_exact_to_the_last_digits() -> None:
    # Every frame alike: there are n - k + 1 runs of k frames, and their sum is soon written down.
    frames = 36_000
    k = np.arange(1, frames + 1)
    for blank, sign in ((0.9, 0.05), (0.5, 0.5)):
        log_probs = np.broadcast_to(np.log([blank, sign]), (frames, 2))
        runs = np.log(frames - k + 1) + k * np.log(sign) + (frames - k) * np.log(blank)
        expected = runs.max() + np.log(np.exp(runs - runs.max()).sum())
        assert single_sign_scores(log_probs)[0] == pytest.approx(expected, rel=1e-9)


def test_memory_does_not_grow_with_the_clip() -> None:
    peaks = []
    for frames in (100, 2000):
        log_probs = np.full((frames, 501), -np.log(501), np.float32)
        tracemalloc.start()
        single_sign_scores(log_probs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000
    assert peaks[1] < log_probs.nbytes / 10


def test_a_later_run_that_is_far_more_probable_than_the_first_counts() -> None:
    """The sign is almost certain, almost impossible and almost certain again, beyond the range of a double."""
    advantage = np.repeat([20.0, -30.0, 20.0], [60, 60, 90])
    log_probs = log_softmax(np.stack([np.zeros_like(advantage), advantage, -5 + 0 * advantage], axis=1))
    expected = log_probs[:120, BLANK].sum() + log_probs[120:, 1].sum()
    assert single_sign_scores(log_probs)[0] == pytest.approx(expected, abs=1e-6)


def test_float32_scores_as_float64_does() -> None:
    log_probs = posteriors(60, 20, 1)
    assert np.allclose(single_sign_scores(log_probs), single_sign_scores(log_probs.astype(np.float32)), atol=1e-4)
