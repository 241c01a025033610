"""Operations on single frames: greedy decoding, blank penalty, concentration of signs."""

import numpy as np
import pytest

from signet.decoding import BLANK, best_path, blank_ratio, concentrate_signs, log_softmax, penalise_blank
from tests.signet.decoding.enumeration import posteriors


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
    log_probs = posteriors(12, 5, 3)
    before = log_probs.copy()
    penalised = penalise_blank(log_probs, 2.0)
    assert np.allclose(np.exp(penalised).sum(axis=-1), 1)
    assert (penalised[:, BLANK] < log_probs[:, BLANK]).all()
    assert np.allclose(penalised[:, 1:] - penalised[:, 1:2], log_probs[:, 1:] - log_probs[:, 1:2])
    assert np.allclose(penalised[:, BLANK] - penalised[:, 1], log_probs[:, BLANK] - log_probs[:, 1] - 2.0)
    assert np.array_equal(log_probs, before)


def test_a_zero_penalty_changes_nothing_and_a_large_one_brings_signs_out() -> None:
    logits = np.zeros((30, 6))
    logits[:, BLANK] = 4
    logits[10:20, 3] = 3
    log_probs = log_softmax(logits)
    assert np.allclose(penalise_blank(log_probs, 0.0), log_probs)
    assert best_path(log_probs) == []
    assert 3 in best_path(penalise_blank(log_probs, 2.0))


def test_concentrating_gives_the_best_sign_the_probability_of_all_signs() -> None:
    log_probs = posteriors(12, 5, 3)
    before = log_probs.copy()
    sure = concentrate_signs(log_probs)
    assert np.allclose(np.exp(sure[:, 1:]).max(axis=-1), 1 - np.exp(log_probs[:, BLANK]))
    assert np.array_equal(sure[:, BLANK], log_probs[:, BLANK])
    assert np.allclose(sure[:, 1:] - sure[:, 1:2], log_probs[:, 1:] - log_probs[:, 1:2])
    assert np.array_equal(log_probs, before)


def test_concentrating_a_frame_of_blank_alone_is_finite() -> None:
    sure = concentrate_signs(np.array([[0.0, -60.0, -50.0]], np.float32))
    assert np.isfinite(sure).all()
    assert sure[0, BLANK] > sure[0, 2] > sure[0, 1]
