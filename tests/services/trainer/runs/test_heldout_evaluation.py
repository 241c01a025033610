"""The held-out evaluation of untrained models, against each model's own answers."""

import numpy as np
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Clips
from services.trainer.data.members import plan_members
from services.trainer.model.build import build_ensemble, new_model
from services.trainer.model.sign_model import SignModel
from services.trainer.runs.heldout_evaluation import (
    TrainedMember,
    collect_predictions,
    evaluate_members,
    select_published_model,
)
from services.trainer.runs.result import HeldOutCounts
from services.trainer.training.validate import evaluate
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")
CONFIG = TrainConfig(hidden_dim=8, hand_dim=4, branches=1, seeds=2)


def untrained(dataset: Dataset, config: TrainConfig) -> list[TrainedMember]:
    """The members of a run with random weights, other ones for each member, that say something of every clip."""
    trained = []
    for number, member in enumerate(plan_members(dataset.manifest, config)):
        torch.manual_seed(4 + number)
        model = new_model(config, 3).eval()
        model.penalise_blank(5.0)
        trained.append(TrainedMember(member, model, 5 + number, complete=True, selected_on=""))
    return trained


def score_of(dataset: Dataset, models: list[SignModel], member: TrainedMember) -> tuple[int | None, ...]:
    clips = Clips.from_dataset(dataset, member.member.held_out, CPU)
    score = evaluate(build_ensemble(models), clips, CONFIG.decoder)
    return (
        score.correct, score.top5, score.continuous_correct, score.continuous_empty, score.greedy_correct, score.empty,
    )  # fmt: skip


def figures(counts: HeldOutCounts) -> tuple[int | None, ...]:
    return (
        counts.correct, counts.top5, counts.continuous_correct, counts.continuous_empty, counts.greedy_correct,
        counts.empty,
    )  # fmt: skip


def test_every_member_is_evaluated_alone_and_the_seeds_as_one_model(small_dataset: Dataset) -> None:
    trained = untrained(small_dataset, CONFIG)
    first, second = trained
    found = evaluate_members(small_dataset, CONFIG, trained, CPU)

    assert [(one.fold, one.seed, one.epochs, one.complete) for one in found.members] == [
        (0, 0, 5, True),
        (0, 1, 6, True),
    ]
    assert [figures(one) for one in found.members] == [score_of(small_dataset, [one.model], one) for one in trained]
    assert found.ensemble is not None
    assert figures(found.ensemble) == score_of(small_dataset, [first.model, second.model], first)
    assert found.counts == found.ensemble != found.evaluated[0].counts
    assert found.parameters == first.model.parameter_count
    assert sum(gloss.correct for gloss in found.glosses) == found.counts.correct
    assert sum(gloss.clips for gloss in found.glosses) == found.counts.clips == 6
    shares = [(-gloss.correct / gloss.clips, gloss.gloss) for gloss in found.glosses]
    assert shares == sorted(shares), "the best gloss first, equals by name"

    alone = evaluate_members(small_dataset, CONFIG.model_copy(update={"publish": "first"}), trained, CPU)
    assert alone.counts == alone.evaluated[0].counts
    assert alone.ensemble == found.ensemble
    single = evaluate_members(small_dataset, CONFIG, trained[1:], CPU)
    assert (single.ensemble, single.counts) == (None, single.evaluated[0].counts)


def test_folds_are_summed_for_each_seed_and_averaged_over_the_seeds(small_dataset: Dataset) -> None:
    config = CONFIG.model_copy(update={"folds": 2})
    trained = untrained(small_dataset, config)
    found = evaluate_members(small_dataset, config, trained, CPU)

    correct = [one.counts.correct for one in found.evaluated]
    assert [(one.member.fold, one.member.seed) for one in found.evaluated] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert found.counts.correct == round(sum(correct) / 2)
    assert found.counts.clips == 24
    assert found.ensemble is not None
    by_fold = [
        score_of(small_dataset, [trained[fold].model, trained[fold + 2].model], trained[fold]) for fold in (0, 1)
    ]
    assert figures(found.ensemble) == tuple(sum(parts) for parts in zip(*by_fold, strict=True))
    assert sum(gloss.clips for gloss in found.glosses) == 48, "24 clips, by two seeds"
    assert sum(gloss.correct for gloss in found.glosses) == sum(correct)


def test_without_held_out_clips_there_are_no_figures(small_dataset: Dataset) -> None:
    manifest = small_dataset.manifest.model_copy(update={"clips": tuple(small_dataset.split("train"))})
    dataset = Dataset(manifest, small_dataset.samples)
    found = evaluate_members(dataset, CONFIG, untrained(dataset, CONFIG), CPU)
    assert (found.evaluated, found.ensemble, found.glosses, found.counts.clips) == ((), None, (), 0)
    assert [one.clips for one in found.members] == [0, 0]


def test_the_published_model_is_the_ensemble_the_first_member_or_none(small_dataset: Dataset) -> None:
    trained = untrained(small_dataset, CONFIG)

    def published(**changes: object) -> SignModel | None:
        return select_published_model(CONFIG.model_copy(update=changes), trained)

    both = published()
    assert both is not None
    assert both.parameter_count == 2 * trained[0].model.parameter_count
    assert published(publish="first") is trained[0].model
    assert published(publish="none") is None
    assert published(folds=2) is None


@pytest.mark.parametrize(("folds", "protocol"), [(0, "official"), (2, "cross-validation")])
def test_predictions_hold_every_held_out_clip_of_every_member(
    small_dataset: Dataset, folds: int, protocol: str
) -> None:
    config = CONFIG.model_copy(update={"folds": folds})
    trained = untrained(small_dataset, config)
    selected = [*trained[:-1], TrainedMember(trained[-1].member, trained[-1].model, 1, False, "val")]
    found = evaluate_members(small_dataset, config, selected, CPU)
    predictions = collect_predictions("r", small_dataset, config, found)

    assert (predictions.protocol, predictions.folds, predictions.selected_on) == (protocol, folds, "val")
    assert predictions.vocabulary == ("book", "drink", "who")
    assert predictions.decoder["blank_penalty"] == config.blank_penalty
    for member, one in zip(predictions.members, found.evaluated, strict=True):
        clips = one.member.held_out
        assert (member.fold, member.seed) == one.member.key
        assert member.clip_ids == tuple(clip.clip_id for clip in clips)
        assert member.labels.tolist() == [small_dataset.label(clip) for clip in clips]
        assert member.frames.tolist() == [clip.frames for clip in clips]
        assert member.scores.shape == (len(clips), 3)
        assert int((member.scores.argmax(axis=1) + 1 == member.labels).sum()) == one.counts.correct
        assert sum(not hypothesis for hypothesis in member.continuous) == one.counts.continuous_empty
        assert sum(not hypothesis for hypothesis in member.greedy) == one.counts.empty
        assert np.average(member.blank_ratio, weights=member.frames) == pytest.approx(one.counts.blank_ratio)
        assert member.gloss_errors == (one.counts.gloss_errors, one.counts.concatenated)
