"""Paired comparison of two models on the same clips.

Only the clips that one model gets right and the other gets wrong tell which model is better. If the models are equally
good, each of these clips falls to either side with probability 1/2 (McNemar 1947, in its exact form).
"""

from dataclasses import dataclass
from math import comb, sqrt

from signet.statistics.intervals import Z95


@dataclass(frozen=True)
class PairedCounts:
    """How many of the same clips two models get right."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def clips(self) -> int:
        """The number of clips."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def gain(self) -> float:
        """The share of clips that the second model gets right, minus that of the first one; 0 for no clips."""
        return (self.only_second - self.only_first) / self.clips if self.clips else 0.0

    @property
    def gain_interval(self) -> tuple[float, float]:
        """95 % interval of the gain, by the adjusted Wald method (Agresti and Min 2005): half a clip more in each cell.

        (-1, 1) for no clips.
        """
        if not self.clips:
            return -1.0, 1.0
        n = self.clips + 2
        gain = (self.only_second - self.only_first) / n
        spread = Z95 * sqrt(self.only_first + self.only_second + 1 - n * gain * gain) / n
        return max(-1.0, gain - spread), min(1.0, gain + spread)

    @property
    def p(self) -> float:
        """The two-sided p-value of McNemar's test; see `mcnemar_p_value`."""
        return mcnemar_p_value(self.only_first, self.only_second)

    @property
    def p_second_is_worse(self) -> float:
        """The one-sided p-value of McNemar's exact test against the claim that the second model is worse.

        It is the probability that, of equally good models, the second one has at most this share of the clips that
        only one of both gets right. A small value speaks for the claim.
        """
        n = self.only_first + self.only_second
        return float(sum(comb(n, k) for k in range(self.only_second + 1)) / 2**n)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    It is the probability that n = only_first + only_second fair coins fall at least as unevenly as these counts.
    """
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return float(min(1.0, 2 * tail / 2**n))
