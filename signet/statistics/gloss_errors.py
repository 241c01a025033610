"""The gloss error rate of a sequence of glosses, which is the word error rate of speech recognition.

    GER = (substitutions + deletions + insertions) / glosses that were signed

for the cheapest way to edit the signed glosses into the recognised ones (Levenshtein 1966); all edits cost the same.
It is 0 if all is right and 1 if nothing was recognised. Insertions can raise it above 1.
"""

from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class GlossErrors:
    """The edits from the signed to the recognised glosses. Counts of several sequences are added with +."""

    substitutions: int = 0  # glosses that were recognised as others
    deletions: int = 0  # glosses that were missed
    insertions: int = 0  # recognised glosses that were not signed
    signed: int = 0  # the number of signed glosses

    def __add__(self, other: "GlossErrors") -> "GlossErrors":
        return GlossErrors(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def rate(self) -> float:
        """Errors per signed gloss; NaN if no gloss was signed."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.signed if self.signed else float("nan")


def gloss_errors(signed: Sequence[Hashable], recognised: Sequence[Hashable]) -> GlossErrors:
    """The cheapest edits of `signed` into `recognised`; among equally cheap ones, those with the most substitutions."""
    # row[k] is the cost of editing the glosses signed so far into the first k recognised ones.
    row = [(count, count, 0, 0) for count in range(len(recognised) + 1)]
    for gloss in signed:
        above, row = row, [_deleted(row[0])]
        for column, guess in enumerate(recognised):
            row.append(
                min(
                    above[column] if gloss == guess else _substituted(above[column]),
                    _deleted(above[column + 1]),
                    _inserted(row[column]),
                )
            )
    _, insertions, deletions, substitutions = row[-1]
    return GlossErrors(substitutions, deletions, insertions, len(signed))


# All edits, then insertions, deletions and substitutions, in the order in which ties are broken.
_Cost = tuple[int, int, int, int]


def _inserted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1] + 1, cost[2], cost[3]


def _deleted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1], cost[2] + 1, cost[3]


def _substituted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1], cost[2], cost[3] + 1
