"""What is notable about a run, what it means, and what to do. docs/analysis.md explains each finding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import numpy as np

from services.trainer.inspection.posteriors import part_presence
from services.trainer.inspection.run.predictions import ClipPrediction, count_seeds
from services.trainer.inspection.run.record import RunRecord
from services.trainer.runs.result import HeldOutCounts, spread_over_seeds
from services.trainer.training.epoch import EpochResult
from signet.html import interval, percent
from signet.statistics.intervals import wilson

# A healthy run has at most 1 % of empty outputs.
_MAX_EMPTY = 0.05
# Above this share of empty outputs, the model is useless.
_MOSTLY_EMPTY = 0.5
# Exact accuracy minus that of the continuous decoder; at most 0.03 in a healthy run.
_MAX_DECODER_GAP = 0.1
# Share of empty outputs of the ensemble minus the mean of its members.
_MAX_ENSEMBLE_EMPTY = 0.1
# Training accuracy minus held-out accuracy.
_MAX_ACCURACY_GAP = 0.25
# A model with this training accuracy has learnt something.
_LEARNT = 0.5
# Last held-out loss divided by the lowest one. From epoch to epoch the loss varies by less than a fifth.
_MAX_LOSS_RISE = 1.2
# Relative fall of the training loss over the last tenth of the epochs.
_STILL_FALLING = 0.05
# Time of the slowest tenth of the epochs divided by the median.
_MAX_SLOWDOWN = 2.0
# Half the width of the interval. With a wider one, differences that matter cannot be seen.
_MAX_HALF_WIDTH = 0.1
# Standard deviation of the accuracy over the seeds.
_MAX_SEED_DEVIATION = 0.05
# A clip has no hands if hands are in less than a tenth of its frames; and the share of such clips.
_MIN_HAND_FRAMES, _MAX_HANDLESS = 0.1, 0.03
# Share of the glosses that are ever the first guess, among more than this number of glosses.
_MIN_GUESSED, _FEW_GLOSSES = 0.5, 3
# A tendency over epochs needs this many epochs.
_MIN_EPOCHS = 20

Severity = Literal["fault", "caution", "note"]
_ORDER: tuple[Severity, ...] = ("fault", "caution", "note")


@dataclass(frozen=True)
class Finding:
    """Something notable."""

    name: str
    severity: Severity  # with a fault the model is useless; a caution limits what a figure means
    title: str  # the title, which docs/analysis.md explains
    text: str  # what was measured, and what it means
    advice: str = ""  # what to do; "" for nothing


def collect_findings(record: RunRecord, predictions: Sequence[ClipPrediction]) -> tuple[Finding, ...]:
    """All findings about a run and its predictions for held-out clips, the most severe first."""
    findings = [*_check_training(record), *_check_clips(record)]
    seeds = list(count_seeds(record.held_out).values()) if record.held_out is not None else []
    if seeds:
        findings += [
            *_check_blank(record, seeds),
            *_check_ensemble(record, seeds),
            *_check_accuracy(record, seeds, predictions),
            *_check_certainty(record, seeds),
        ]
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


def _check_blank(record: RunRecord, seeds: Sequence[HeldOutCounts]) -> Iterator[Finding]:
    empty, exact, continuous = (_mean_share(seeds, count) for count in ("empty", "correct", "continuous_correct"))
    if all(seed.collapsed for seed in seeds):
        yield Finding(
            "collapse", "fault", "Blank collapse",
            "The best path of every held-out clip is empty, because the blank is the best class in every frame. Exact "
            "decoding of single signs still works, but continuous signing gives no output.",
            _advise_against_blanks(record),
        )  # fmt: skip
    elif empty > _MAX_EMPTY:
        yield Finding(
            "empty", "fault" if empty > _MOSTLY_EMPTY else "caution", "Empty outputs",
            f"The best path holds no sign in {percent(empty)} of the held-out clips. In a healthy run it is at most "
            "1 %.", _advise_against_blanks(record),
        )  # fmt: skip
    elif exact - continuous > _MAX_DECODER_GAP:
        yield Finding(
            "decoder-gap", "caution", "The continuous decoder is less accurate than exact decoding",
            f"Exact decoding is right for {percent(exact)} of the clips, the continuous decoder for "
            f"{percent(continuous)}. It outputs a sign twice, adds signs, or outputs none.",
            "Train longer. Raise --repetition-penalty if signs are repeated, --insertion-penalty if signs are added, "
            "--blank-penalty if signs are missing.",
        )  # fmt: skip


def _advise_against_blanks(record: RunRecord) -> str:
    head = record.settings.get("head", "linear")
    if head == "linear" and record.config is not None and record.config.start == 0:
        return "This is plain CTC, which collapses. Leave --head and --flat-start at their defaults."
    longer = "Train longer (--num-epochs), or raise --lr or double --blank-penalty. Look at the strips below."
    return longer if head != "linear" else f"Use --head competition, which is made against this. {longer}"


def _check_ensemble(record: RunRecord, seeds: Sequence[HeldOutCounts]) -> Iterator[Finding]:
    ensemble = record.result.ensemble if record.result is not None else None
    if ensemble is None or not ensemble.clips:
        return
    together, alone = ensemble.empty / ensemble.clips, _mean_share(seeds, "empty")
    if together > alone + _MAX_ENSEMBLE_EMPTY:
        yield Finding(
            "ensemble-empty", "caution", "The ensemble has more empty outputs than its members",
            f"The best path of the ensemble is empty for {percent(together)} of the clips, that of a single seed for "
            f"{percent(alone)}. The seeds place a sign in different frames, so their geometric mean has it in none.",
            "Train longer, until the seeds agree on the frames, or publish one seed (--publish first).",
        )  # fmt: skip


def _check_accuracy(
    record: RunRecord, seeds: Sequence[HeldOutCounts], predictions: Sequence[ClipPrediction]
) -> Iterator[Finding]:
    clips, accuracy = seeds[0].clips, _mean_share(seeds, "correct")
    chance, bounds = 1 / len(record.vocabulary), wilson(round(accuracy * clips), clips)
    train_accuracy = _train_accuracy(record)
    if bounds[0] <= chance:
        text = f"{percent(accuracy)} of {clips} held-out clips are recognised (95 % interval {interval(bounds)})."
        text += f" Guessing recognises {percent(chance)}."
        advice = (
            "Divide --lr by four and train longer, or try --optimizer sgd with --lr 0.01. Look at a few clips with "
            "`signet features`: if hands are missing or in the wrong place, nothing can be learnt. Then check that "
            "the labels belong to the videos."
        )
        if train_accuracy is not None and train_accuracy > max(_LEARNT, 2 * accuracy):
            text += f" {percent(train_accuracy)} of the training clips are recognised: the model learns only these."
            advice = "Check the signers and labels of the held-out clips. Look at some with `signet features`."
        yield Finding("chance", "fault", "Accuracy at chance", text, advice)
        return
    if train_accuracy is not None and train_accuracy - accuracy > _MAX_ACCURACY_GAP:
        yield Finding(
            "overfitting", "note", "Training clips are recognised far better than held-out clips",
            f"{percent(train_accuracy)} of the training clips and {percent(accuracy)} of the held-out clips are "
            "recognised. This is usual with few clips of each gloss. More signers and more clips help most.",
            "Raise --dropout or --weight-decay, or lower --hidden-dim. Then compare both runs with `signet analyze`.",
        )  # fmt: skip
    glosses, guessed = {clip.truth for clip in predictions}, {clip.guess for clip in predictions}
    if len(glosses) > _FEW_GLOSSES and len(guessed) < _MIN_GUESSED * len(glosses):
        yield Finding(
            "few-glosses", "caution", "Few glosses are ever recognised",
            f"The held-out clips show {len(glosses)} glosses, but only {len(guessed)} are the first guess of any clip.",
            "Train longer, or lower --lr.",
        )  # fmt: skip


def _check_certainty(record: RunRecord, seeds: Sequence[HeldOutCounts]) -> Iterator[Finding]:
    clips = seeds[0].clips
    accuracy, deviation = spread_over_seeds(seeds, lambda seed: seed.correct / seed.clips)
    low, high = wilson(round(accuracy * clips), clips)
    if high - low > 2 * _MAX_HALF_WIDTH:
        yield Finding(
            "few-clips", "caution", "Few held-out clips",
            f"There are {clips} held-out clips. The accuracy on other clips may be anywhere in the 95 % interval, "
            f"{interval((low, high))}.",
            "Cross-validate (--folds 5): each clip is held out once, so the interval becomes narrower.",
        )  # fmt: skip
    if deviation is None:
        yield Finding(
            "one-seed", "note", "One seed",
            "The initial weights and the order of the clips are random. Their effect on the figures is not known.",
            "Train with --seeds 3 or more.",
        )  # fmt: skip
    elif deviation > _MAX_SEED_DEVIATION:
        yield Finding(
            "seed-spread", "caution", "The seeds differ",
            f"The standard deviation of the accuracy over {len(seeds)} seeds is {100 * deviation:.1f} points.",
            "Compare recipes by the mean of at least five seeds. Publish all seeds together (--publish ensemble).",
        )  # fmt: skip
    if record.held_out is not None and record.held_out.selected_on:
        yield Finding(
            "selected", "caution", "Selected on these clips",
            f"The weights were selected by their accuracy on {record.held_out.selected_on}, so the figures on it are "
            "too high.",
            "To measure, leave out --patience and --target-accuracy, or cross-validate.",
        )  # fmt: skip


def _check_training(record: RunRecord) -> Iterator[Finding]:
    if record.actions:
        members = len({key for key, _, _ in record.actions})
        yield Finding(
            "actions", "note", "The trainer intervened",
            f"It did so {len(record.actions)} times, in {members} of {len(record.members)} members. The curves mark "
            "these epochs, and a list below them tells what it did.",
        )  # fmt: skip
    histories = [member.epochs for member in record.members]
    if max(map(len, histories), default=0) < _MIN_EPOCHS:
        return
    rises = [_loss_rise(epochs[len(epochs) // 5 :]) for epochs in histories if len(epochs) > 4]
    if rises and (rise := fmean(share for share, _ in rises)) > _MAX_LOSS_RISE:
        yield Finding(
            "loss-rise", "caution", "The held-out loss rose",
            f"It was lowest at about epoch {round(fmean(number for _, number in rises))}, and was {rise:.1f} times as "
            "high at the end. The model became more confident in its mistakes. Its probabilities are worse; its "
            "accuracy need not be.",
            "Train for fewer epochs, or raise --dropout or --weight-decay.",
        )  # fmt: skip
    fall = fmean(_relative_fall([epoch.train_loss for epoch in epochs]) for epochs in histories)
    if record.result is not None and fall > _STILL_FALLING:
        yield Finding(
            "still-falling", "note", "The training loss was still falling",
            f"It fell by {percent(fall)} over the last tenth of the epochs.", "Raise --num-epochs.",
        )  # fmt: skip
    seconds = sorted(epoch.seconds for epochs in histories for epoch in epochs)
    usual, slow = median(seconds), seconds[int(0.9 * len(seconds))]
    if slow > _MAX_SLOWDOWN * usual:
        yield Finding(
            "slow-epochs", "note", "Some epochs took much longer than others",
            f"The median epoch took {usual:.2g} s, a tenth of them {slow:.2g} s or more. Another process used the "
            "cores, the GPU paused because of heat (--max-gpu-temperature), or the memory was full.",
            "Train at most as many members at a time (--jobs) as there are cores.",
        )  # fmt: skip


def _check_clips(record: RunRecord) -> Iterator[Finding]:
    if record.dataset is None or not record.dataset.manifest.clips:
        return
    clips = record.dataset.manifest.clips
    has_hand = part_presence(record.dataset.frames)[:, 1:].any(axis=1)
    handless = [clip for clip in clips if has_hand[clip.start : clip.start + clip.frames].mean() < _MIN_HAND_FRAMES]
    if len(handless) > _MAX_HANDLESS * len(clips):
        examples = ", ".join(f"{clip.clip_id} ({clip.gloss})" for clip in handless[:5])
        yield Finding(
            "no-hands", "caution", "Clips without hands",
            f"In {len(handless)} of {len(clips)} clips a hand was found in less than a tenth of the frames: {examples}"
            f"{' …' if len(handless) > 5 else ''}.",
            "Look at one with `signet features CLIP`. Common causes are poor light, small pictures and a wrong "
            "rotation.",
        )  # fmt: skip
    glosses = {clip.clip_id: clip.gloss for clip in clips}
    groups = [[clip_id for clip_id in group if clip_id in glosses] for group in record.dataset.manifest.audit.identical]
    groups = [group for group in groups if len({glosses[clip_id] for clip_id in group}) > 1]
    if groups:
        examples = "; ".join(" = ".join(f"{clip_id} ({glosses[clip_id]})" for clip_id in group) for group in groups[:3])
        yield Finding(
            "duplicates", "caution", "The same video under several glosses",
            f"{len(groups)} videos have more than one gloss: {examples}{' …' if len(groups) > 3 else ''}. No model can "
            "tell these glosses apart on them.",
            "Read the synonym-aware accuracy in the report of `signet evaluate`: it counts such glosses as one.",
        )  # fmt: skip


def _mean_share(seeds: Sequence[HeldOutCounts], count: str) -> float:
    """The mean over the seeds of a count's share of the clips."""
    return fmean(getattr(seed, count) / seed.clips for seed in seeds)


def _train_accuracy(record: RunRecord) -> float | None:
    """The last known accuracy on training clips, mean over the members; None if it was not measured."""
    shares = []
    for member in record.members:
        measured = [epoch.train for epoch in member.epochs if epoch.train is not None and epoch.train.clips]
        if measured:
            shares.append(measured[-1].correct / measured[-1].clips)
    return fmean(shares) if shares else None


def _loss_rise(epochs: Sequence[EpochResult]) -> tuple[float, int]:
    """The mean of the last three held-out losses divided by the lowest one, and the epoch of the lowest one."""
    losses = np.array([epoch.val.loss for epoch in epochs])
    if not np.isfinite(losses).all() or losses.min() <= 0:
        return 1.0, epochs[-1].number
    return float(losses[-3:].mean() / losses.min()), epochs[int(losses.argmin())].number


def _relative_fall(losses: Sequence[float]) -> float:
    """The relative fall of the loss from the second-last to the last tenth of the epochs."""
    tenth = max(1, len(losses) // 10)
    if len(losses) < 2 * tenth:
        return 0.0
    before, last = fmean(losses[-2 * tenth : -tenth]), fmean(losses[-tenth:])
    return 1 - last / before if before > 0 else 0.0
