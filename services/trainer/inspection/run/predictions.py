"""What was said of every held-out clip, and what that amounts to: seed by seed, gloss by gloss, mistake by mistake.

Several seeds were asked about the same clips. A share is then the mean over the seeds, and its interval is that of so
many *clips*: three seeds on 37 clips are not 111 trials. What is said of one clip as a whole is the mean over the seeds
of p(gloss | clip), which is what a seed picked at random says.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.trainer.runs.result import HeldoutCounts, MemberResult, counts_by_seed
from signet.heldout import HeldOutPredictions, MemberPredictions
from signet.statistics.calibration import log_posteriors
from signet.statistics.intervals import wilson

_TOP = 5


@dataclass(frozen=True, eq=False)
class ClipAnswer:
    """What the seeds said of one clip. Tuples have one entry for each seed, in the order of `seeds`.

    Attributes:
        clip_id: the clip.
        vocabulary: class c is vocabulary[c - 1].
        label: its class, 1..C.
        frames: how many the models saw.
        seeds: which were asked.
        posterior: float64 [C]: the mean over the seeds of p(c | clip, exactly one sign).
        firsts: each seed's first guess, a class.
        continuous: what each seed's continuous decoder read.
        greedy: what each seed's best path reads.
    """

    clip_id: str
    vocabulary: tuple[str, ...]
    label: int
    frames: int
    seeds: tuple[int, ...]
    posterior: npt.NDArray[np.float64]
    firsts: tuple[int, ...]
    continuous: tuple[tuple[str, ...], ...]
    greedy: tuple[tuple[str, ...], ...]

    @property
    def truth(self) -> str:
        """Its gloss."""
        return self.vocabulary[self.label - 1]

    @cached_property
    def guesses(self) -> tuple[tuple[str, float], ...]:
        """The five likeliest glosses with their probabilities."""
        order = np.argsort(-self.posterior, kind="stable")[:_TOP]
        return tuple((self.vocabulary[c], float(self.posterior[c])) for c in order)

    @property
    def guess(self) -> str:
        """The likeliest gloss."""
        return self.guesses[0][0]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.guesses[0][1]

    @property
    def truth_probability(self) -> float:
        """The true gloss's probability."""
        return float(self.posterior[self.label - 1])

    @property
    def correct(self) -> bool:
        """Whether the likeliest gloss is the true one."""
        return self.guess == self.truth

    @property
    def right(self) -> float:
        """The share of the seeds whose first guess is right."""
        return sum(first == self.label for first in self.firsts) / len(self.firsts)

    @property
    def empty(self) -> int:
        """How many seeds' best paths hold no sign."""
        return sum(not signs for signs in self.greedy)


@dataclass(frozen=True)
class GlossFigure:
    """How one gloss fares.

    Attributes:
        gloss: which.
        clips: n, held out.
        right: share of them recognised, mean over the seeds.
        guessed: clips whose likeliest gloss it is, rightly or wrongly.
    """

    gloss: str
    clips: int
    right: float
    guessed: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `right` on n clips."""
        return wilson(round(self.right * self.clips), self.clips)


@dataclass(frozen=True)
class Confusion:
    """Two glosses that are taken for one another; counts are means over the seeds.

    Attributes:
        one: the gloss that is taken for the other more often.
        other: the other.
        there: clips of `one` taken for `other`.
        back: clips of `other` taken for `one`.
        of_one: clips of `one` in all.
        of_other: clips of `other` in all.
    """

    one: str
    other: str
    there: float
    back: float
    of_one: int
    of_other: int


def by_clip(held_out: HeldOutPredictions) -> tuple[ClipAnswer, ...]:
    """What was said of each clip, by clip id."""
    said: dict[str, list[tuple[MemberPredictions, int]]] = {}
    posteriors = {}
    for member in sorted(held_out.members, key=lambda member: member.seed):
        posteriors[id(member)] = np.exp(log_posteriors(member.scores))
        for row, clip_id in enumerate(member.clip_ids):
            said.setdefault(clip_id, []).append((member, row))
    answers = []
    for clip_id, rows in sorted(said.items()):
        each = np.stack([posteriors[id(member)][row] for member, row in rows])
        member, row = rows[0]
        answers.append(
            ClipAnswer(
                clip_id=clip_id,
                vocabulary=held_out.vocabulary,
                label=int(member.labels[row]),
                frames=int(member.frames[row]),
                seeds=tuple(member.seed for member, _ in rows),
                posterior=each.mean(axis=0),
                firsts=tuple(int(first) + 1 for first in each.argmax(axis=1)),
                continuous=tuple(member.continuous[row] for member, row in rows),
                greedy=tuple(member.greedy[row] for member, row in rows),
            )
        )
    return tuple(answers)


def by_member(held_out: HeldOutPredictions) -> tuple[MemberResult, ...]:
    """The figures of each member, counted from what it said."""
    return tuple(_tally(member, held_out.vocabulary) for member in held_out.members)


def each_seed(held_out: HeldOutPredictions) -> dict[int, HeldoutCounts]:
    """What each seed's members did together; seeds of which a fold is missing are left out."""
    return counts_by_seed(by_member(held_out), held_out.folds)


def by_gloss(answers: Collection[ClipAnswer]) -> tuple[GlossFigure, ...]:
    """Each gloss that has clips, the best first; of equal ones that with more clips, since it is surer."""
    clips = Counter(answer.truth for answer in answers)
    guessed = Counter(answer.guess for answer in answers)
    right = dict.fromkeys(clips, 0.0)
    for answer in answers:
        right[answer.truth] += answer.right
    figures = [GlossFigure(gloss, n, right[gloss] / n, guessed[gloss]) for gloss, n in clips.items()]
    return tuple(sorted(figures, key=lambda one: (-one.right, -one.clips, one.gloss)))


def confusions(answers: Collection[ClipAnswer]) -> tuple[Confusion, ...]:
    """The pairs of glosses that are taken for one another, the most frequent first."""
    clips = Counter(answer.truth for answer in answers)
    taken: dict[tuple[str, str], float] = {}
    for answer in answers:
        for first in answer.firsts:
            if first != answer.label:
                pair = (answer.truth, answer.vocabulary[first - 1])
                taken[pair] = taken.get(pair, 0.0) + 1 / len(answer.firsts)
    found = []
    for (one, other), there in taken.items():
        back = taken.get((other, one), 0.0)
        if (there, other) > (back, one):
            found.append(Confusion(one, other, there, back, clips[one], clips[other]))
    return tuple(sorted(found, key=lambda pair: (-pair.there - pair.back, pair.one, pair.other)))


def mistakes(answers: Collection[ClipAnswer]) -> tuple[ClipAnswer, ...]:
    """The clips whose likeliest gloss is wrong, the surest mistakes first."""
    wrong = [answer for answer in answers if not answer.correct]
    return tuple(sorted(wrong, key=lambda answer: (-answer.confidence, answer.clip_id)))


def _tally(member: MemberPredictions, vocabulary: Sequence[str]) -> MemberResult:
    n = len(member.clip_ids)
    truth = member.scores[np.arange(n), member.labels - 1]
    rank = (member.scores > truth[:, None]).sum(axis=1)
    alone = [(vocabulary[label - 1],) for label in member.labels]
    frames = member.frames.astype(float)
    return MemberResult(
        fold=member.fold,
        seed=member.seed,
        epochs=0,
        clips=n,
        correct=int((rank == 0).sum()),
        top5=int((rank < _TOP).sum()),
        continuous_correct=sum(signs == one for signs, one in zip(member.continuous, alone, strict=True)),
        continuous_empty=sum(not signs for signs in member.continuous),
        greedy_correct=sum(signs == one for signs, one in zip(member.greedy, alone, strict=True)),
        empty=sum(not signs for signs in member.greedy),
        blank_ratio=float((member.blank_ratio * frames).sum() / frames.sum()),
        concatenated=member.gloss_errors.signs if member.gloss_errors else 0,
        gloss_errors=member.gloss_errors.errors if member.gloss_errors else 0,
    )
