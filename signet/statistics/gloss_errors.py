"""The gloss error rate: what is wrong with a sequence of glosses, counted as speech recognition counts words.

    GER = (substitutions + deletions + insertions) / glosses that were signed

over the cheapest way to edit what was signed into what was recognised (Levenshtein 1966), all edits alike. It is 0
where all is right, 1 where nothing was recognised, and more where glosses were made up.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GlossErrors:
    """Edits from what was signed to what was recognised; those of several sequences add up with +.

    Attributes:
        substitutions: glosses taken for others.
        deletions: glosses missed.
        insertions: glosses made up.
        signed: glosses that there were.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    signed: int = 0

    def __add__(self, other: "GlossErrors") -> "GlossErrors":
        return GlossErrors(*(mine + theirs for mine, theirs in zip(_counts(self), _counts(other), strict=True)))

    @property
    def rate(self) -> float:
        """Errors per gloss signed; NaN where none was."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.signed if self.signed else float("nan")


def gloss_errors(signed: Sequence[Hashable], recognised: Sequence[Hashable]) -> GlossErrors:
    """The cheapest edits of `signed` into `recognised`; of equally cheap ones, those with the most substitutions."""
    # What it costs to edit all signed so far into the first so many recognised; ties go to fewer insertions.
    row = [(count, count, 0, 0) for count in range(len(recognised) + 1)]
    for gloss in signed:
        above, row = row, [_deleted(row[0])]
        for column, heard in enumerate(recognised):
            row.append(
                min(
                    above[column] if gloss == heard else _substituted(above[column]),
                    _deleted(above[column + 1]),
                    _inserted(row[column]),
                )
            )
    _, insertions, deletions, substitutions = row[-1]
    return GlossErrors(substitutions, deletions, insertions, len(signed))


# Edits, and of them insertions, deletions and substitutions, in the order in which ties are broken.
_Cost = tuple[int, int, int, int]


def _inserted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1] + 1, cost[2], cost[3]


def _deleted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1], cost[2] + 1, cost[3]


def _substituted(cost: _Cost) -> _Cost:
    return cost[0] + 1, cost[1], cost[2], cost[3] + 1


def _counts(errors: GlossErrors) -> tuple[int, int, int, int]:
    return errors.substitutions, errors.deletions, errors.insertions, errors.signed
