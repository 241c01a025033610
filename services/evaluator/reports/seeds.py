"""The held-out predictions of a training run, seed by seed, and the spread of the figures over the seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from services.evaluator.reports.report import (
    AcrossSeeds,
    ClipResult,
    GlossErrorRate,
    MemberAccuracy,
    Proportion,
    SeedResult,
)
from services.evaluator.reports.statistics import (
    LabelledPredictions,
    build_clip_results,
    calibration_figures,
    count_results,
    find_synonyms,
    synonym_aware_accuracy,
)
from signet.datasets.snapshot import DatasetClip, Manifest
from signet.errors import DataLoss
from signet.heldout import CROSS_VALIDATION, HeldOutPredictions, MemberPredictions
from signet.statistics.calibration import log_posteriors
from signet.statistics.counts import ClipCounts, Spread, compute_spread
from signet.statistics.intervals import wilson


@dataclass(frozen=True, eq=False)
class SeedPredictions:
    """The models of one seed, one for each fold, on the clips that they were not trained on."""

    seed: int
    members: int  # number of models
    clips: tuple[DatasetClip, ...]  # all held-out clips in order of their ids, which is the same for every seed
    folds: tuple[int, ...]  # the fold in which each clip was held out
    predictions: LabelledPredictions
    results: tuple[ClipResult, ...]  # the same, as a report stores them
    gloss_errors: GlossErrorRate | None  # on concatenated clips, over all folds; None if that was not measured


class HeldOutRun:
    """The held-out predictions of a run, by seed, and the manifest of its snapshot, which has the clips.

    Raises:
        DataLoss: the run does not fit its snapshot, or no seed is complete.
    """

    def __init__(self, run: HeldOutPredictions, manifest: Manifest) -> None:
        self._run = run
        self._manifest = manifest
        self._clips = {clip.clip_id: clip for clip in manifest.clips}
        self._check()
        by_seed: dict[int, list[MemberPredictions]] = {}
        for member in run.members:
            by_seed.setdefault(member.seed, []).append(member)
        folds = run.folds if run.protocol == CROSS_VALIDATION else 1
        self._incomplete = tuple(sorted(seed for seed, members in by_seed.items() if len(members) < folds))
        if len(self._incomplete) == len(by_seed):
            raise DataLoss(
                f"run {run.run_id!r}: each of its seeds lacks a fold, so that no seed has predictions for all clips. "
                "Let `signet train` finish the run."
            )
        self._seeds = {
            seed: self._pool(seed, members) for seed, members in sorted(by_seed.items()) if seed not in self._incomplete
        }

    def seed(self, seed: int) -> SeedPredictions:
        """The predictions of one complete seed."""
        return self._seeds[seed]

    @cached_property
    def synonyms(self) -> Mapping[str, frozenset[str]]:
        """See `services.evaluator.reports.statistics.find_synonyms`."""
        glosses = {clip_id: clip.gloss for clip_id, clip in self._clips.items()}
        return find_synonyms(self._manifest.audit.duplicates, glosses)

    def summarise(self) -> AcrossSeeds:
        """The spread of each figure over the complete seeds."""
        results = [self._measure(seed) for seed in self._seeds.values()]
        ranked = sorted(results, key=lambda seed: (seed.top1.correct, seed.seed))
        top1 = [seed.top1.value for seed in results]
        clips = results[0].top1.n
        low, high = wilson(float(np.mean(top1)) * clips, clips)
        ensemble = self._count_ensemble() if len(results) > 1 else None
        return AcrossSeeds(
            seeds=tuple(results),
            members=tuple(sorted(self._measure_members(), key=lambda member: (member.fold, member.seed))),
            shown=ranked[(len(ranked) - 1) // 2].seed,
            top1=compute_spread(top1),
            low=low,
            high=high,
            top5=compute_spread([seed.top5.value for seed in results]),
            synonym_aware=_spread_if_measured([seed.synonym_aware.value for seed in results if seed.synonym_aware]),
            continuous=compute_spread([seed.continuous.value for seed in results]),
            greedy=compute_spread([seed.greedy.value for seed in results]),
            empty_continuous=compute_spread([seed.empty_continuous.value for seed in results]),
            exact_continuous_gap=compute_spread([seed.top1.value - seed.continuous.value for seed in results]),
            calibration_error=compute_spread([seed.calibration_error for seed in results]),
            gloss_error_rate=_spread_if_measured([seed.gloss_errors.value for seed in results if seed.gloss_errors]),
            ensemble_top1=Proportion(correct=ensemble.correct, n=clips) if ensemble else None,
            ensemble_top5=Proportion(correct=ensemble.top5, n=clips) if ensemble else None,
            incomplete=self._incomplete,
        )

    def _check(self) -> None:
        for member in self._run.members:
            for clip_id, label in zip(member.clip_ids, member.labels, strict=True):
                clip = self._clips.get(clip_id)
                if clip is None or clip.gloss != self._run.vocabulary[label - 1]:
                    raise DataLoss(
                        f"run {self._run.run_id!r}: its dataset {self._manifest.name}/{self._manifest.version} has no "
                        f"clip {clip_id!r} of the gloss {self._run.vocabulary[label - 1]!r}, on which the run was "
                        "evaluated. Train again."
                    )

    def _pool(self, seed: int, members: Sequence[MemberPredictions]) -> SeedPredictions:
        """The predictions of all folds of a seed, in order of the clips' ids."""
        ids = [clip_id for member in members for clip_id in member.clip_ids]
        order = np.argsort(ids, kind="stable")
        folds = np.repeat([member.fold for member in members], [len(member.clip_ids) for member in members])
        continuous = [glosses for member in members for glosses in member.continuous]
        greedy = [glosses for member in members for glosses in member.greedy]
        predictions = LabelledPredictions(
            scores=np.concatenate([member.scores for member in members])[order],
            labels=np.concatenate([member.labels for member in members])[order].astype(np.int64) - 1,
            continuous=[continuous[index] for index in order],
            greedy=[greedy[index] for index in order],
            blank_ratio=np.concatenate([member.blank_ratio for member in members])[order].tolist(),
            frames=np.concatenate([member.frames for member in members])[order].tolist(),
        )
        clips = tuple(self._clips[ids[index]] for index in order)
        errors = [member.gloss_errors for member in members if member.gloss_errors]
        return SeedPredictions(
            seed=seed,
            members=len(members),
            clips=clips,
            folds=tuple(folds[order].tolist()),
            predictions=predictions,
            results=build_clip_results(clips, self._run.vocabulary, predictions),
            gloss_errors=GlossErrorRate(
                errors=sum(count.errors for count in errors), signs=sum(count.signs for count in errors)
            )
            if errors
            else None,
        )

    def _measure(self, seed: SeedPredictions) -> SeedResult:
        counts = count_results(seed.results)
        n = counts.clips
        return SeedResult(
            seed=seed.seed,
            members=seed.members,
            top1=Proportion(correct=counts.correct, n=n),
            top5=Proportion(correct=counts.top5, n=n),
            synonym_aware=synonym_aware_accuracy(seed.results, self.synonyms),
            continuous=Proportion(correct=counts.continuous_correct, n=n),
            greedy=Proportion(correct=counts.greedy_correct, n=n),
            empty_continuous=Proportion(correct=counts.continuous_empty, n=n),
            empty=Proportion(correct=counts.empty, n=n),
            calibration_error=calibration_figures(seed.predictions, 1.0).expected_error,
            gloss_errors=seed.gloss_errors,
        )

    def _measure_members(self) -> Iterator[MemberAccuracy]:
        for seed in self._seeds.values():
            for fold in sorted(set(seed.folds)):
                held_out = zip(seed.results, seed.folds, strict=True)
                counts = count_results([result for result, its_fold in held_out if its_fold == fold])
                yield MemberAccuracy(
                    fold=fold,
                    seed=seed.seed,
                    top1=Proportion(correct=counts.correct, n=counts.clips),
                    continuous=Proportion(correct=counts.continuous_correct, n=counts.clips),
                )

    def _count_ensemble(self) -> ClipCounts:
        """The counts of all complete seeds together, by the geometric mean of their posteriors."""
        first, *others = self._seeds.values()
        total = log_posteriors(first.predictions.scores)
        for seed in others:
            if seed.clips != first.clips:
                raise DataLoss(
                    f"run {self._run.run_id!r}: its seeds were not evaluated on the same clips. Train again."
                )
            total += log_posteriors(seed.predictions.scores)
        mean = replace(first.predictions, scores=total / len(self._seeds))
        return count_results(build_clip_results(first.clips, self._run.vocabulary, mean))


def _spread_if_measured(values: Sequence[float]) -> Spread | None:
    return compute_spread(values) if values else None
