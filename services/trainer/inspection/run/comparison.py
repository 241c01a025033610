"""Runs side by side: what they were told otherwise, what they reached, and whether the difference is more than luck.

Two runs that were judged by the same clips are compared clip by clip. Only the clips that one gets right and the other
does not say anything about which is better; if neither is, each of them falls to either side like a coin (McNemar 1947,
in its exact form).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

from services.trainer.inspection.run.predictions import ClipAnswer

# Settings that say where and under which name a run is trained, and nothing of what is learnt.
_WITHOUT_EFFECT = frozenset({"device", "jobs", "max_gpu_temperature", "model_name", "publish"})


@dataclass(frozen=True)
class Setting:
    """A field of the configuration in which runs differ.

    Attributes:
        name: the field.
        values: of each run; None also where a run's version did not have it.
        learnt: whether it can change what is learnt.
    """

    name: str
    values: tuple[Any, ...]
    learnt: bool


@dataclass(frozen=True, eq=False)
class Paired:
    """Two runs on the clips that both held out.

    Attributes:
        first: which run of those compared, from 0.
        second: which other.
        both: clips that both get right.
        only_first: clips that only the first gets right, and what the second says of them.
        only_second: clips that only the second gets right, and what the first says of them.
        neither: clips that neither gets right.
        apart: clips that only one of the two has held out, or under another gloss.
    """

    first: int
    second: int
    both: int
    only_first: tuple[ClipAnswer, ...]
    only_second: tuple[ClipAnswer, ...]
    neither: int
    apart: int

    @property
    def clips(self) -> int:
        """Clips that both held out."""
        return self.both + len(self.only_first) + len(self.only_second) + self.neither

    @property
    def p(self) -> float:
        """How probable so uneven a split is if neither run is better: `mcnemar`."""
        return mcnemar(len(self.only_first), len(self.only_second))

    @property
    def gain(self) -> float:
        """Share of the clips that the second gets right, less that of the first."""
        return (len(self.only_second) - len(self.only_first)) / self.clips if self.clips else 0.0


def differences(settings: Sequence[dict[str, Any]]) -> tuple[Setting, ...]:
    """The fields in which the configurations differ, those that can matter first."""
    names = dict.fromkeys(name for one in settings for name in one)
    found = []
    for name in names:
        values = tuple(one.get(name) for one in settings)
        if any(value != values[0] for value in values):
            found.append(Setting(name, values, name not in _WITHOUT_EFFECT))
    return tuple(sorted(found, key=lambda setting: not setting.learnt))


def paired(runs: Sequence[Sequence[ClipAnswer]]) -> tuple[Paired, ...]:
    """Each two of these runs, given what was said of their clips; runs that said nothing are passed over."""
    heard = [index for index, answers in enumerate(runs) if answers]
    return tuple(_pair(one, other, runs[one], runs[other]) for one, other in combinations(heard, 2))


def mcnemar(one: int, other: int) -> float:
    """The exact two-sided p of McNemar's test: of n coins, at most min(one, other) fall to either side.

    Args:
        one: cases in which only the one is right.
        other: cases in which only the other is.
    """
    n = one + other
    tail = sum(comb(n, k) for k in range(min(one, other) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _pair(first: int, second: int, ours: Sequence[ClipAnswer], theirs: Sequence[ClipAnswer]) -> Paired:
    of_second = {(answer.clip_id, answer.truth): answer for answer in theirs}
    common = [(answer, of_second[key]) for answer in ours if (key := (answer.clip_id, answer.truth)) in of_second]
    return Paired(
        first=first,
        second=second,
        both=sum(one.correct and other.correct for one, other in common),
        only_first=tuple(other for one, other in common if one.correct and not other.correct),
        only_second=tuple(one for one, other in common if other.correct and not one.correct),
        neither=sum(not one.correct and not other.correct for one, other in common),
        apart=len(ours) + len(theirs) - 2 * len(common),
    )
