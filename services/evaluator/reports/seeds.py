"""The seeds of a run: each seed's models on all held-out clips, and what the training comes to over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.evaluator.reports import statistics as figures
from services.evaluator.reports.report import (
    AcrossSeeds,
    ClipResult,
    GlossErrorRate,
    MemberAccuracy,
    Proportion,
    SeedResult,
)
from services.evaluator.reports.statistics import LabelledPredictions
from signet.datasets.snapshot import DatasetClip, Manifest
from signet.errors import DataLoss
from signet.heldout import CROSS_VALIDATION, HeldOutPredictions, MemberPredictions
from signet.statistics.calibration import log_posteriors
from signet.statistics.counts import ClipCounts, Spread, compute_spread
from signet.statistics.intervals import wilson


@dataclass(frozen=True, eq=False)
class Seed:
    """The models of one seed, one for each fold, on the clips that each was not trained on.

    Attributes:
        seed: which.
        members: how many models, one for each fold.
        clips: all clips that were held out, by id: the same order for every seed.
        folds: the fold in which each clip was held out.
        answers: what was said of each clip.
        results: the same, as a report keeps it.
        gloss_errors: on concatenations, over all folds; None if it was not measured.
    """

    seed: int
    members: int
    clips: tuple[DatasetClip, ...]
    folds: tuple[int, ...]
    answers: LabelledPredictions
    results: tuple[ClipResult, ...]
    gloss_errors: GlossErrorRate | None


class HeldOutRun:
    """What the models of a run said, seed by seed.

    Args:
        left: what the run left.
        manifest: its snapshot, which knows the clips.

    Raises:
        DataLoss: the two do not go together, or no seed is complete.
    """

    def __init__(self, left: HeldOutPredictions, manifest: Manifest) -> None:
        self._left = left
        self._manifest = manifest
        self._clips = {clip.clip_id: clip for clip in manifest.clips}
        self._check()
        by_seed: dict[int, list[MemberPredictions]] = {}
        for member in left.members:
            by_seed.setdefault(member.seed, []).append(member)
        folds = left.folds if left.protocol == CROSS_VALIDATION else 1
        self._incomplete = tuple(sorted(seed for seed, members in by_seed.items() if len(members) < folds))
        if len(self._incomplete) == len(by_seed):
            raise DataLoss(
                f"run {left.run_id!r}: of each of its seeds a fold is missing, so that not all clips were held out. "
                "Let `signet train` finish it."
            )
        self._seeds = {
            seed: self._seed(seed, members) for seed, members in sorted(by_seed.items()) if seed not in self._incomplete
        }

    def of(self, seed: int) -> Seed:
        """One complete seed."""
        return self._seeds[seed]

    @cached_property
    def synonyms(self) -> Mapping[str, frozenset[str]]:
        """See `services.evaluator.reports.statistics.synonyms`."""
        return figures.synonyms(
            self._manifest.audit.duplicates, {clip_id: clip.gloss for clip_id, clip in self._clips.items()}
        )

    def across_seeds(self) -> AcrossSeeds:
        """Mean and deviation of every figure over the complete seeds."""
        results = [self._result(seed) for seed in self._seeds.values()]
        ranked = sorted(results, key=lambda one: (one.top1.correct, one.seed))
        top1 = [one.top1.value for one in results]
        clips = results[0].top1.n
        low, high = wilson(float(np.mean(top1)) * clips, clips)
        ensemble = self._ensemble() if len(results) > 1 else None
        return AcrossSeeds(
            seeds=tuple(results),
            members=tuple(sorted(self._members(), key=lambda one: (one.fold, one.seed))),
            shown=ranked[(len(ranked) - 1) // 2].seed,
            top1=compute_spread(top1),
            low=low,
            high=high,
            top5=compute_spread([one.top5.value for one in results]),
            synonym_aware=_spread_if_any([one.synonym_aware.value for one in results if one.synonym_aware]),
            continuous=compute_spread([one.continuous.value for one in results]),
            greedy=compute_spread([one.greedy.value for one in results]),
            empty_continuous=compute_spread([one.empty_continuous.value for one in results]),
            exact_continuous_gap=compute_spread([one.top1.value - one.continuous.value for one in results]),
            calibration_error=compute_spread([one.calibration_error for one in results]),
            gloss_error_rate=_spread_if_any([one.gloss_errors.value for one in results if one.gloss_errors]),
            ensemble_top1=Proportion(correct=ensemble.top1, n=clips) if ensemble else None,
            ensemble_top5=Proportion(correct=ensemble.top5, n=clips) if ensemble else None,
            incomplete=self._incomplete,
        )

    def _check(self) -> None:
        for member in self._left.members:
            for clip_id, label in zip(member.clip_ids, member.labels, strict=True):
                clip = self._clips.get(clip_id)
                if clip is None or clip.gloss != self._left.vocabulary[label - 1]:
                    manifest = self._manifest
                    raise DataLoss(
                        f"run {self._left.run_id!r}: clip {clip_id!r} is not in its dataset {manifest.name}/"
                        f"{manifest.version} as the run knew it. Train again."
                    )

    def _seed(self, seed: int, members: Sequence[MemberPredictions]) -> Seed:
        ids = [clip_id for member in members for clip_id in member.clip_ids]
        order = np.argsort(ids, kind="stable")
        folds = np.repeat([member.fold for member in members], [len(member.clip_ids) for member in members])
        continuous = [one for member in members for one in member.continuous]
        greedy = [one for member in members for one in member.greedy]
        answers = LabelledPredictions(
            scores=np.concatenate([member.scores for member in members])[order],
            labels=np.concatenate([member.labels for member in members])[order].astype(np.int64) - 1,
            continuous=[continuous[index] for index in order],
            greedy=[greedy[index] for index in order],
            blank_ratio=np.concatenate([member.blank_ratio for member in members])[order].tolist(),
            frames=np.concatenate([member.frames for member in members])[order].tolist(),
        )
        clips = tuple(self._clips[ids[index]] for index in order)
        errors = [member.gloss_errors for member in members if member.gloss_errors]
        return Seed(
            seed=seed,
            members=len(members),
            clips=clips,
            folds=tuple(folds[order].tolist()),
            answers=answers,
            results=figures.clip_results(clips, self._left.vocabulary, answers),
            gloss_errors=GlossErrorRate(
                errors=sum(one.errors for one in errors), signs=sum(one.signs for one in errors)
            )
            if errors
            else None,
        )

    def _result(self, seed: Seed) -> SeedResult:
        results, counts = seed.results, figures.count(seed.results)
        return SeedResult(
            seed=seed.seed,
            members=seed.members,
            top1=Proportion(correct=counts.top1, n=counts.clips),
            top5=Proportion(correct=counts.top5, n=counts.clips),
            synonym_aware=figures.synonym_aware(results, self.synonyms),
            continuous=Proportion(correct=counts.continuous_correct, n=counts.clips),
            greedy=Proportion(correct=counts.greedy_correct, n=counts.clips),
            empty_continuous=Proportion(correct=counts.continuous_empty, n=counts.clips),
            empty=Proportion(correct=counts.greedy_empty, n=counts.clips),
            calibration_error=figures.calibration_figures(seed.answers, 1.0).expected_error,
            gloss_errors=seed.gloss_errors,
        )

    def _members(self) -> Iterator[MemberAccuracy]:
        for seed in self._seeds.values():
            for fold in sorted(set(seed.folds)):
                in_fold = [result for result, place in zip(seed.results, seed.folds, strict=True) if place == fold]
                counts = figures.count(in_fold)
                yield MemberAccuracy(
                    fold=fold,
                    seed=seed.seed,
                    top1=Proportion(correct=counts.top1, n=counts.clips),
                    continuous=Proportion(correct=counts.continuous_correct, n=counts.clips),
                )

    def _ensemble(self) -> ClipCounts:
        """All complete seeds as one model: the geometric mean of their posteriors."""
        first, *others = self._seeds.values()
        total = log_posteriors(first.answers.scores)
        for seed in others:
            if seed.clips != first.clips:
                raise DataLoss(f"run {self._left.run_id!r}: its seeds were not held to the same clips. Train again.")
            total += log_posteriors(seed.answers.scores)
        answers = first.answers
        mean = LabelledPredictions(
            total / len(self._seeds),
            answers.labels,
            answers.continuous,
            answers.greedy,
            answers.blank_ratio,
            answers.frames,
        )
        return figures.count(figures.clip_results(first.clips, self._left.vocabulary, mean))


def _spread_if_any(values: Sequence[float]) -> Spread | None:
    return compute_spread(values) if values else None
