"""What streams find in sequences: gloss errors, overlap of the movements, delays, and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from signet.landmarks.concatenation import SignedSpan
from signet.statistics.gloss_errors import GlossErrors, gloss_errors
from signet.streaming import FinalSign
from signet.streaming.evaluation.sequences import SignedSequence
from signet.streaming.evaluation.streams import FoundSign

_RESAMPLES = 1000


@dataclass
class StreamFindings:
    """What was found in sequences of one kind. Each list has one entry for each sequence or each right sign."""

    count_computing: bool = False  # whether delays include the CPU seconds of computing
    errors: list[GlossErrors] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)  # intersection over union of the movements
    delays: list[float] = field(default_factory=list)  # from the end of a movement to the final event
    scores: list[float] = field(default_factory=list)  # of right signs, rejected ones included
    signed: int = 0
    seconds: float = 0.0

    def add(self, sequence: SignedSequence, found: Sequence[FoundSign]) -> None:
        """Add what a stream found in a sequence, rejected signs included."""
        accepted = [event for event in found if not event.sign.rejected]
        signed = [span.gloss for span in sequence.signs]
        self.errors.append(gloss_errors(signed, [event.sign.gloss for event in accepted]))
        for span, event in match(sequence.signs, accepted):
            self.overlaps.append(overlap(span, event.sign))
            came = event.newest + (event.computing if self.count_computing else 0.0)
            self.delays.append(came - span.end)
        self.scores += [event.score for _, event in match(sequence.signs, found)]
        self.signed += len(signed)
        self.seconds += sequence.seconds


def match(signed: Sequence[SignedSpan], found: Sequence[FoundSign]) -> list[tuple[SignedSpan, FoundSign]]:
    """The right signs of an alignment with the fewest errors, and where they were signed."""
    costs = np.zeros((len(signed) + 1, len(found) + 1), np.int64)
    costs[:, 0], costs[0] = range(len(signed) + 1), range(len(found) + 1)
    for i, span in enumerate(signed):
        for j, event in enumerate(found):
            wrong = span.gloss != event.sign.gloss
            costs[i + 1, j + 1] = min(costs[i, j] + wrong, costs[i, j + 1] + 1, costs[i + 1, j] + 1)
    pairs = []
    i, j = len(signed), len(found)
    while i and j:
        wrong = signed[i - 1].gloss != found[j - 1].sign.gloss
        if costs[i, j] == costs[i - 1, j - 1] + wrong:
            i, j = i - 1, j - 1
            if not wrong:
                pairs.append((signed[i], found[j]))
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def overlap(span: SignedSpan, sign: FinalSign) -> float:
    """Intersection over union of two movements."""
    both = min(span.end, sign.end) - max(span.start, sign.start)
    return max(0.0, both) / max(1e-9, max(span.end, sign.end) - min(span.start, sign.start))


def count_errors(errors: GlossErrors) -> int:
    """All errors together."""
    return errors.substitutions + errors.deletions + errors.insertions


def error_rate(errors: Sequence[GlossErrors]) -> float:
    """Gloss errors as a share of the signed glosses."""
    total = sum(errors, GlossErrors())
    return count_errors(total) / max(1, total.signed)


def rate_interval(errors: Sequence[GlossErrors], other: Sequence[GlossErrors] | None = None) -> tuple[float, float]:
    """A 95 % interval of the error rate, or of its difference to that of others, over resampled sequences."""
    counts = np.array([count_errors(sequence) for sequence in errors])
    base = np.array([count_errors(sequence) for sequence in other]) if other is not None else np.zeros(len(errors))
    return interval_over_sequences(counts - base, [sequence.signed for sequence in errors])


def interval_over_sequences(
    counts: Sequence[int] | npt.NDArray[np.float64], signed: Sequence[int]
) -> tuple[float, float]:
    """A 95 % bootstrap interval of a rate: counts of all sequences, divided by the signed glosses of all.

    Args:
        counts: [n], of each sequence.
        signed: [n], the signed glosses of each sequence; n is at least 1.
    """
    counts, totals = np.asarray(counts, np.float64), np.asarray(signed, np.float64)
    picks = np.random.default_rng(0).integers(0, len(counts), (_RESAMPLES, len(counts)))
    rates = counts[picks].sum(axis=1) / np.maximum(1, totals[picks].sum(axis=1))
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def count_reaching(scores: Sequence[float], thresholds: Sequence[float]) -> list[int]:
    """For each threshold, the number of scores that are not lower: one side of the operating curve."""
    ordered = np.sort(np.asarray(scores, np.float64))
    below = np.searchsorted(ordered, np.asarray(thresholds), "left")
    return [int(count) for count in len(ordered) - below]
