"""Whether a clip shows a sign of the vocabulary: the score, its fit, and the figures of its separation."""

import numpy as np
import pytest
from pydantic import ValidationError

from signet.statistics.vocabulary_score import (
    REJECTIONS,
    Rejection,
    VocabularyScore,
    area_under_roc,
    balanced_calibration_error,
    find_rejection,
    fit_vocabulary_score,
    measure_separation,
    posterior_information,
    roc_curve,
)


def test_a_uniform_posterior_holds_no_information_and_a_certain_one_log_c() -> None:
    uniform, certain = np.zeros(20), np.where(np.arange(20) == 3, 0.0, -1e4)
    assert posterior_information(uniform, 2.0) == pytest.approx(0)
    assert posterior_information(certain, 2.0) == pytest.approx(np.log(20))


def test_the_information_is_that_of_the_tempered_posterior() -> None:
    p = np.array([0.7, 0.2, 0.1])
    tempered = np.sqrt(p) / np.sqrt(p).sum()
    expected = np.log(3) + (tempered * np.log(tempered)).sum()
    # A constant in the row does not count.
    assert posterior_information(np.log(p) - 5, 2.0) == pytest.approx(expected)
    rows = posterior_information(np.log(np.stack([p, p[::-1]])), 2.0)
    assert rows == pytest.approx([expected, expected])


def test_the_score_is_logistic_in_the_information() -> None:
    score = VocabularyScore(temperature=1.0, weight=2.0, bias=-1.0)
    uniform = np.zeros((1, 7))
    assert score(uniform) == pytest.approx(1 / (1 + np.exp(1.0)))
    assert score.of_information(np.array([0.5])) == pytest.approx(0.5)


def test_a_score_that_is_not_finite_is_refused() -> None:
    for wrong in ({"temperature": 0}, {"weight": -1}, {"bias": float("nan")}):
        with pytest.raises(ValidationError):
            VocabularyScore.model_validate({"temperature": 1.0, "weight": 1.0, "bias": 0.0, **wrong})


def test_only_models_of_the_measured_kinds_get_a_score() -> None:
    for recombination in (False, True):
        assert [find_rejection(size, recombination) is not None for size in (3, 14, 15, 60, 61, 120, 121, 1000)] == [
            False, False, True, True, True, True, False, False,
        ]  # fmt: skip


@pytest.mark.parametrize("rejection", REJECTIONS)
def test_a_certain_posterior_is_accepted_and_a_uniform_one_is_not(rejection: Rejection) -> None:
    for size in rejection.sizes:
        assert find_rejection(size, rejection.recombination) == rejection
        assert rejection.score(np.where(np.arange(size) == 0, 0.0, -1e4)) > max(0.9, rejection.threshold)
        assert rejection.score(np.zeros(size)) < rejection.threshold - 0.1


def test_the_area_under_the_curve_counts_pairs_and_ties_half() -> None:
    random = np.random.default_rng(0)
    known, unknown = random.integers(3, 9, 40).astype(float), random.integers(0, 7, 30).astype(float)
    pairs = known[:, None] - unknown[None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert area_under_roc(known, unknown) == pytest.approx(expected)
    curve = np.array(roc_curve(known, unknown))
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    assert np.trapz(curve[:, 1], curve[:, 0]) == pytest.approx(expected)


def test_the_separation_of_scores_that_do_not_overlap_is_perfect() -> None:
    figures = measure_separation(np.array([0.9, 0.95, 1.0]), np.array([0.0, 0.05]))
    assert (figures.known, figures.unknown, figures.auroc, figures.low, figures.high) == (3, 2, 1.0, 1.0, 1.0)
    assert figures.false_positive_rate == 0
    assert figures.curve[0] == (0, 0)
    assert figures.curve[-1] == (1, 1)


def test_the_false_positive_rate_is_that_at_95_percent_of_true_positives() -> None:
    known = np.arange(100.0)
    # 95 of the 100 known clips have at least 5.
    assert measure_separation(known, np.array([4.5, 5.0, 50.0, -1.0])).false_positive_rate == 0.5
    assert len(measure_separation(known, known).curve) <= 102


def test_the_interval_holds_the_area_and_is_the_same_each_time() -> None:
    random = np.random.default_rng(1)
    known, unknown = random.normal(1, 1, 100), random.normal(0, 1, 200)
    figures = measure_separation(known, unknown)
    assert figures.low < figures.auroc < figures.high
    assert figures == measure_separation(known, unknown)


def test_a_calibrated_score_has_a_small_error_and_an_overconfident_one_a_large_one() -> None:
    random = np.random.default_rng(2)
    scores = random.uniform(0, 1, 20_000)
    truth = random.uniform(0, 1, len(scores)) < scores
    assert balanced_calibration_error(scores[truth], scores[~truth]) < 0.03
    assert balanced_calibration_error(np.full(10, 1.0), np.full(1000, 1.0)) == pytest.approx(0.5)


def test_a_fit_finds_the_score_that_made_the_clips_for_any_share_of_unknown_clips() -> None:
    random = np.random.default_rng(3)
    known, unknown = random.normal(2.0, 0.5, 4000), random.normal(1.0, 0.5, 40_000)
    # Two normal distributions of one deviation s have the logit (m1 - m0) / s² · x - (m1² - m0²) / 2s².
    fitted = fit_vocabulary_score(known, unknown, 2.0)
    assert fitted.temperature == 2.0
    assert fitted.weight == pytest.approx(4.0, abs=0.2)
    assert fitted.bias == pytest.approx(-6.0, abs=0.3)


def test_a_fit_of_clips_that_no_error_separates_is_finite() -> None:
    fitted = fit_vocabulary_score(np.array([2.0, 2.1]), np.array([0.1, 0.2]), 2.0)
    assert fitted.of_information(np.array([2.05])) > 0.99
    assert fitted.of_information(np.array([0.15])) < 0.01
