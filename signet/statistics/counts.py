"""Counting recognition results: ranks, clips, glosses, confusions, and spreads over seeds.

The evaluator's reports and the trainer's analysis both count with these functions.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.statistics.intervals import wilson

# The k of top-k accuracy.
TOP_K = 5

Hypotheses = Sequence[tuple[str, ...]]


def rank_truths(
    scores: npt.NDArray[np.float32] | npt.NDArray[np.float64], labels: npt.NDArray[np.int64] | npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """The rank of the true gloss of each clip among all glosses; rank 1 is recognised.

    Of glosses with equal scores, the first of the vocabulary ranks first, as it does for argmax.

    Args:
        scores: [n, C]; larger is better.
        labels: [n]; indices into the vocabulary, 0..C-1.

    Returns:
        int64 [n], 1..C.
    """
    truth_scores = scores[np.arange(len(labels)), labels][:, None]
    before_truth = np.arange(scores.shape[1]) < labels[:, None]
    ahead = (scores > truth_scores) | ((scores == truth_scores) & before_truth)
    return np.asarray(ahead.sum(axis=1) + 1, np.int64)


@dataclass(frozen=True)
class ClipCounts:
    """How many of the clips were recognised.

    A run's result and an epoch's validation store the same counts under the same names.
    """

    clips: int  # all clips, n
    correct: int  # the true gloss has rank 1 by exact decoding (top-1)
    top5: int  # the true gloss has rank 5 or better
    continuous_correct: int  # the continuous decoder found the true gloss and nothing else
    continuous_empty: int  # the continuous decoder found no gloss
    greedy_correct: int  # the best path is the true gloss and nothing else
    empty: int  # the best path holds no gloss


def count_clips(
    ranks: Sequence[int] | npt.NDArray[np.int64], truths: Sequence[str], continuous: Hypotheses, greedy: Hypotheses
) -> ClipCounts:
    """Count the clips that were recognised, each way of decoding by itself.

    `ranks` are those of `rank_truths`; `continuous` and `greedy` are the glosses that each decoder found in each clip.
    """
    ranks = np.asarray(ranks)
    return ClipCounts(
        clips=len(truths),
        correct=int((ranks == 1).sum()),
        top5=int((ranks <= TOP_K).sum()),
        continuous_correct=sum(glosses == (truth,) for glosses, truth in zip(continuous, truths, strict=True)),
        continuous_empty=sum(not glosses for glosses in continuous),
        greedy_correct=sum(glosses == (truth,) for glosses, truth in zip(greedy, truths, strict=True)),
        empty=sum(not glosses for glosses in greedy),
    )


@dataclass(frozen=True)
class GlossCounts:
    """How often one gloss was recognised."""

    gloss: str
    clips: int  # clips of this gloss, n
    correct: float  # how many of these were recognised; a mean over seeds need not be whole
    predicted: int  # clips of any gloss whose first guess is this gloss

    @property
    def share(self) -> float:
        """The share of its clips that was recognised; 0 for no clips."""
        return self.correct / self.clips if self.clips else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share."""
        return wilson(round(self.share * self.clips), self.clips)


def count_glosses(
    vocabulary: Sequence[str], truths: Sequence[str], predictions: Sequence[str], correct: Sequence[float]
) -> tuple[GlossCounts, ...]:
    """Count the clips of each gloss, in the vocabulary's order, glosses without clips included.

    Args:
        vocabulary: the glosses.
        truths: [n]; the true gloss of each clip.
        predictions: [n]; the first guess.
        correct: [n]; 1 where the clip was recognised, 0 where not; with several seeds, the share of the seeds.
    """
    clips, predicted = Counter(truths), Counter(predictions)
    recognised = dict.fromkeys(vocabulary, 0.0)
    for truth, share in zip(truths, correct, strict=True):
        recognised[truth] += share
    return tuple(GlossCounts(gloss, clips[gloss], recognised[gloss], predicted[gloss]) for gloss in vocabulary)


def rank_glosses(counts: Iterable[GlossCounts]) -> tuple[GlossCounts, ...]:
    """Glosses that have clips, the best first; of equal shares the one with more clips, whose interval is narrower."""
    with_clips = (gloss for gloss in counts if gloss.clips)
    return tuple(sorted(with_clips, key=lambda gloss: (-gloss.share, -gloss.clips, gloss.gloss)))


@dataclass(frozen=True)
class ConfusionCount:
    """Clips of the gloss `truth` whose first guess is `predicted`; a mean over seeds need not be whole."""

    truth: str
    predicted: str
    clips: float


def count_confusions(
    vocabulary: Sequence[str], truths: Sequence[str], predictions: Sequence[Sequence[str]]
) -> tuple[ConfusionCount, ...]:
    """The cells of the confusion matrix that are not zero, row by row, the diagonal included.

    Args:
        vocabulary: the glosses, in the order of rows and columns.
        truths: [n]; the true gloss of each clip.
        predictions: [n]; each seed's first guess. Each counts as 1 / (number of seeds) of a clip.
    """
    cells: dict[tuple[str, str], float] = {}
    for truth, guesses in zip(truths, predictions, strict=True):
        for guess in guesses:
            cells[truth, guess] = cells.get((truth, guess), 0.0) + 1 / len(guesses)
    row = {gloss: index for index, gloss in enumerate(vocabulary)}
    ordered = sorted(cells, key=lambda cell: (row[cell[0]], row[cell[1]]))
    return tuple(ConfusionCount(truth, guess, cells[truth, guess]) for truth, guess in ordered)


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds."""

    mean: float
    deviation: float | None  # the standard deviation of the sample (n - 1); None for one seed
    lowest: float  # the least value
    highest: float  # the greatest value


def compute_spread(values: Sequence[float]) -> Spread:
    """The spread of one value or more."""
    return Spread(
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        lowest=min(values),
        highest=max(values),
    )
