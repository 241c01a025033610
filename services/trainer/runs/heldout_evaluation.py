"""What a run's members come to on clips that they did not learn from: each for itself, and together."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Clips
from services.trainer.model.build import build_ensemble
from services.trainer.model.recogniser import Recogniser
from services.trainer.runs.members import Member, MemberKey
from services.trainer.runs.result import NO_CLIPS, GlossResult, HeldoutCounts, MemberResult, Result, counts_by_seed
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import Score, evaluate
from services.trainer.training.validate_sequences import ConcatenationErrors, evaluate_sequences
from signet import heldout
from signet.datasets.snapshot import Dataset
from signet.heldout import HeldOutPredictions
from signet.statistics.gloss_errors import GlossErrors

# The order in which held-out clips are put together, the same for every member of every run.
_CONCATENATION_SEED = 0


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """What a member has learnt.

    Attributes:
        member: which one.
        model: its model.
        epochs: how many it was trained.
        complete: whether that was to its end.
        selected_on: the split that had a say in which weights these are; "" if none had.
    """

    member: Member
    model: Recogniser
    epochs: int
    complete: bool
    selected_on: str


@dataclass(frozen=True, eq=False)
class EvaluatedMember:
    """A member, or all seeds of a fold as one, on the fold's held-out clips."""

    member: Member
    score: Score
    tally: HeldoutCounts


def pretrained(
    members: Sequence[Member], histories: Mapping[MemberKey, Sequence[Epoch]], done: Collection[MemberKey]
) -> Result:
    """How a pre-training ended, but for what only the run knows: how long it took, and on what corpus.

    Args:
        members: of the run.
        histories: their epochs.
        done: the members that are trained to their end.
    """
    trained = [member for member in members if histories[member.key]]
    losses = [histories[member.key][-1].val.loss for member in trained]
    finite = [loss for loss in losses if math.isfinite(loss)]
    return Result(
        state="succeeded" if all(member.key in done for member in members) else "stopped",
        model_name="",
        model_version="",
        epochs=max((len(histories[member.key]) for member in trained), default=0),
        val_clips=0,
        val_correct=0,
        val_greedy_correct=0,
        blank_ratio=0.0,
        collapsed=False,
        goal=0.0,
        goal_met=False,
        seconds=0.0,
        glosses=(),
        members=tuple(
            MemberResult(
                fold=member.fold,
                seed=member.seed,
                epochs=len(histories[member.key]),
                complete=member.key in done,
                **NO_CLIPS.model_dump(),
            )
            for member in members
        ),
        actions=tuple(action for member in trained for epoch in histories[member.key] for action in epoch.actions),
        pretrained=True,
        val_loss=fmean(finite) if finite else None,
    )


class HeldoutEvaluation:
    """What the members of a run come to.

    Args:
        dataset: the run's snapshot.
        config: its configuration.
        learnt: the members, at least one.
        device: where to judge them.

    Attributes:
        decoder: how continuous signing is decoded.
        judged: each member that has held-out clips.
        ensemble: all seeds together, of each fold apart; None for a single seed, or without held-out clips.
        tally: what is said of the run: that of the published model, or of the mean seed where there is none.
        glosses: how each gloss fared in that, best first.
    """

    def __init__(
        self, dataset: Dataset, config: TrainConfig, learnt: Sequence[TrainedMember], device: torch.device
    ) -> None:
        self._dataset = dataset
        self._config = config
        self._learnt = tuple(learnt)
        self._device = device
        self.decoder = config.decoder
        self._parameters = learnt[0].model.parameter_count
        self.judged = tuple(self._judge(one.member, [one.model]) for one in self._learnt if one.member.held_out)
        seeds = {one.member.seed for one in self._learnt}
        as_one = self._seeds_together() if self.judged and len(seeds) > 1 else ()
        self.ensemble = HeldoutCounts.sum(judged.tally for judged in as_one) if as_one else None
        if config.folds:
            shown = self.judged
            self.tally = HeldoutCounts.mean(self.seeds.values())
        else:
            shown = as_one if as_one and config.publish != "first" else self.judged[:1]
            self.tally = HeldoutCounts.sum(judged.tally for judged in shown)
        self.glosses = _by_gloss([judged.score for judged in shown], dataset)

    @property
    def members(self) -> tuple[MemberResult, ...]:
        """The figures of each member; zeros where it has no held-out clips."""
        tallies = {judged.member.key: judged.tally for judged in self.judged}
        return tuple(
            MemberResult(
                fold=one.member.fold,
                seed=one.member.seed,
                epochs=one.epochs,
                complete=one.complete,
                **tallies.get(one.member.key, NO_CLIPS).model_dump(),
            )
            for one in self._learnt
        )

    @property
    def seeds(self) -> dict[int, HeldoutCounts]:
        """What the members of each seed did together; seeds of which a fold is missing are left out."""
        return counts_by_seed(self.members, self._config.folds)

    @property
    def selected_on(self) -> str:
        """The splits that had a say in which weights there are, for a card; "" if none had."""
        return ", ".join(sorted({one.selected_on for one in self._learnt} - {""}))

    @property
    def published(self) -> Recogniser | None:
        """The model that the run publishes; None if it publishes none."""
        if self._config.folds or self._config.publish == "none":
            return None
        models = [one.model for one in self._learnt]
        return build_ensemble(models[:1] if self._config.publish == "first" else models)

    def held_out(self, run_id: str) -> HeldOutPredictions:
        """What the members said of every clip, for the run's report."""
        manifest = self._dataset.manifest
        return HeldOutPredictions(
            run_id=run_id,
            model_name=self._config.model_name,
            dataset_name=manifest.name,
            dataset_version=manifest.version,
            protocol=heldout.CROSS_VALIDATION if self._config.folds else heldout.OFFICIAL,
            folds=self._config.folds,
            vocabulary=manifest.vocabulary,
            parameters=self._parameters,
            members=tuple(self._said(one) for one in self.judged),
            config=self._config.model_dump(),
            selected_on=self.selected_on,
            decoder={**vars(self.decoder), "fixed": "by the run's configuration, before any clip was seen"},
        )

    def _judge(self, member: Member, models: Sequence[Recogniser]) -> EvaluatedMember:
        clips = Clips.from_dataset(self._dataset, member.held_out, self._device)
        model = build_ensemble(models).to(self._device)
        score = evaluate(model, clips, self.decoder, predictions=True)
        errors = evaluate_sequences(model, clips, self.decoder, _CONCATENATION_SEED)
        model.cpu()
        return EvaluatedMember(member, score, _tally(score, errors))

    def _seeds_together(self) -> tuple[EvaluatedMember, ...]:
        """All seeds of each fold as one model."""
        by_fold: dict[int, list[TrainedMember]] = {}
        for one in self._learnt:
            by_fold.setdefault(one.member.fold, []).append(one)
        return tuple(self._judge(group[0].member, [one.model for one in group]) for group in by_fold.values())

    def _said(self, judged: EvaluatedMember) -> heldout.MemberPredictions:
        member, answers, tally = judged.member, judged.score.predictions, judged.tally
        assert answers is not None  # noqa: S101  (asked for where it was judged)
        return heldout.MemberPredictions(
            fold=member.fold,
            seed=member.seed,
            clip_ids=tuple(clip.clip_id for clip in member.held_out),
            labels=answers.labels.astype(np.int32),
            scores=answers.log_posterior,
            continuous=self._glosses(answers.continuous or ()),
            greedy=self._glosses(answers.greedy),
            blank_ratio=answers.blank_ratio,
            frames=np.array([clip.frames for clip in member.held_out], np.int32),
            gloss_errors=heldout.GlossErrorCount(tally.gloss_errors, tally.concatenated)
            if tally.concatenated
            else None,
        )

    def _glosses(self, hypotheses: Sequence[tuple[int, ...]]) -> heldout.Hypotheses:
        vocabulary = self._dataset.manifest.vocabulary
        return tuple(tuple(vocabulary[c - 1] for c in signs) for signs in hypotheses)


def _by_gloss(scores: Sequence[Score], dataset: Dataset) -> tuple[GlossResult, ...]:
    right: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for score in scores:
        for label, (correct, clips) in score.correct_by_class.items():
            right[label] += correct
            total[label] += clips
    results = [
        GlossResult(gloss=dataset.manifest.vocabulary[label - 1], correct=right[label], clips=clips)
        for label, clips in total.items()
    ]
    return tuple(sorted(results, key=lambda one: (-one.correct / one.clips, -one.clips, one.gloss)))


def _tally(score: Score, errors: ConcatenationErrors) -> HeldoutCounts:
    """The counts of a score, and of the sequences."""
    return HeldoutCounts(
        clips=score.clips,
        correct=score.correct,
        top5=score.top5,
        continuous_correct=score.continuous_correct or 0,
        continuous_empty=score.continuous_empty or 0,
        greedy_correct=score.greedy_correct,
        empty=score.empty,
        blank_ratio=score.blank_ratio,
        concatenated=errors.features.signed,
        gloss_errors=_count_edits(errors.features),
        stream_gloss_errors=_count_edits(errors.landmarks),
    )


def _count_edits(errors: GlossErrors) -> int:
    return errors.substitutions + errors.deletions + errors.insertions
