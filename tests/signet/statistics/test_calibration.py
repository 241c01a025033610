"""Calibration error and temperatures, for calibrated and for overconfident models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.errors import InvalidInput
from signet.statistics.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    brier_score,
    calibration_error,
    crossed_temperatures,
    fit_temperature,
    log_posteriors,
    negative_log_likelihood,
    reliability,
)


def _world(clips: int, glosses: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Scores of a model that is overconfident by `temperature`, and truths drawn from the calibrated probabilities."""
    noise = np.random.default_rng(7)
    honest = noise.normal(0, 2, (clips, glosses))
    p = np.exp(log_posteriors(honest))
    truth = (p.cumsum(axis=1) > noise.random((clips, 1))).argmax(axis=1)
    return (honest * temperature - 50 * noise.random((clips, 1))).astype(np.float32), truth


def _error(scores: np.ndarray, truth: np.ndarray, temperature: float) -> float:  # type: ignore[type-arg]
    p = np.exp(log_posteriors(scores, temperature))
    return calibration_error(reliability(p.max(axis=1), p.argmax(axis=1) == truth))


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_true_temperature_is_found_and_corrects_the_calibration(true_temperature: float) -> None:
    scores, truth = _world(20_000, 12, true_temperature)
    fitted = fit_temperature(scores, truth)
    assert fitted == pytest.approx(true_temperature, rel=0.05)
    assert _error(scores, truth, fitted) < 0.02
    if true_temperature != 1:
        assert _error(scores, truth, 1) > 0.1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), clips=st.integers(1, 40), glosses=st.integers(2, 9), scale=st.floats(0.05, 30))
def test_no_temperature_is_better_than_the_one_that_was_fitted(
    seed: int, clips: int, glosses: int, scale: float
) -> None:
    noise = np.random.default_rng(seed)
    scores, truth = noise.normal(0, scale, (clips, glosses)), noise.integers(0, glosses, clips)
    fitted = fit_temperature(scores, truth)
    reached = negative_log_likelihood(log_posteriors(scores, fitted), truth)
    for other in np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 60):
        assert reached <= negative_log_likelihood(log_posteriors(scores, float(other)), truth) + 1e-5


@pytest.mark.parametrize(("true_temperature", "fitted"), [(0.4, 0.3990), (3.0, 2.9926)])
def test_the_temperature_is_exact_to_four_digits(true_temperature: float, fitted: float) -> None:
    """These numbers minimise the negative log-likelihood, by a search over a fine grid."""
    assert fit_temperature(*_world(500, 12, true_temperature)) == pytest.approx(fitted, rel=2e-4)


def test_clips_that_are_all_right_or_all_wrong_give_the_limits() -> None:
    assert fit_temperature(np.array([[5.0, 0.0], [0.0, 5.0]]), np.array([0, 1])) == MIN_TEMPERATURE
    assert fit_temperature(np.array([[5.0, 0.0], [0.0, 5.0]]), np.array([1, 0])) == MAX_TEMPERATURE
    with pytest.raises(InvalidInput, match="no clips"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_the_error_and_the_bins_are_those_counted_by_hand() -> None:
    confidence = np.array([0.0, 0.05, 0.2, 0.15, 0.95, 1.0])
    correct = np.array([False, True, False, True, True, True])
    bins = reliability(confidence, correct, bins=10)
    assert [one.n for one in bins] == [2, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert bins[0].accuracy == 0.5
    assert bins[1].confidence == pytest.approx(0.175)
    assert (bins[9].low, bins[9].high) == (0.9, 1.0)
    assert calibration_error(bins) == pytest.approx((2 * 0.475 + 2 * 0.325 + 2 * 0.025) / 6)
    assert calibration_error(reliability(np.zeros(0), np.zeros(0, bool))) == 0


def test_likelihood_and_brier_score_of_a_coin() -> None:
    posterior = np.log(np.full((3, 2), 0.5))
    truth = np.array([0, 1, 1])
    assert negative_log_likelihood(posterior, truth) == pytest.approx(np.log(2))
    assert brier_score(posterior, truth) == pytest.approx(0.5)
    with np.errstate(divide="ignore"):
        assert brier_score(np.log(np.eye(2)), np.array([0, 0])) == pytest.approx(1.0)


def test_a_clip_does_not_influence_its_own_temperature() -> None:
    scores, truth = _world(300, 5, 2.0)
    groups = [index % 3 for index in range(300)]
    before = crossed_temperatures(scores, truth, groups)
    assert before is not None
    assert len(set(before)) == 3
    changed = truth.copy()
    changed[::3] = (changed[::3] + 1) % 5  # all of group 0
    after = crossed_temperatures(scores, changed, groups)
    assert after is not None
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert crossed_temperatures(scores, truth, ["one"] * 300) is None
