"""The figures of a report, counted from what a model said of each clip."""

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.evaluator.reports.report import (
    Calibration,
    CalibrationBin,
    CalibrationFigures,
    ClipResult,
    ConfusionCell,
    GlossAccuracy,
    Guess,
    Proportion,
    SignerResult,
    SignerSpread,
)
from signet.datasets.snapshot import DatasetClip
from signet.datasets.splits import signer_folds
from signet.errors import InvalidInput
from signet.statistics.calibration import (
    brier_score,
    calibration_error,
    crossed_temperatures,
    log_posteriors,
    negative_log_likelihood,
    reliability,
)
from signet.statistics.counts import TOP_K, ClipCounts, count_clips, count_confusions, count_glosses, rank_truths

# Of a signer with fewer clips, the accuracy says nothing.
LEAST_CLIPS_OF_A_SIGNER = 3

# Signers of one split are put into so many groups where a temperature is fitted; fewer if there are fewer signers.
_CALIBRATION_GROUPS = 5


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """What one model, or in cross-validation those of one seed, said of n clips.

    Attributes:
        scores: float32 or float64 [n, C]; log p([c] | x), up to a constant in each row.
        labels: [n]; indices into the vocabulary, 0..C-1.
        continuous: what the fixed continuous decoder reads in each clip.
        greedy: what best-path decoding reads.
        blank_ratio: [n].
        frames: [n].
    """

    scores: npt.NDArray[np.float32] | npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    continuous: Sequence[tuple[str, ...]]
    greedy: Sequence[tuple[str, ...]]
    blank_ratio: Sequence[float]
    frames: Sequence[int]

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """[n]; the rank of the true gloss, from 1; see `signet.statistics.counts.rank_truths`."""
        return rank_truths(self.scores, self.labels)


def clip_results(
    clips: Sequence[DatasetClip], vocabulary: Sequence[str], answers: LabelledPredictions
) -> tuple[ClipResult, ...]:
    """What was said of each clip, as a report keeps it."""
    posterior = np.exp(log_posteriors(answers.scores))
    best = np.argsort(-posterior, axis=1, kind="stable")[:, :TOP_K]
    return tuple(
        ClipResult(
            clip_id=clip.clip_id,
            signer=clip.signer,
            truth=vocabulary[label],
            guesses=tuple(Guess(gloss=vocabulary[c], probability=float(posterior[row, c])) for c in best[row]),
            rank=int(rank),
            truth_probability=float(posterior[row, label]),
            greedy=answers.greedy[row],
            continuous=answers.continuous[row],
            blank_ratio=float(answers.blank_ratio[row]),
            frames=int(answers.frames[row]),
        )
        for row, (clip, label, rank) in enumerate(zip(clips, answers.labels, answers.ranks, strict=True))
    )


def share(flags: Sequence[bool]) -> Proportion:
    """How many of the flags are set."""
    return Proportion(correct=sum(flags), n=len(flags))


def count(results: Sequence[ClipResult]) -> ClipCounts:
    """How many clips each way of decoding recognises."""
    return count_clips(
        [result.rank for result in results],
        [result.truth for result in results],
        [result.continuous or () for result in results],
        [result.greedy for result in results],
    )


def synonym_aware(results: Sequence[ClipResult], accepted: Mapping[str, frozenset[str]]) -> Proportion | None:
    """Top-1, where any gloss that is accepted for the truth is right; None where no truth has a synonym at all."""
    if not accepted:
        return None
    return share([result.guesses[0].gloss in accepted.get(result.truth, {result.truth}) for result in results])


def synonyms(twins: Sequence[Sequence[str]], gloss_of: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """For each gloss under which some recording stands that stands under others too: itself and these others.

    Args:
        twins: groups of clips, by id, that show the same recording.
        gloss_of: the gloss of each clip.
    """
    accepted: dict[str, set[str]] = {}
    for group in twins:
        together = {gloss_of[clip_id] for clip_id in group}
        if len(together) > 1:
            for gloss in together:
                accepted.setdefault(gloss, set()).update(together)
    return {gloss: frozenset(others) for gloss, others in accepted.items()}


def per_gloss(results: Sequence[ClipResult], vocabulary: Sequence[str]) -> tuple[GlossAccuracy, ...]:
    """How each gloss fares, in the vocabulary's order."""
    counts = count_glosses(
        vocabulary,
        [result.truth for result in results],
        [result.guesses[0].gloss for result in results],
        [result.correct for result in results],
    )
    return tuple(
        GlossAccuracy(
            gloss=one.gloss, recognised=Proportion(correct=int(one.correct), n=one.clips), predicted=one.predicted
        )
        for one in counts
    )


def confusions(results: Sequence[ClipResult], vocabulary: Sequence[str]) -> tuple[ConfusionCell, ...]:
    """The cells of the confusion matrix that are not zero, row by row."""
    truths = [result.truth for result in results]
    cells = count_confusions(vocabulary, truths, [(result.guesses[0].gloss,) for result in results])
    return tuple(ConfusionCell(truth=cell.truth, predicted=cell.predicted, clips=int(cell.clips)) for cell in cells)


def signer_spread(results: Sequence[ClipResult], least: int = LEAST_CLIPS_OF_A_SIGNER) -> SignerSpread | None:
    """How much depends on who signs; None where no signer has enough clips."""
    by_signer: dict[str, list[bool]] = {}
    for result in results:
        by_signer.setdefault(result.signer, []).append(result.correct)
    unknown = len(by_signer.pop("", []))
    enough = [
        SignerResult(signer=signer, recognised=share(flags))
        for signer, flags in by_signer.items()
        if len(flags) >= least
    ]
    if not enough:
        return None
    enough.sort(key=lambda one: (one.recognised.value, -one.recognised.n, one.signer))
    rare = [len(flags) for flags in by_signer.values() if len(flags) < least]
    shares = [one.recognised.value for one in enough]
    return SignerSpread(
        least_clips=least,
        signers=tuple(enough),
        minimum=shares[0],
        median=statistics.median(shares),
        maximum=shares[-1],
        rare_signers=len(rare),
        rare_clips=sum(rare),
        unknown_clips=unknown,
    )


def signer_groups(clips: Sequence[DatasetClip], twins: Sequence[Sequence[str]]) -> tuple[list[int], str]:
    """Clips of one split in groups of signers, to fit a temperature across: each clip's group, and what they are."""
    for groups in range(_CALIBRATION_GROUPS, 1, -1):
        try:
            folds = signer_folds(clips, groups, twins)
        except InvalidInput:
            continue  # fewer signers than that
        place = {clip_id: index for index, fold in enumerate(folds) for clip_id in fold}
        return [place[clip.clip_id] for clip in clips], f"{groups} groups of signers"
    return [0] * len(clips), "one signer"


def calibration(answers: LabelledPredictions, groups: Sequence[Hashable], described: str) -> Calibration:
    """How far the exact posterior can be taken at its word, before and after a temperature."""
    temperatures = crossed_temperatures(answers.scores, answers.labels, groups)
    by_group: dict[Hashable, float] = {}
    if temperatures is not None:
        by_group = {group: float(temperatures[index]) for index, group in enumerate(groups)}
    return Calibration(
        before=calibration_figures(answers, 1.0),
        after=None if temperatures is None else calibration_figures(answers, temperatures),
        temperatures=tuple(by_group[group] for group in sorted(by_group, key=str)),
        groups=described,
    )


def calibration_figures(
    answers: LabelledPredictions, temperature: float | npt.NDArray[np.float64]
) -> CalibrationFigures:
    """Calibration of the answers under a temperature, or under one for each clip."""
    log_posterior = log_posteriors(answers.scores, temperature)
    confidence = np.exp(log_posterior.max(axis=1))
    # By rank, so that a tie is right in both figures or in none.
    bins = reliability(confidence, answers.ranks == 1)
    return CalibrationFigures(
        expected_error=calibration_error(bins),
        negative_log_likelihood=negative_log_likelihood(log_posterior, answers.labels),
        brier=brier_score(log_posterior, answers.labels),
        bins=tuple(
            CalibrationBin(
                low=one.low, high=one.high, confidence=one.confidence, right=Proportion(correct=one.correct, n=one.n)
            )
            for one in bins
        ),
    )
