"""Whether a clip shows a sign of the vocabulary at all: a score of the posterior, and how well it separates.

A model ranks its vocabulary for every sign. The posterior of an unknown sign is spread over more glosses, so its
entropy is higher (docs/recognition.md has the formula, docs/experiments.md the other measures that were tried).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from signet.decoding import log_softmax

# A figure of a score is the false positive rate at this share of true positives.
TRUE_POSITIVE_RATE = 0.95

_BINS = 10
_RESAMPLES = 1000
_SEED = 0
# Newton steps of a fit, and a ridge that keeps the fit finite if the clips can be separated without an error.
_NEWTON_STEPS = 50
_RIDGE = 1e-6
# Points of a stored ROC curve.
_CURVE_POINTS = 101

Floats = npt.NDArray[np.float64]


class VocabularyScore(BaseModel):
    """The score of a model: logistic in the information of its tempered posterior."""

    model_config = ConfigDict(frozen=True)

    temperature: float = Field(ge=1e-3, le=1e3)
    weight: float = Field(ge=0, le=1e3)
    bias: float = Field(ge=-1e3, le=1e3)

    def __call__(self, log_posterior: Floats) -> Floats:
        """The probability that each clip shows a sign of the vocabulary, if half of all clips do.

        Args:
            log_posterior: float64 [..., C], log p(c | clip, exactly one sign), up to a constant in each row.

        Returns:
            float64 [...], 0 to 1.
        """
        return self.of_information(posterior_information(log_posterior, self.temperature))

    def of_information(self, information: Floats) -> Floats:
        """The same for a `posterior_information` at this temperature."""
        return np.asarray(1 / (1 + np.exp(-self.weight * information - self.bias)))


@dataclass(frozen=True)
class Rejection:
    """How models of one kind tell signs of their vocabulary from others."""

    sizes: range  # the vocabularies that it is for: its information depends on their size
    recombination: bool  # whether it is for models that were trained with recombinations
    score: VocabularyScore
    threshold: float  # streams reject a sign with a lower score. 90 % of the right answers for new signers are higher.


# Fitted on train clips of WLASL in cross-validations: held-out clips against clips of other glosses, all by signers
# that the models were not trained on. `python -m bench.unknown_signs` fits them. No val and no test clip takes part.
# Models of much smaller or larger vocabularies get none (docs/experiments.md).
REJECTIONS = (
    Rejection(range(15, 61), False, VocabularyScore(temperature=2.0, weight=2.29, bias=-2.45), 0.37),
    Rejection(range(15, 61), True, VocabularyScore(temperature=2.0, weight=5.06, bias=-1.54), 0.34),
    # Of 80 glosses.
    Rejection(range(61, 121), False, VocabularyScore(temperature=2.0, weight=2.00, bias=-1.52), 0.36),
    Rejection(range(61, 121), True, VocabularyScore(temperature=2.0, weight=3.14, bias=-1.02), 0.38),
)


def find_rejection(glosses: int, recombination: bool) -> Rejection | None:
    """The rejection of a model that is published now; None if no such model was measured.

    Args:
        glosses: the size of its vocabulary.
        recombination: whether it was trained with recombinations.
    """
    matches = (one for one in REJECTIONS if glosses in one.sizes and one.recombination == recombination)
    return next(matches, None)


def posterior_information(log_posterior: Floats, temperature: float) -> Floats:
    """Information, log C less the entropy of the posterior at this temperature, in nats: [..., C] to [...].

    It is 0 if all glosses are equally probable, and log C if one gloss has all probability.
    """
    tempered = log_softmax(log_posterior / temperature)
    return np.asarray(np.log(log_posterior.shape[-1]) + (np.exp(tempered) * tempered).sum(axis=-1))


@dataclass(frozen=True)
class Separation:
    """How well a score separates clips of the vocabulary from clips of other signs."""

    known: int  # clips of the vocabulary
    unknown: int  # clips of other signs
    auroc: float  # the probability that a clip of the vocabulary has the higher score; ties count half
    low: float  # 95 % interval of `auroc`, by bootstrap over the clips
    high: float
    false_positive_rate: float  # share of unknown clips that are accepted if `TRUE_POSITIVE_RATE` of the others are
    expected_error: float  # expected calibration error; both kinds of clips have half of the weight
    curve: tuple[tuple[float, float], ...]  # the ROC curve: false positive rate, true positive rate


def measure_separation(known: Floats, unknown: Floats) -> Separation:
    """Measure scores [n] of clips of the vocabulary and [m] of clips of other signs; n and m are at least 1."""
    random = np.random.default_rng(_SEED)
    resampled = [area_under_roc(random.choice(known, len(known)), random.choice(unknown, len(unknown)))
                 for _ in range(_RESAMPLES)]  # fmt: skip
    low, high = np.percentile(resampled, [2.5, 97.5])
    # The largest threshold that accepts at least this share.
    threshold = np.sort(known)[int((1 - TRUE_POSITIVE_RATE) * len(known) + 1e-9)]
    return Separation(
        known=len(known),
        unknown=len(unknown),
        auroc=area_under_roc(known, unknown),
        low=float(low),
        high=float(high),
        false_positive_rate=float((unknown >= threshold).mean()),
        expected_error=balanced_calibration_error(known, unknown),
        curve=roc_curve(known, unknown),
    )


def area_under_roc(known: Floats, unknown: Floats) -> float:
    """The area under the ROC curve, which is the Mann-Whitney statistic (Hanley and McNeil 1982)."""
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.mean() / (2 * len(unknown)))


def roc_curve(known: Floats, unknown: Floats) -> tuple[tuple[float, float], ...]:
    """The curve from (0, 0) to (1, 1), at most `_CURVE_POINTS` points: false and true positive rate by threshold."""
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    if len(thresholds) > _CURVE_POINTS - 1:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, _CURVE_POINTS - 1).round().astype(int)]
    points = [(float((unknown >= t).mean()), float((known >= t).mean())) for t in thresholds]
    return ((0.0, 0.0), *points)


def balanced_calibration_error(known: Floats, unknown: Floats) -> float:
    """Expected calibration error in ten bins, where both kinds of clips together have half of the weight each."""
    scores = np.concatenate([known, unknown])
    truth = np.repeat([1.0, 0.0], [len(known), len(unknown)])
    weights = np.repeat([0.5 / len(known), 0.5 / len(unknown)], [len(known), len(unknown)])
    bins = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
    differences = np.bincount(bins, weights * (truth - scores), minlength=_BINS)
    return float(np.abs(differences).sum())


def fit_vocabulary_score(known: Floats, unknown: Floats, temperature: float) -> VocabularyScore:
    """Fit weight and bias by logistic regression, where both kinds of clips have half of the weight.

    Args:
        known: [n], `posterior_information` of clips of the vocabulary.
        unknown: [m], of clips of other signs.
        temperature: the one that they were computed with.
    """
    x = np.stack([np.concatenate([known, unknown]), np.ones(len(known) + len(unknown))], axis=1)
    truth = np.repeat([1.0, 0.0], [len(known), len(unknown)])
    weights = np.repeat([0.5 / len(known), 0.5 / len(unknown)], [len(known), len(unknown)])
    solution = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ solution))
        curvature = (x * (weights * p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        solution -= np.linalg.solve(curvature, x.T @ (weights * (p - truth)) + _RIDGE * solution)
    return VocabularyScore(temperature=temperature, weight=max(0.0, float(solution[0])), bias=float(solution[1]))
