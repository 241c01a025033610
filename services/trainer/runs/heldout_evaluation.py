"""The held-out evaluation of a run: each member on its held-out clips, and the seeds of each fold as one ensemble."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Clips
from services.trainer.data.members import Member
from services.trainer.model.build import build_ensemble
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.result import NO_CLIPS, GlossResult, HeldOutCounts, MemberResult, counts_by_seed
from services.trainer.training.validate import Score, evaluate
from services.trainer.training.validate_sequences import ConcatenationErrors, evaluate_sequences, evaluate_signing
from signet import heldout
from signet.datasets.snapshot import Dataset
from signet.heldout import HeldOutPredictions
from signet.landmarks.concatenation import Joining
from signet.statistics.counts import GlossCounts, rank_glosses
from signet.statistics.gloss_errors import GlossErrors

# The order in which held-out clips are concatenated: the same for every member of every run.
_CONCATENATION_SEED = 0


@dataclass(frozen=True, eq=False)
class TrainedMember:
    """A member and its trained model."""

    member: Member
    model: SignModel
    epochs: int  # the number of epochs that it was trained for
    complete: bool  # False if it was stopped before its end
    selected_on: str  # the split that decided when the training ended; "" if none did


@dataclass(frozen=True, eq=False)
class EvaluatedMember:
    """A member, or the ensemble of a fold's seeds, and its result on the held-out clips."""

    member: Member
    score: Score
    counts: HeldOutCounts


@dataclass(frozen=True, eq=False)
class HeldOutEvaluation:
    """The figures of a run on clips that its members were not trained on."""

    evaluated: tuple[EvaluatedMember, ...]  # each member that has held-out clips
    members: tuple[MemberResult, ...]  # every member; zeros without held-out clips
    ensemble: HeldOutCounts | None  # the seeds of each fold as one model, summed over the folds; None for a single seed
    counts: HeldOutCounts  # of the published model; in cross-validation, the mean over the seeds
    glosses: tuple[GlossResult, ...]  # the same, the best gloss first; in cross-validation, the sum over the members
    parameters: int  # of one member
    selected_on: str  # the splits that decided when a training ended; "" if none did


def evaluate_members(
    dataset: Dataset, config: TrainConfig, trained_members: Sequence[TrainedMember], device: torch.device
) -> HeldOutEvaluation:
    """Evaluate the members of a run, at least one, and their ensembles."""
    by_fold: dict[int, list[TrainedMember]] = {}
    for trained in trained_members:
        by_fold.setdefault(trained.member.fold, []).append(trained)
    evaluated = tuple(
        _evaluate(dataset, config, [trained], device) for trained in trained_members if trained.member.held_out
    )
    ensembles: tuple[EvaluatedMember, ...] = ()
    if evaluated and len({trained.member.seed for trained in trained_members}) > 1:
        ensembles = tuple(_evaluate(dataset, config, seeds, device) for seeds in by_fold.values())

    counts = {result.member.key: result.counts for result in evaluated}
    members = tuple(
        MemberResult(
            fold=trained.member.fold,
            seed=trained.member.seed,
            epochs=trained.epochs,
            complete=trained.complete,
            **counts.get(trained.member.key, NO_CLIPS).model_dump(),
        )
        for trained in trained_members
    )
    shown = ensembles if ensembles and config.publish != "first" else evaluated[:1]
    return HeldOutEvaluation(
        evaluated=evaluated,
        members=members,
        ensemble=HeldOutCounts.sum(ensemble.counts for ensemble in ensembles) if ensembles else None,
        counts=HeldOutCounts.mean(counts_by_seed(members, config.folds).values())
        if config.folds
        else HeldOutCounts.sum(result.counts for result in shown),
        glosses=_gloss_results([result.score for result in (evaluated if config.folds else shown)], dataset),
        parameters=trained_members[0].model.parameter_count,
        selected_on=", ".join(sorted({trained.selected_on for trained in trained_members} - {""})),
    )


def select_published_model(config: TrainConfig, trained_members: Sequence[TrainedMember]) -> SignModel | None:
    """The model that the run publishes; None if it publishes none."""
    if config.folds or config.publish == "none":
        return None
    models = [trained.model for trained in trained_members]
    return build_ensemble(models[:1] if config.publish == "first" else models)


def collect_predictions(
    run_id: str, dataset: Dataset, config: TrainConfig, evaluation: HeldOutEvaluation
) -> HeldOutPredictions:
    """The predictions of every member for every held-out clip, for the report of the run."""
    manifest = dataset.manifest
    return HeldOutPredictions(
        run_id=run_id,
        model_name=config.model_name,
        dataset_name=manifest.name,
        dataset_version=manifest.version,
        protocol=heldout.CROSS_VALIDATION if config.folds else heldout.OFFICIAL,
        folds=config.folds,
        vocabulary=manifest.vocabulary,
        parameters=evaluation.parameters,
        members=tuple(_member_predictions(result, manifest.vocabulary) for result in evaluation.evaluated),
        config=config.model_dump(),
        selected_on=evaluation.selected_on,
        decoder={**vars(config.decoder), "fixed": "by the run's configuration, before any clip was seen"},
    )


def _evaluate(
    dataset: Dataset, config: TrainConfig, trained_members: Sequence[TrainedMember], device: torch.device
) -> EvaluatedMember:
    """Evaluate one member, or the ensemble of several seeds of a fold, on the fold's held-out clips."""
    member = trained_members[0].member
    clips = Clips.from_dataset(dataset, member.held_out, device)
    model = build_ensemble([trained.model for trained in trained_members]).to(device)
    score = evaluate(model, clips, config.decoder, predictions=True)
    errors = evaluate_sequences(model, clips, config.decoder, _CONCATENATION_SEED)
    cut, interpolated = (
        evaluate_signing(model, dataset, member.held_out, config.decoder, joining, _CONCATENATION_SEED)
        for joining in (Joining.RESTS_CUT, Joining.INTERPOLATED)
    )
    model.cpu()
    counts = _held_out_counts(score, errors).model_copy(
        update={"cut_gloss_errors": _count_edits(cut), "signing_gloss_errors": _count_edits(interpolated)}
    )
    return EvaluatedMember(member, score, counts)


def _member_predictions(evaluated: EvaluatedMember, vocabulary: Sequence[str]) -> heldout.MemberPredictions:
    member, predictions, counts = evaluated.member, evaluated.score.predictions, evaluated.counts
    assert predictions is not None  # noqa: S101  (`_evaluate` asks for them)

    def named(hypotheses: Sequence[tuple[int, ...]]) -> heldout.Hypotheses:
        return tuple(tuple(vocabulary[c - 1] for c in signs) for signs in hypotheses)

    return heldout.MemberPredictions(
        fold=member.fold,
        seed=member.seed,
        clip_ids=tuple(clip.clip_id for clip in member.held_out),
        labels=predictions.labels.astype(np.int32),
        scores=predictions.log_posterior,
        continuous=named(predictions.continuous or ()),
        greedy=named(predictions.greedy),
        blank_ratio=predictions.blank_ratio,
        frames=np.array([clip.frames for clip in member.held_out], np.int32),
        gloss_errors=heldout.GlossErrorCount(counts.gloss_errors, counts.concatenated) if counts.concatenated else None,
    )


def _gloss_results(scores: Sequence[Score], dataset: Dataset) -> tuple[GlossResult, ...]:
    """The clips of each gloss, summed over the scores, the best gloss first."""
    correct: Counter[int] = Counter()
    clips: Counter[int] = Counter()
    for score in scores:
        assert score.predictions is not None  # noqa: S101  (`_evaluate` asks for them)
        clips.update(score.predictions.labels.tolist())
        correct.update(score.predictions.labels[score.predictions.recognised].tolist())
    vocabulary = dataset.manifest.vocabulary
    ranked = rank_glosses(GlossCounts(vocabulary[label - 1], clips[label], correct[label], 0) for label in clips)
    return tuple(GlossResult(gloss=gloss.gloss, correct=int(gloss.correct), clips=gloss.clips) for gloss in ranked)


def _held_out_counts(score: Score, errors: ConcatenationErrors) -> HeldOutCounts:
    return HeldOutCounts(
        clips=score.clips,
        correct=score.correct,
        top5=score.top5,
        continuous_correct=score.continuous_correct or 0,
        continuous_empty=score.continuous_empty or 0,
        greedy_correct=score.greedy_correct,
        empty=score.empty,
        blank_ratio=score.blank_ratio,
        concatenated=errors.joined_features.signed,
        gloss_errors=_count_edits(errors.joined_features),
        stream_gloss_errors=_count_edits(errors.joined_landmarks),
    )


def _count_edits(errors: GlossErrors) -> int:
    return errors.substitutions + errors.deletions + errors.insertions
