"""Does a probability of 0.8 come true in 8 cases of 10: reliability, calibration error, and a temperature to mend it.

Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks" (ICML), is the source of the error, the
diagram and the temperature; Brier 1950 of the score.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.errors import InvalidInput

# Of equal width on (0, 1], as Guo et al. take them (M = 15).
BINS = 15

# A fit leaves these only where all its clips are right (T towards 0) or the scores say nothing (T towards infinity).
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0

_MAX_STEPS = 60
_TOLERANCE = 1e-4

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Classes = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReliabilityBin:
    """The clips whose first guess has a probability in (low, high].

    Attributes:
        low: lower end, not included.
        high: upper end, included.
        n: how many clips.
        confidence: mean probability of their first guesses; 0 for no clips.
        correct: how many of these guesses are right.
    """

    low: float
    high: float
    n: int
    confidence: float
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of right guesses; 0 for no clips."""
        return self.correct / self.n if self.n else 0.0


def log_posteriors(scores: Scores, temperature: float | npt.NDArray[np.float64] = 1.0) -> npt.NDArray[np.float64]:
    """Log p(c | x) = log softmax over c of scores / temperature.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        temperature: one for all clips, or one for each: [n].

    Returns:
        float64 [n, C].
    """
    scaled = scores.astype(np.float64) / np.asarray(temperature, np.float64).reshape(-1, 1)
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def reliability(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: clips by the probability of their first guess.

    Args:
        confidence: [n]; that probability, 0 to 1.
        correct: [n]; whether the guess is right.
        bins: how many, of equal width.
    """
    # (low, high]: a probability of exactly 1 belongs to the last bin, and one of exactly 0 to the first.
    where = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return tuple(
        ReliabilityBin(
            low=index / bins,
            high=(index + 1) / bins,
            n=int((here := where == index).sum()),
            confidence=float(confidence[here].mean()) if here.any() else 0.0,
            correct=int(correct[here].sum()),
        )
        for index in range(bins)
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error: sum over bins of n_b / n · |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3).

    Few clips make it larger than it is: each bin's accuracy scatters about the truth, and the scatter is counted as
    error. So it is compared between figures on the same clips, not with those of other sets.
    """
    n = sum(one.n for one in bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / n if n else 0.0


def negative_log_likelihood(log_posterior: npt.NDArray[np.float64], truth: Classes) -> float:
    """Mean of -log p(truth | x), in nats.

    Args:
        log_posterior: [n, C].
        truth: [n]; indices into the last axis, 0..C-1.
    """
    return float(-log_posterior[np.arange(len(truth)), truth].mean())


def brier_score(log_posterior: npt.NDArray[np.float64], truth: Classes) -> float:
    """Mean over clips of the sum over c of (p(c | x) - [c is the truth])^2 (Brier 1950): 0 is perfect, 2 the worst."""
    p = np.exp(log_posterior)
    return float(((p * p).sum(axis=1) - 2 * p[np.arange(len(truth)), truth] + 1).mean())


def fit_temperature(scores: Scores, truth: Classes) -> float:
    """The temperature with the least negative log-likelihood of these clips.

    In b = 1 / T that is convex, with derivative mean(E_p[s] - s_truth) and second derivative mean(Var_p[s]): Newton's
    steps, kept inside an interval that is known to hold the minimum.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        truth: [n]; indices into the last axis, 0..C-1.

    Raises:
        InvalidInput: there is no clip.
    """
    if not len(truth):
        raise InvalidInput("a temperature cannot be fitted to no clips. Leave it at 1, or give it held-out clips.")
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    of_truth = shifted[np.arange(len(truth)), truth].mean()

    def derivatives(b: float) -> tuple[float, float]:
        p = np.exp(b * shifted)
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * shifted).sum(axis=1)
        return float(mean.mean() - of_truth), float(((p * shifted * shifted).sum(axis=1) - mean * mean).mean())

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
        # Geometric, since a temperature is a scale.
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - b) <= _TOLERANCE * b:
            return 1 / following
        b = following
    return 1 / b


def crossed_temperatures(scores: Scores, truth: Classes, groups: Sequence[Hashable]) -> npt.NDArray[np.float64] | None:
    """For each clip, the temperature that the clips of all *other* groups ask for.

    So no clip helps to choose its own temperature, nor do the other clips of its group (its fold, or its signers).
    What leaks nevertheless in cross-validation: the models of the other folds were trained on this fold's clips, so
    that what they say of theirs, and the one number fitted to it, depends on them a little. What never enters is what
    this fold's model says of this fold's clips, which is the thing to be calibrated.

    Args:
        scores: [n, C]; log p([c] | x) up to a constant in each row.
        truth: [n]; indices into the last axis, 0..C-1.
        groups: [n]; the group of each clip.

    Returns:
        [n], or None where there is only one group, so that nothing may be fitted.
    """
    members = {group: np.array([one == group for one in groups]) for group in dict.fromkeys(groups)}
    if len(members) < 2:
        return None
    temperatures = np.ones(len(truth))
    for here in members.values():
        temperatures[here] = fit_temperature(scores[~here], truth[~here])
    return temperatures
