"""The comparison of runs: the settings in which they differ, and a paired test on the clips that they share.

Two runs that predict the same held-out clips are compared clip by clip. Only the clips that one run gets right and the
other gets wrong tell which run is better. If the runs are equally good, each of these clips falls to either side with
probability 1/2 (McNemar 1947, in its exact form).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from services.trainer.config.setting_effects import WITHOUT_EFFECT_ON_LEARNING
from services.trainer.inspection.run.predictions import ClipPrediction
from signet.statistics.paired import mcnemar_p_value


@dataclass(frozen=True)
class SettingDifference:
    """A field of the configuration in which the runs differ."""

    name: str
    values: tuple[Any, ...]  # the value of each run; None also if the version of the run did not have the field
    affects_learning: bool  # whether the field changes what is learnt


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """Two runs on the clips that both held out."""

    first: int
    second: int
    both: int  # number of clips that both get right
    only_first: tuple[ClipPrediction, ...]  # the second run's predictions for the clips that only the first gets right
    only_second: tuple[ClipPrediction, ...]  # the first run's predictions for the clips that only the second gets right
    neither: int  # number of clips that both get wrong
    not_shared: int  # number of clips that only one run held out, or that have another gloss in the other run

    @property
    def clips(self) -> int:
        """The number of clips that both held out."""
        return self.both + len(self.only_first) + len(self.only_second) + self.neither

    @property
    def p(self) -> float:
        """The p-value of McNemar's test; see `mcnemar_p_value`."""
        return mcnemar_p_value(len(self.only_first), len(self.only_second))

    @property
    def gain(self) -> float:
        """The share of clips that the second run gets right, minus that of the first run."""
        return (len(self.only_second) - len(self.only_first)) / self.clips if self.clips else 0.0


def compare_settings(settings: Sequence[dict[str, Any]]) -> tuple[SettingDifference, ...]:
    """The fields in which configurations differ. Fields that affect learning come first."""
    names = dict.fromkeys(name for config in settings for name in config)
    values = {name: tuple(config.get(name) for config in settings) for name in names}
    differences = [
        SettingDifference(name, of_runs, name not in WITHOUT_EFFECT_ON_LEARNING)
        for name, of_runs in values.items()
        if any(value != of_runs[0] for value in of_runs)
    ]
    return tuple(sorted(differences, key=lambda difference: not difference.affects_learning))


def compare_pairs(runs: Sequence[Sequence[ClipPrediction]]) -> tuple[PairedComparison, ...]:
    """Compare each two of these runs. Runs without predictions are left out."""
    predicting = [index for index, predictions in enumerate(runs) if predictions]
    return tuple(_compare(first, second, runs[first], runs[second]) for first, second in combinations(predicting, 2))


def _compare(
    first: int, second: int, first_clips: Sequence[ClipPrediction], second_clips: Sequence[ClipPrediction]
) -> PairedComparison:
    second_by_key = {(clip.clip_id, clip.truth): clip for clip in second_clips}
    shared = [
        (clip, second_by_key[key]) for clip in first_clips if (key := (clip.clip_id, clip.truth)) in second_by_key
    ]
    return PairedComparison(
        first=first,
        second=second,
        both=sum(a.correct and b.correct for a, b in shared),
        only_first=tuple(b for a, b in shared if a.correct and not b.correct),
        only_second=tuple(a for a, b in shared if b.correct and not a.correct),
        neither=sum(not a.correct and not b.correct for a, b in shared),
        not_shared=len(first_clips) + len(second_clips) - 2 * len(shared),
    )
