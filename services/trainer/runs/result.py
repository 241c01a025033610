"""The result of a run (result.json): held-out counts of the run, its members and its glosses."""

from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import BaseModel

from signet.field_types import Count, ShortText
from signet.statistics.counts import compute_spread


class GlossResult(BaseModel, frozen=True):
    """The held-out clips of one gloss. Of several members that were evaluated one by one, it is their sum."""

    gloss: str
    correct: int
    clips: int


class HeldOutCounts(BaseModel, frozen=True):
    """How many held-out clips one model recognised, or several models on clips of their own."""

    clips: int
    # Exact decoding: the gloss is the best one, and one of the five best.
    correct: int
    top5: int
    # The continuous decoder finds exactly the one sign, and no sign.
    continuous_correct: int
    continuous_empty: int = 0
    # The best path is exactly the one sign, and holds no sign.
    greedy_correct: int
    empty: int
    # Share of the frames whose best class is the blank; the mean over clips.
    blank_ratio: float
    # Sequences of three clips: the signs in them, and the gloss errors. In the first case each clip is measured by
    # itself and the features are joined. In the second case ("stream") the landmarks are joined and then measured,
    # as if the clips were one video. In the third and fourth case the landmarks are joined on one body, without the
    # rests between signs: the hands jump ("cut"), or move, from one sign to the next ("signing").
    concatenated: int = 0
    gloss_errors: int = 0
    stream_gloss_errors: int = 0
    cut_gloss_errors: int = 0
    signing_gloss_errors: int = 0

    @classmethod
    def sum(cls, parts: Iterable["HeldOutCounts"]) -> "HeldOutCounts":
        """The counts of all parts together."""
        parts = list(parts)
        names = HeldOutCounts.model_fields.keys() - {"blank_ratio"}
        total = {name: sum(getattr(part, name) for part in parts) for name in names}
        blanks = sum(part.blank_ratio * part.clips for part in parts)
        return cls(**total, blank_ratio=blanks / total["clips"] if total["clips"] else 0.0)

    @classmethod
    def mean(cls, repetitions: Iterable["HeldOutCounts"]) -> "HeldOutCounts":
        """The mean over several evaluations of the same clips, rounded to whole clips."""
        repetitions = list(repetitions)
        if not repetitions:
            return NO_CLIPS
        total = cls.sum(repetitions)
        counts = total.model_dump(exclude={"blank_ratio"})
        mean = {name: round(count / len(repetitions)) for name, count in counts.items()}
        return cls(**mean, blank_ratio=total.blank_ratio)

    @property
    def collapsed(self) -> bool:
        """Blank collapse: the best path of every clip is empty."""
        return self.clips > 0 and self.empty == self.clips


NO_CLIPS = HeldOutCounts(clips=0, correct=0, top5=0, continuous_correct=0, greedy_correct=0, empty=0, blank_ratio=0.0)


class MemberResult(HeldOutCounts, frozen=True):
    """One member on its held-out clips."""

    fold: int
    seed: int
    epochs: int
    # False if the member was stopped before its end. Such a member is not part of an ensemble.
    complete: bool = True


class Result(BaseModel, frozen=True):
    """The result of a run.

    The val figures are those of the published model. If nothing was published and there are several members, they are
    the mean over the seeds, rounded to whole clips. `members` has the figures of each member.
    """

    state: Literal["succeeded", "stopped"]
    # Both empty if nothing was published.
    model_name: str = ""
    model_version: ShortText = ""
    epochs: Count
    # In cross-validation all clips, since each is held out once.
    val_clips: Count = 0
    val_correct: Count = 0
    val_greedy_correct: Count = 0
    blank_ratio: float = 0.0
    collapsed: bool = False
    goal: float = 0.0
    goal_met: bool = False
    seconds: float
    # The version of the corpus, if the caller knew it.
    corpus_version: str = ""
    # Best first.
    glosses: tuple[GlossResult, ...] = ()
    val_top5: int = 0
    val_continuous_correct: int = 0
    val_empty: int = 0
    # 0 without cross-validation.
    folds: int = 0
    members: tuple[MemberResult, ...] = ()
    # The seeds of each fold as one model, summed over the folds; None for a single seed.
    ensemble: HeldOutCounts | None = None
    # A pre-training publishes nothing and recognises nothing.
    pretrained: bool = False
    # Masked loss of a pre-training on the held-out clips, mean over the members; None without held-out clips.
    val_loss: float | None = None
    # What the trainings changed by themselves, one sentence each.
    actions: tuple[str, ...] = ()

    @property
    def val_accuracy(self) -> float:
        """Share of val clips that exact decoding recognises; 0 without val clips."""
        return self.val_correct / self.val_clips if self.val_clips else 0.0

    @property
    def val_greedy_accuracy(self) -> float:
        """Share of val clips whose best path is exactly their sign; 0 without val clips."""
        return self.val_greedy_correct / self.val_clips if self.val_clips else 0.0

    @property
    def seeds(self) -> dict[int, HeldOutCounts]:
        """See `counts_by_seed`."""
        return counts_by_seed(self.members, self.folds)


def counts_by_seed(members: Iterable[MemberResult], folds: int) -> dict[int, HeldOutCounts]:
    """The counts of each seed over all its folds. Seeds without all folds are left out."""
    by_seed: dict[int, list[MemberResult]] = {}
    for member in members:
        by_seed.setdefault(member.seed, []).append(member)
    return {seed: HeldOutCounts.sum(group) for seed, group in by_seed.items() if len(group) == max(1, folds)}


def spread_over_seeds(
    seeds: Iterable[HeldOutCounts], share: Callable[[HeldOutCounts], float]
) -> tuple[float, float | None]:
    """The mean of a share over the seeds that have clips, and its standard deviation (n - 1); None for one seed.

    Without such seeds, the mean is 0.
    """
    shares = [share(counts) for counts in seeds if counts.clips]
    if not shares:
        return 0.0, None
    spread = compute_spread(shares)
    return spread.mean, spread.deviation
