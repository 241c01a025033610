"""The held-out predictions of a run, clip by clip, and the figures of its members, seeds and glosses.

Several seeds predict the same clips. A share is the mean over the seeds, and its interval is that of the number of
clips: three seeds on 37 clips are not 111 trials. The prediction for one clip is the mean over the seeds of
p(gloss | clip), which is the prediction of a seed that is picked at random.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.trainer.runs.result import HeldOutCounts, MemberResult, counts_by_seed
from signet.heldout import HeldOutPredictions, MemberPredictions
from signet.statistics.calibration import log_posteriors
from signet.statistics.counts import (
    TOP_K,
    ConfusionCount,
    GlossCounts,
    count_clips,
    count_confusions,
    count_glosses,
    rank_glosses,
    rank_truths,
)


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """The predictions of all seeds for one clip. Tuples have one entry for each seed, in the order of `seeds`."""

    clip_id: str
    vocabulary: tuple[str, ...]  # class c is vocabulary[c - 1]
    label: int  # the true class, 1..C
    seeds: tuple[int, ...]
    posterior: npt.NDArray[np.float64]  # float64 [C]; the mean over the seeds of p(c | clip, exactly one sign)
    first_guesses: tuple[int, ...]  # the most probable class of each seed
    greedy: tuple[tuple[str, ...], ...]  # the best path of each seed

    @property
    def truth(self) -> str:
        """The true gloss."""
        return self.vocabulary[self.label - 1]

    @cached_property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The five most probable glosses with their probabilities."""
        order = np.argsort(-self.posterior, kind="stable")[:TOP_K]
        return tuple((self.vocabulary[c], float(self.posterior[c])) for c in order)

    @property
    def guess(self) -> str:
        """The most probable gloss."""
        return self.top[0][0]

    @property
    def confidence(self) -> float:
        """The probability of the most probable gloss."""
        return self.top[0][1]

    @property
    def truth_probability(self) -> float:
        """The probability of the true gloss."""
        return float(self.posterior[self.label - 1])

    @property
    def correct(self) -> bool:
        """Whether the most probable gloss is the true one."""
        return self.guess == self.truth

    @property
    def seeds_correct(self) -> int:
        """The number of seeds whose first guess is right."""
        return sum(guess == self.label for guess in self.first_guesses)


@dataclass(frozen=True)
class ConfusedPair:
    """Two glosses that are confused. Counts are means over the seeds."""

    gloss: str  # the gloss that is more often recognised as the other one
    other: str
    clips: float  # clips of `gloss` that are recognised as `other`
    reverse: float  # clips of `other` that are recognised as `gloss`
    gloss_clips: int  # all clips of `gloss`
    other_clips: int  # all clips of `other`


def collect_clip_predictions(held_out: HeldOutPredictions) -> tuple[ClipPrediction, ...]:
    """The predictions for each clip, sorted by clip id."""
    rows: dict[str, list[tuple[MemberPredictions, int, npt.NDArray[np.float64]]]] = {}
    for member in sorted(held_out.members, key=lambda member: member.seed):
        posteriors = np.exp(log_posteriors(member.scores))
        for row, clip_id in enumerate(member.clip_ids):
            rows.setdefault(clip_id, []).append((member, row, posteriors[row]))
    predictions = []
    for clip_id, seeds in sorted(rows.items()):
        posteriors = np.stack([posterior for _, _, posterior in seeds])
        member, row, _ = seeds[0]
        predictions.append(
            ClipPrediction(
                clip_id=clip_id,
                vocabulary=held_out.vocabulary,
                label=int(member.labels[row]),
                seeds=tuple(member.seed for member, _, _ in seeds),
                posterior=posteriors.mean(axis=0),
                first_guesses=tuple(int(c) + 1 for c in posteriors.argmax(axis=1)),
                greedy=tuple(member.greedy[row] for member, row, _ in seeds),
            )
        )
    return tuple(predictions)


def count_members(held_out: HeldOutPredictions) -> tuple[MemberResult, ...]:
    """The figures of each member."""
    return tuple(_count_member(member, held_out.vocabulary) for member in held_out.members)


def count_seeds(held_out: HeldOutPredictions) -> dict[int, HeldOutCounts]:
    """The figures of each seed, over all folds. A seed that lacks a fold is left out."""
    return counts_by_seed(count_members(held_out), held_out.folds)


def count_predicted_glosses(predictions: Collection[ClipPrediction]) -> tuple[GlossCounts, ...]:
    """The figures of each gloss that has clips, the best first."""
    counts = count_glosses(
        sorted({gloss for clip in predictions for gloss in (clip.truth, clip.guess)}),
        [clip.truth for clip in predictions],
        [clip.guess for clip in predictions],
        [clip.seeds_correct / len(clip.seeds) for clip in predictions],
    )
    return rank_glosses(counts)


def find_confused_pairs(predictions: Collection[ClipPrediction]) -> tuple[ConfusedPair, ...]:
    """The pairs of glosses that are confused, the most frequent first."""
    truths = [clip.truth for clip in predictions]
    guesses = [[clip.vocabulary[c - 1] for c in clip.first_guesses] for clip in predictions]
    vocabulary = sorted({*truths, *(gloss for seeds in guesses for gloss in seeds)})
    confusions = [cell for cell in count_confusions(vocabulary, truths, guesses) if cell.truth != cell.predicted]
    clips, gloss_clips = {(cell.truth, cell.predicted): cell.clips for cell in confusions}, Counter(truths)

    def is_more_frequent_way(cell: ConfusionCount) -> bool:
        return (cell.clips, cell.predicted) > (clips.get((cell.predicted, cell.truth), 0.0), cell.truth)

    pairs = [
        ConfusedPair(
            gloss=cell.truth,
            other=cell.predicted,
            clips=cell.clips,
            reverse=clips.get((cell.predicted, cell.truth), 0.0),
            gloss_clips=gloss_clips[cell.truth],
            other_clips=gloss_clips[cell.predicted],
        )
        for cell in confusions
        if is_more_frequent_way(cell)
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.clips - pair.reverse, pair.gloss, pair.other)))


def find_mistakes(predictions: Collection[ClipPrediction]) -> tuple[ClipPrediction, ...]:
    """The clips whose most probable gloss is wrong, the most confident first."""
    wrong = [clip for clip in predictions if not clip.correct]
    return tuple(sorted(wrong, key=lambda clip: (-clip.confidence, clip.clip_id)))


def _count_member(member: MemberPredictions, vocabulary: tuple[str, ...]) -> MemberResult:
    truths = [vocabulary[label - 1] for label in member.labels]
    counts = count_clips(rank_truths(member.scores, member.labels - 1), truths, member.continuous, member.greedy)
    frames = member.frames.astype(float)
    return MemberResult(
        fold=member.fold,
        seed=member.seed,
        epochs=0,
        **asdict(counts),
        blank_ratio=float((member.blank_ratio * frames).sum() / frames.sum()),
        concatenated=member.gloss_errors.signs if member.gloss_errors else 0,
        gloss_errors=member.gloss_errors.errors if member.gloss_errors else 0,
    )
