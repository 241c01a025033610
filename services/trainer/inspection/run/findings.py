"""What stands out in a run, and what to do about it. docs/analysis.md explains each finding at length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import numpy as np

from services.trainer.drawing.posteriors import presence
from services.trainer.inspection.run.predictions import ClipAnswer, each_seed
from services.trainer.inspection.run.record import Record
from services.trainer.runs.result import HeldoutCounts, spread
from services.trainer.training.epoch import Epoch
from signet.html import interval, percent
from signet.statistics.intervals import wilson

# More empty outputs than this are not chance: a healthy run has 1 % and less.
_EMPTY = 0.05
# Exact accuracy less that of the continuous decoder; a healthy run is within 0.03.
_GAP = 0.1
# Together, the seeds may be so much emptier than alone before it is said.
_EMPTIER = 0.1
# Train less held-out accuracy, above which a model knows its clips better than its signs.
_BY_HEART = 0.25
# Share of its training clips that a model which learns at all knows.
_LEARNT = 0.5
# Rise of the held-out loss above its least: a fifth is more than it wavers from epoch to epoch.
_LOSS_RISE = 1.2
# Fall of the training loss over the last tenth of the epochs, beside the tenth before.
_STILL_FALLING = 0.05
# The slowest tenth of the epochs beside the median.
_UNEVEN = 2.0
# Half the width of an interval on the held-out clips: beyond, differences that matter cannot be seen.
_WIDE = 0.1
# Standard deviation over the seeds, as a share.
_SCATTERED = 0.05
# Share of clips without a hand in a tenth of their frames.
_HANDLESS, _HANDLESS_FRAMES = 0.03, 0.1
# A vocabulary of which less is ever said is not used.
_SAID = 0.5
# The fewest epochs from which a tendency is read.
_ENOUGH_EPOCHS = 20

Weight = Literal["fault", "caution", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that stands out.

    Attributes:
        name: a word, the same as in docs/analysis.md.
        weight: a fault makes the model useless, a caution is to be known before believing a figure.
        title: in a few words.
        text: what was seen.
        way_out: what to do; "" where there is nothing to do.
    """

    name: str
    weight: Weight
    title: str
    text: str
    way_out: str = ""


def findings(record: Record, answers: Sequence[ClipAnswer]) -> tuple[Finding, ...]:
    """All findings of a run, the gravest first.

    Args:
        record: the run.
        answers: what its models said of their held-out clips; none if that is not known.
    """
    found = [*_of_training(record), *_of_clips(record)]
    if record.held_out is not None:
        seeds = list(each_seed(record.held_out).values())
        if seeds:
            found += [*_of_blank(record, seeds), *_of_accuracy(record, seeds, answers), *_of_certainty(record, seeds)]
    order = ("fault", "caution", "note")
    return tuple(sorted(found, key=lambda one: order.index(one.weight)))


def _of_blank(record: Record, seeds: Sequence[HeldoutCounts]) -> Iterator[Finding]:
    empty = _mean(seeds, "empty")
    gap = _mean(seeds, "correct") - _mean(seeds, "continuous_correct")
    head = record.settings.get("head", "linear")
    plain = head == "linear" and record.config is not None and record.config.start == 0
    way_out = (
        "Train longer (--num-epochs), raise --lr or --blank-penalty (twice as much), and look at the strips below."
    )
    if plain:
        way_out = "This is plain CTC, which collapses: leave --head and --flat-start at their defaults."
    elif head == "linear":
        way_out = f"Use --head competition, whose timing cannot be swallowed by the blank. {way_out}"
    if all(seed.collapsed for seed in seeds):
        yield Finding(
            "collapse", "fault", "Blank collapse",
            "Every best path is empty: the blank wins in every frame of every held-out clip. The exact posterior still "
            "ranks the signs; continuous signing would give nothing.", way_out,
        )  # fmt: skip
    elif empty > _EMPTY:
        yield Finding(
            "empty", "fault" if empty > 0.5 else "caution", "Clips come out empty",
            f"{percent(empty)} of the best paths hold no sign; a healthy model has 1 % and less.", way_out,
        )  # fmt: skip
    elif gap > _GAP:
        yield Finding(
            "gap", "caution", "The continuous decoder says less than the model knows",
            f"Exact decoding is right in {percent(_mean(seeds, 'correct'))}, the continuous decoder in "
            f"{percent(_mean(seeds, 'continuous_correct'))}: signs come out twice, split, or not at all.",
            "Train longer; raise --repetition-penalty if a sign comes out twice, --insertion-penalty if others are "
            "made up, --blank-penalty if they are missing.",
        )  # fmt: skip
    together = record.result.ensemble if record.result is not None else None
    if together is not None and together.clips and together.empty / together.clips > empty + _EMPTIER:
        yield Finding(
            "apart", "caution", "Together, the seeds come out empty",
            f"As one model, the seeds give an empty best path in {percent(together.empty / together.clips)} of the "
            f"clips; each alone in {percent(empty)}. They place the same sign in different frames, and their geometric "
            "mean has it in none.",
            "Train longer, until the seeds agree on the moment, or publish one of them (--publish first).",
        )  # fmt: skip


def _of_accuracy(record: Record, seeds: Sequence[HeldoutCounts], answers: Sequence[ClipAnswer]) -> Iterator[Finding]:
    n, right = seeds[0].clips, _mean(seeds, "correct")
    chance = 1 / len(record.vocabulary)
    ends = wilson(round(right * n), n)
    by_heart = _train_accuracy(record)
    if ends[0] <= chance:
        guessing = (
            f"{percent(right)} of {n} held-out clips are recognised ({interval(ends)}), and guessing would recognise "
            f"{percent(chance)}."
        )
        if by_heart is not None and by_heart > max(_LEARNT, 2 * right):
            yield Finding(
                "chance", "fault", "Stuck at chance",
                f"{guessing} Of the training clips it knows {percent(by_heart)}: it learns, but not what others do.",
                "Are signers or labels of the held-out clips of another kind? Look at some with `signet features`.",
            )  # fmt: skip
        else:
            yield Finding(
                "chance", "fault", "Stuck at chance", guessing,
                "Lower --lr to a quarter and train longer, or try --optimizer sgd with --lr 0.01. Look at a few clips "
                "with `signet features`: without hands, or with hands in the wrong place, there is nothing to learn. "
                "Then check that the labels are those of the videos.",
            )  # fmt: skip
        return
    if by_heart is not None and by_heart - right > _BY_HEART:
        yield Finding(
            "by-heart", "note", "It knows its training clips better than the signs",
            f"{percent(by_heart)} of the training clips, {percent(right)} of the held-out ones. With a handful of "
            "clips a gloss that is usual; what helps most is more signers and more clips.",
            "Raise --dropout or --weight-decay, lower --hidden-dim, and compare the two runs on one page.",
        )  # fmt: skip
    glosses = {answer.truth for answer in answers}
    said = {answer.guess for answer in answers}
    if len(glosses) > 3 and len(said) < _SAID * len(glosses):
        yield Finding(
            "few-signs", "caution", "Few signs are ever said",
            f"The held-out clips show {len(glosses)} glosses, and only {len(said)} are ever the first guess.",
            "Train longer, or lower --lr.",
        )  # fmt: skip


def _of_certainty(record: Record, seeds: Sequence[HeldoutCounts]) -> Iterator[Finding]:
    n = seeds[0].clips
    right, deviation = spread(seeds, lambda one: one.correct / one.clips)
    low, high = wilson(round(right * n), n)
    if high - low > 2 * _WIDE:
        yield Finding(
            "few-clips", "caution", "Few clips: read the interval, not the figure",
            f"{n} held-out clips: with another choice of clips the figure might as well be anywhere in "
            f"{interval((low, high))}.",
            "Cross-validate (--folds 5): every clip is held out once, and the interval becomes narrower.",
        )  # fmt: skip
    if deviation is None:
        yield Finding(
            "one-seed", "note", "One seed",
            "How much of these figures is luck of the initial weights and of the order is not known.",
            "Train with --seeds 3 or more.",
        )  # fmt: skip
    elif deviation > _SCATTERED:
        yield Finding(
            "scattered", "caution", "The seeds differ much",
            f"Over {len(seeds)} seeds the standard deviation is {100 * deviation:.1f} points.",
            "Compare recipes by the mean of at least five seeds; publish them together (--publish ensemble).",
        )  # fmt: skip
    if record.held_out is not None and record.held_out.selected_on:
        yield Finding(
            "selected", "caution", "Selected on these clips",
            f"Which weights count was decided on {record.held_out.selected_on}: figures on it are optimistic.",
            "Leave out --patience and --target-accuracy to measure, or cross-validate.",
        )  # fmt: skip


def _of_training(record: Record) -> Iterator[Finding]:
    if record.actions:
        members = len({place for place, _, _ in record.actions})
        yield Finding(
            "actions", "note", "The training acted by itself",
            f"{len(record.actions)} times, in {members} of {len(record.members)} members; the curves mark the epochs, "
            "and they are listed below them.",
        )  # fmt: skip
    longest = max((len(member.epochs) for member in record.members), default=0)
    if longest < _ENOUGH_EPOCHS:
        return
    risen = [_risen(member.epochs[len(member.epochs) // 5 :]) for member in record.members if len(member.epochs) > 4]
    if risen and fmean(share for share, _ in risen) > _LOSS_RISE:
        least = round(fmean(number for _, number in risen))
        yield Finding(
            "overfitting", "caution", "The held-out loss has risen",
            f"It was least at about epoch {least}, and ended {fmean(share for share, _ in risen):.1f} times as high: "
            "the model became surer of its mistakes. Accuracy need not suffer, probabilities do.",
            "Train for fewer epochs, raise --dropout or --weight-decay.",
        )  # fmt: skip
    falling = [_falling([epoch.train_loss for epoch in member.epochs]) for member in record.members]
    if record.result is not None and fmean(falling) > _STILL_FALLING:
        yield Finding(
            "unfinished", "note", "It was still learning at its end",
            f"The training loss fell by {percent(fmean(falling))} over the last tenth of the epochs.",
            "Raise --num-epochs.",
        )  # fmt: skip
    seconds = sorted(epoch.seconds for member in record.members for epoch in member.epochs)
    usual, slow = median(seconds), seconds[int(0.9 * len(seconds))]
    if slow > _UNEVEN * usual:
        yield Finding(
            "uneven", "note", "Some epochs took far longer than others",
            f"{usual:.2g} s an epoch, but a tenth of them {slow:.2g} s and more: something else used the processor, "
            "the GPU paused for heat (--max-gpu-temperature), or memory was full.",
            "Members at a time (--jobs) should be no more than there are cores.",
        )  # fmt: skip


def _of_clips(record: Record) -> Iterator[Finding]:
    if record.dataset is None or not record.dataset.manifest.clips:
        return
    clips = record.dataset.manifest.clips
    handed = presence(record.dataset.frames)[:, 1:].any(axis=1)
    bare = [clip for clip in clips if handed[clip.start : clip.start + clip.frames].mean() < _HANDLESS_FRAMES]
    if len(bare) > _HANDLESS * len(clips):
        named = ", ".join(f"{clip.clip_id} ({clip.gloss})" for clip in bare[:5])
        yield Finding(
            "no-hands", "caution", "Clips without hands",
            f"In {len(bare)} of {len(clips)} clips hardly a frame has a hand: {named}{' …' if len(bare) > 5 else ''}.",
            "Look at one: `signet features CLIP`. Poor light and small pictures do it, and so does a wrong rotation.",
        )  # fmt: skip
    glosses = {clip.clip_id: clip.gloss for clip in clips}
    groups = [[one for one in group if one in glosses] for group in record.dataset.manifest.audit.identical]
    double = [group for group in groups if len({glosses[one] for one in group}) > 1]
    if double:
        named = "; ".join(" = ".join(f"{one} ({glosses[one]})" for one in group) for group in double[:3])
        yield Finding(
            "twins", "caution", "The same video under several glosses",
            f"{len(double)} groups: {named}{' …' if len(double) > 3 else ''}. No model can tell them apart.",
            "The report's synonym-aware figure counts them as one (`signet evaluate`).",
        )  # fmt: skip


def _mean(seeds: Sequence[HeldoutCounts], count: str) -> float:
    """Mean over the seeds of a count's share of the clips."""
    return fmean(getattr(seed, count) / seed.clips for seed in seeds)


def _train_accuracy(record: Record) -> float | None:
    """The share of training clips recognised at the end, mean over the members; None if that was not asked."""
    shares = []
    for member in record.members:
        judged = [epoch.train for epoch in member.epochs if epoch.train is not None and epoch.train.clips]
        if judged:
            shares.append(judged[-1].correct / judged[-1].clips)
    return fmean(shares) if shares else None


def _risen(epochs: Sequence[Epoch]) -> tuple[float, int]:
    """The last held-out loss as a multiple of the least, and in which epoch that was."""
    losses = np.array([epoch.val.loss for epoch in epochs])
    numbers = [epoch.number for epoch in epochs]
    if not np.isfinite(losses).all() or losses.min() <= 0:
        return 1.0, numbers[-1]
    return float(losses[-3:].mean() / losses.min()), numbers[int(losses.argmin())]


def _falling(losses: Sequence[float]) -> float:
    """By which share the loss fell over the last tenth of the epochs."""
    tenth = max(1, len(losses) // 10)
    if len(losses) < 2 * tenth:
        return 0.0
    before, last = fmean(losses[-2 * tenth : -tenth]), fmean(losses[-tenth:])
    return 1 - last / before if before > 0 else 0.0
