"""Calibration: whether a probability of 0.8 comes true in 8 of 10 cases, and a temperature that corrects it.

Sources: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks" (ICML), for the expected
error, the reliability diagram and the temperature; Brier 1950 for the score.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.decoding import log_softmax
from signet.errors import InvalidInput

# Bins of equal width on (0, 1], as in Guo et al. (M = 15).
BINS = 15

# A fit reaches these limits only if all clips are right (T towards 0) or the scores are useless (T towards infinity).
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0

_MAX_STEPS = 60
_TOLERANCE = 1e-4

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Classes = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReliabilityBin:
    """The clips whose first guess has a probability in (low, high]."""

    low: float  # lower end, exclusive
    high: float  # upper end, inclusive
    n: int  # clips
    confidence: float  # mean probability of their first guesses; 0 for no clips
    correct: int  # the number of right guesses

    @property
    def accuracy(self) -> float:
        """The share of right guesses; 0 for no clips."""
        return self.correct / self.n if self.n else 0.0


def log_posteriors(scores: Scores, temperature: float | npt.NDArray[np.float64] = 1.0) -> npt.NDArray[np.float64]:
    """Log p(c | x) = log softmax over c of scores / temperature.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        temperature: one for all clips, or [n], one for each clip.

    Returns:
        float64 [n, C].
    """
    return log_softmax(scores.astype(np.float64) / np.asarray(temperature, np.float64).reshape(-1, 1))


def reliability(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: clips by the probability of their first guess, in bins of equal width.

    `confidence`, [n], is the probability of each first guess, 0 to 1; `correct`, [n], is whether the guess is right.
    """
    # (low, high]: a probability of exactly 1 belongs to the last bin, and one of exactly 0 to the first.
    bin_of_clip = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return tuple(
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            n=int((inside := bin_of_clip == index).sum()),
            confidence=float(confidence[inside].mean()) if inside.any() else 0.0,
            correct=int(correct[inside].sum()),
        )
        for index in range(bins)
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error: sum over bins of n_b / n · |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3).

    With few clips it is too large, because the random scatter of each bin's accuracy counts as error. So compare it
    only between figures on the same clips.
    """
    n = sum(part.n for part in bins)
    return sum(part.n * abs(part.accuracy - part.confidence) for part in bins) / n if n else 0.0


def negative_log_likelihood(log_posterior: npt.NDArray[np.float64], truth: Classes) -> float:
    """Mean of -log p(truth | x), in nats.

    Args:
        log_posterior: [n, C].
        truth: [n]; indices into the last axis, 0..C-1.
    """
    return float(-log_posterior[np.arange(len(truth)), truth].mean())


def brier_score(log_posterior: npt.NDArray[np.float64], truth: Classes) -> float:
    """Mean over clips of the sum over c of (p(c | x) - [c is the truth])^2 (Brier 1950): 0 is the best, 2 the worst."""
    p = np.exp(log_posterior)
    return float(((p * p).sum(axis=1) - 2 * p[np.arange(len(truth)), truth] + 1).mean())


def fit_temperature(scores: Scores, truth: Classes) -> float:
    """The temperature with the smallest negative log-likelihood of these clips.

    The likelihood is convex in b = 1 / T, with derivative mean(E_p[s] - s_truth) and second derivative mean(Var_p[s]).
    The minimum is found by Newton's method, inside an interval that contains it.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        truth: [n]; indices into the last axis, 0..C-1.

    Raises:
        InvalidInput: there are no clips.
    """
    if not len(truth):
        raise InvalidInput("a temperature cannot be fitted to no clips. Leave it at 1, or give held-out clips.")
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    mean_of_truth = shifted[np.arange(len(truth)), truth].mean()

    def derivatives(b: float) -> tuple[float, float]:
        p = np.exp(b * shifted)
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * shifted).sum(axis=1)
        return float(mean.mean() - mean_of_truth), float(((p * shifted * shifted).sum(axis=1) - mean * mean).mean())

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if derivatives(low)[0] >= 0:
        return MAX_TEMPERATURE
    if derivatives(high)[0] <= 0:
        return MIN_TEMPERATURE
    b = 1.0
    for _ in range(_MAX_STEPS):
        slope, curvature = derivatives(b)
        low, high = (low, b) if slope > 0 else (b, high)
        step = b - slope / curvature if curvature > 0 else low
        # The geometric mean, since a temperature is a scale.
        next_b = step if low < step < high else float(np.sqrt(low * high))
        if abs(next_b - b) <= _TOLERANCE * b:
            return 1 / next_b
        b = next_b
    return 1 / b


def crossed_temperatures(scores: Scores, truth: Classes, groups: Sequence[Hashable]) -> npt.NDArray[np.float64] | None:
    """For each clip, the temperature that fits the clips of all *other* groups.

    So neither a clip nor the other clips of its group (its fold, or its signers) choose their own temperature. In
    cross-validation there is still a small leak: the models of the other folds were trained on this fold's clips, so
    their predictions, and the one number that is fitted to them, depend on these clips a little. The predictions of
    this fold's model for this fold's clips, which are to be calibrated, are never used.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        truth: [n]; indices into the last axis, 0..C-1.
        groups: [n]; the group of each clip.

    Returns:
        [n], or None if there is only one group, so that nothing can be fitted.
    """
    members = {group: np.array([other == group for other in groups]) for group in dict.fromkeys(groups)}
    if len(members) < 2:
        return None
    temperatures = np.ones(len(truth))
    for inside in members.values():
        temperatures[inside] = fit_temperature(scores[~inside], truth[~inside])
    return temperatures
