"""How a run ended: result.json, and what its counts amount to."""

from collections.abc import Callable, Iterable
from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class GlossResult(_Model):
    """How one gloss fared; with several members that were judged one by one, over all of them."""

    gloss: str
    correct: int
    clips: int


class HeldoutCounts(_Model):
    """What a model, or several on clips of their own, did with held-out clips."""

    clips: int
    # By exact decoding.
    correct: int
    top5: int
    # By the run's one fixed decoder for continuous signing: exactly the one sign.
    continuous_correct: int
    # By the same decoder: no sign at all.
    continuous_empty: int = 0
    # By best path.
    greedy_correct: int
    # Best paths without any sign.
    empty: int
    # Of the frames, those whose best class is the blank.
    blank_ratio: float
    # Signs in sequences of three of the clips, and gloss errors in reading these: where each clip was measured by
    # itself, and where the model saw them as one video.
    concatenated: int = 0
    gloss_errors: int = 0
    stream_gloss_errors: int = 0

    @classmethod
    def mean(cls, tallies: Iterable["HeldoutCounts"]) -> "HeldoutCounts":
        """Of several on the same clips, rounded to whole clips."""
        several = list(tallies)
        if not several:
            return NO_CLIPS
        added = cls.sum(several)
        counts = {
            name: round(value / len(several)) for name, value in added.model_dump(exclude={"blank_ratio"}).items()
        }
        return cls(**counts, blank_ratio=added.blank_ratio)

    @classmethod
    def sum(cls, tallies: Iterable["HeldoutCounts"]) -> "HeldoutCounts":
        """All together; the blank ratio is the mean over clips."""
        several = list(tallies)
        clips = sum(one.clips for one in several)
        counts = {
            name: sum(getattr(one, name) for one in several)
            for name in HeldoutCounts.model_fields
            if name != "blank_ratio"
        }
        blanks = sum(one.blank_ratio * one.clips for one in several)
        return cls(**counts, blank_ratio=blanks / clips if clips else 0.0)

    @property
    def collapsed(self) -> bool:
        """Blank collapse: every clip comes out empty."""
        return self.clips > 0 and self.empty == self.clips


NO_CLIPS = HeldoutCounts(clips=0, correct=0, top5=0, continuous_correct=0, greedy_correct=0, empty=0, blank_ratio=0.0)


class MemberResult(HeldoutCounts):
    """One member on its held-out clips."""

    fold: int
    seed: int
    epochs: int
    # Whether it was trained to its end; one that was stopped on the way is not part of an ensemble.
    complete: bool = True


class Result(_Model):
    """How a run ended: result.json.

    The figures of val are those of the model that was published. Where several members were trained and none was
    published, they are the mean over the seeds, rounded to whole clips; `members` has what each of them did.
    """

    state: Literal["succeeded", "stopped"]
    # Both empty if nothing was published.
    model_name: str
    model_version: str
    epochs: int
    # In cross-validation all clips, each of which was held out once.
    val_clips: int
    val_correct: int
    val_greedy_correct: int
    blank_ratio: float
    collapsed: bool
    goal: float
    goal_met: bool
    seconds: float
    # Which state of the corpus it was trained on, as told by whoever started it; empty if nobody said.
    corpus_version: str = ""
    # Best first.
    glosses: tuple[GlossResult, ...]
    val_top5: int = 0
    val_continuous_correct: int = 0
    val_empty: int = 0
    # Groups of signers that were held out one after the other; 0 if val was.
    folds: int = 0
    members: tuple[MemberResult, ...] = ()
    # All seeds together, of each fold apart; None for a single seed.
    ensemble: HeldoutCounts | None = None
    # Whether it was a pre-training: it publishes nothing, and recognises nothing.
    pretrained: bool = False
    # Of a pre-training: its masked loss on the held-out clips, mean of the members; None where there are none.
    val_loss: float | None = None
    # What the trainings did by themselves, a sentence each.
    actions: tuple[str, ...] = ()

    @property
    def val_accuracy(self) -> float:
        """Share of val clips recognised by exact decoding; 0 without val clips."""
        return self.val_correct / self.val_clips if self.val_clips else 0.0

    @property
    def val_greedy_accuracy(self) -> float:
        """Share of val clips whose best path is exactly their sign; 0 without val clips."""
        return self.val_greedy_correct / self.val_clips if self.val_clips else 0.0

    @property
    def seeds(self) -> dict[int, HeldoutCounts]:
        """What each seed's members did together, over all clips. Seeds of which a fold is missing are left out."""
        return counts_by_seed(self.members, self.folds)


def counts_by_seed(members: Iterable[MemberResult], folds: int) -> dict[int, HeldoutCounts]:
    """What each seed's members did together; seeds of which a fold is missing are left out."""
    several: dict[int, list[MemberResult]] = {}
    for member in members:
        several.setdefault(member.seed, []).append(member)
    return {seed: HeldoutCounts.sum(group) for seed, group in several.items() if len(group) == max(1, folds)}


def spread(seeds: Iterable[HeldoutCounts], share: Callable[[HeldoutCounts], float]) -> tuple[float, float | None]:
    """Mean of a share over the seeds, and its standard deviation (n - 1); None for one seed. (0, None) for none."""
    shares = [share(one) for one in seeds if one.clips]
    return (fmean(shares) if shares else 0.0), (stdev(shares) if len(shares) > 1 else None)
