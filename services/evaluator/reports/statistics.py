"""The figures of a report, counted from the predictions for each clip."""

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
    GlossProbability,
    Proportion,
    SignerResult,
    SignerSpread,
    UnknownSigns,
    UnsignedClip,
)
from signet.datasets.snapshot import DatasetClip
from signet.datasets.splits import signer_folds
from signet.errors import InvalidInput
from signet.landmarks import why_nothing_is_signed
from signet.statistics.calibration import (
    brier_score,
    calibration_error,
    crossed_temperatures,
    log_posteriors,
    negative_log_likelihood,
    reliability,
)
from signet.statistics.counts import TOP_K, ClipCounts, count_clips, count_confusions, count_glosses, rank_truths
from signet.statistics.vocabulary_score import VocabularyScore, measure_separation

# The accuracy of a signer with fewer clips is not informative.
MIN_CLIPS_OF_A_SIGNER = 3

# The signers of a split are divided into so many groups to fit temperatures; into fewer if there are fewer signers.
_CALIBRATION_GROUPS = 5


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """The predictions for n clips, of one model or, in cross-validation, of the models of one seed."""

    # float32 or float64 [n, C]; log p([c] | x), up to a constant in each row.
    scores: npt.NDArray[np.float32] | npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]  # [n]; indices into the vocabulary, 0..C-1
    continuous: Sequence[tuple[str, ...]]  # [n]; glosses that the continuous decoder finds
    greedy: Sequence[tuple[str, ...]]  # [n]; glosses of the best path
    blank_ratio: Sequence[float]  # [n]; share of frames whose best class is the blank
    frames: Sequence[int]  # [n]

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """[n]; ranks of the true glosses, from 1."""
        return rank_truths(self.scores, self.labels)


def build_clip_results(
    clips: Sequence[DatasetClip], vocabulary: Sequence[str], predictions: LabelledPredictions
) -> tuple[ClipResult, ...]:
    """The predictions for each clip as a report stores them."""
    posterior = np.exp(log_posteriors(predictions.scores))
    best = np.argsort(-posterior, axis=1, kind="stable")[:, :TOP_K]
    return tuple(
        ClipResult(
            clip_id=clip.clip_id,
            signer=clip.signer,
            truth=vocabulary[label],
            guesses=tuple(
                GlossProbability(gloss=vocabulary[c], probability=float(posterior[row, c])) for c in best[row]
            ),
            rank=int(rank),
            truth_probability=float(posterior[row, label]),
            greedy=predictions.greedy[row],
            continuous=predictions.continuous[row],
            blank_ratio=float(predictions.blank_ratio[row]),
            frames=int(predictions.frames[row]),
        )
        for row, (clip, label, rank) in enumerate(zip(clips, predictions.labels, predictions.ranks, strict=True))
    )


def count_results(results: Sequence[ClipResult]) -> ClipCounts:
    """How many clips are recognised by each way of decoding."""
    return count_clips(
        [result.rank for result in results],
        [result.truth for result in results],
        [result.continuous or () for result in results],
        [result.greedy for result in results],
    )


def synonym_aware_accuracy(results: Sequence[ClipResult], synonyms: Mapping[str, frozenset[str]]) -> Proportion | None:
    """Top-1 if each gloss of `find_synonyms` is accepted for its synonyms; None if there are no synonyms."""
    if not synonyms:
        return None
    correct = sum(result.guesses[0].gloss in synonyms.get(result.truth, {result.truth}) for result in results)
    return Proportion(correct=correct, n=len(results))


def find_synonyms(duplicates: Sequence[Sequence[str]], gloss_of: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Glosses that label the same recording: each such gloss, with itself and its synonyms.

    `duplicates` are groups of clips, by id, that show the same recording; `gloss_of` is the gloss of each clip.
    """
    synonyms: dict[str, set[str]] = {}
    for group in duplicates:
        glosses = {gloss_of[clip_id] for clip_id in group}
        if len(glosses) > 1:
            for gloss in glosses:
                synonyms.setdefault(gloss, set()).update(glosses)
    return {gloss: frozenset(others) for gloss, others in synonyms.items()}


def measure_unknown_signs(
    score: VocabularyScore | None, known: npt.NDArray[np.float64], unknown: npt.NDArray[np.float64]
) -> UnknownSigns | None:
    """How well a score separates log-posteriors [n, C] of known signs from those of unknown signs, [m, C].

    None if the model has no score, or if there is no unknown sign.
    """
    if score is None or not len(unknown):
        return None
    return UnknownSigns.model_validate(vars(measure_separation(score(known), score(unknown))))


def find_unsigned_clips(
    clips: Sequence[DatasetClip], inputs: Sequence[npt.NDArray[np.float32]]
) -> tuple[UnsignedClip, ...]:
    """The clips to which the service answers that nothing is signed; `inputs` are their model inputs [T, 75, 3]."""
    reasons = [why_nothing_is_signed(frames) for frames in inputs]
    return tuple(
        UnsignedClip(clip_id=clip.clip_id, gloss=clip.gloss, reason=reason)
        for clip, reason in zip(clips, reasons, strict=True)
        if reason is not None
    )


def measure_glosses(results: Sequence[ClipResult], vocabulary: Sequence[str]) -> tuple[GlossAccuracy, ...]:
    """The accuracy of each gloss, in the vocabulary's order."""
    counts = count_glosses(
        vocabulary,
        [result.truth for result in results],
        [result.guesses[0].gloss for result in results],
        [result.correct for result in results],
    )
    return tuple(
        GlossAccuracy(
            gloss=count.gloss,
            recognised=Proportion(correct=int(count.correct), n=count.clips),
            predicted=count.predicted,
        )
        for count in counts
    )


def list_confusions(results: Sequence[ClipResult], vocabulary: Sequence[str]) -> tuple[ConfusionCell, ...]:
    """The cells of the confusion matrix that are not zero, row by row."""
    truths = [result.truth for result in results]
    cells = count_confusions(vocabulary, truths, [(result.guesses[0].gloss,) for result in results])
    return tuple(ConfusionCell(truth=cell.truth, predicted=cell.predicted, clips=int(cell.clips)) for cell in cells)


def measure_signers(results: Sequence[ClipResult], min_clips: int = MIN_CLIPS_OF_A_SIGNER) -> SignerSpread | None:
    """The accuracy of each signer with at least `min_clips` clips; None if there is no such signer."""
    by_signer: dict[str, list[bool]] = {}
    for result in results:
        by_signer.setdefault(result.signer, []).append(result.correct)
    unknown = len(by_signer.pop("", []))
    signers = [
        SignerResult(signer=signer, recognised=Proportion(correct=sum(correct), n=len(correct)))
        for signer, correct in by_signer.items()
        if len(correct) >= min_clips
    ]
    if not signers:
        return None
    signers.sort(key=lambda result: (result.recognised.value, -result.recognised.n, result.signer))
    rare = [len(correct) for correct in by_signer.values() if len(correct) < min_clips]
    shares = [result.recognised.value for result in signers]
    return SignerSpread(
        least_clips=min_clips,
        signers=tuple(signers),
        minimum=shares[0],
        median=statistics.median(shares),
        maximum=shares[-1],
        rare_signers=len(rare),
        rare_clips=sum(rare),
        unknown_clips=unknown,
    )


def group_by_signer(clips: Sequence[DatasetClip], duplicates: Sequence[Sequence[str]]) -> tuple[list[int], str]:
    """Groups of signers for `measure_calibration`: the group of each clip, and a description of the groups."""
    for count in range(_CALIBRATION_GROUPS, 1, -1):
        try:
            folds = signer_folds(clips, count, duplicates)
        except InvalidInput:
            continue  # there are fewer signers
        group_of = {clip_id: index for index, fold in enumerate(folds) for clip_id in fold}
        return [group_of[clip.clip_id] for clip in clips], f"{count} groups of signers"
    return [0] * len(clips), "one signer"


def measure_calibration(predictions: LabelledPredictions, groups: Sequence[Hashable], description: str) -> Calibration:
    """Calibration of the exact posterior without a temperature, and with one that is fitted on the other groups."""
    temperatures = crossed_temperatures(predictions.scores, predictions.labels, groups)
    by_group: dict[Hashable, float] = {}
    if temperatures is not None:
        by_group = {group: float(temperatures[index]) for index, group in enumerate(groups)}
    return Calibration(
        before=calibration_figures(predictions, 1.0),
        after=None if temperatures is None else calibration_figures(predictions, temperatures),
        temperatures=tuple(by_group[group] for group in sorted(by_group, key=str)),
        groups=description,
    )


def calibration_figures(
    predictions: LabelledPredictions, temperature: float | npt.NDArray[np.float64]
) -> CalibrationFigures:
    """Measures of calibration under one temperature, or under one for each clip."""
    log_posterior = log_posteriors(predictions.scores, temperature)
    confidence = np.exp(log_posterior.max(axis=1))
    # A clip is right if the rank of its truth is 1, as in top-1, so that both figures treat ties alike.
    bins = reliability(confidence, predictions.ranks == 1)
    return CalibrationFigures(
        expected_error=calibration_error(bins),
        negative_log_likelihood=negative_log_likelihood(log_posterior, predictions.labels),
        brier=brier_score(log_posterior, predictions.labels),
        bins=tuple(
            CalibrationBin(
                low=part.low,
                high=part.high,
                confidence=part.confidence,
                accuracy=Proportion(correct=part.correct, n=part.n),
            )
            for part in bins
        ),
    )
