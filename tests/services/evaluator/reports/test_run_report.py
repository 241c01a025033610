"""The report on a run: its figures against an independent count, and its caveats."""

import dataclasses
from collections.abc import Callable, Sequence
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from services.evaluator.cli import app
from services.evaluator.reports.evaluate import evaluate_run
from services.evaluator.reports.report import Report
from services.evaluator.reports.report_store import list_reports
from signet import heldout
from signet.datasets.snapshot import Dataset, DatasetClip
from signet.datasets.splits import signer_folds
from signet.errors import DataLoss, NotFound
from signet.heldout import GlossErrorCount, HeldOutPredictions, MemberPredictions
from signet.statistics.intervals import wilson
from tests.services.evaluator.reports.test_report import Page

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

GLOSSES = ("book", "chair", "drink", "go", "help", "who")
SIGNERS = ("anna", "ben", "cleo", "dan", "eve", "finn")


@pytest.fixture
def snapshot(world: "World", sign: Callable[..., Any]) -> Dataset:
    """Six glosses by six signers each, in train and val; one recording stands under `go` and `help`."""
    clips = []
    for number, gloss in enumerate(GLOSSES):
        for other, signer in enumerate(SIGNERS):
            split = "val" if other >= 4 else "train"
            clips.append(sign(f"{number}{other}", gloss, 0.5 + 0.2 * number + 0.02 * other, split=split, signer=signer))
    clips.append(sign("90", "go", 2.5, signer="anna", source="same", split="val"))
    clips.append(sign("91", "help", 2.5, signer="anna", source="same", split="val"))
    return world.snapshot(clips)


def said(
    snapshot: Dataset, clips: Sequence[DatasetClip], fold: int, seed: int, *, right: float = 0.75, sure: float = 3.0
) -> MemberPredictions:
    """What a model might say of clips: right in some share of them, and as sure as it is told to be."""
    noise = np.random.default_rng([fold, seed])
    labels = np.array([snapshot.label(clip) for clip in clips])
    glosses = snapshot.manifest.vocabulary
    first = np.where(noise.random(len(clips)) < right, labels, noise.integers(1, len(glosses) + 1, len(clips)))
    scores = noise.normal(-9, 1, (len(clips), len(glosses)))
    scores[np.arange(len(clips)), first - 1] += sure
    best = scores.argmax(axis=1)
    continuous = [() if one < 0.1 else (glosses[c],) for one, c in zip(noise.random(len(clips)), best, strict=True)]
    greedy = [() if one < 0.3 else (glosses[c],) for one, c in zip(noise.random(len(clips)), best, strict=True)]
    return MemberPredictions(
        fold=fold,
        seed=seed,
        clip_ids=tuple(clip.clip_id for clip in clips),
        labels=labels.astype(np.int32),
        scores=scores.astype(np.float32),
        continuous=tuple(continuous),
        greedy=tuple(greedy),
        blank_ratio=noise.random(len(clips)).astype(np.float32),
        frames=np.array([clip.frames for clip in clips], np.int32),
        gloss_errors=GlossErrorCount(4 + seed, 20),
    )


def left(snapshot: Dataset, members: Sequence[MemberPredictions], **changes: Any) -> HeldOutPredictions:
    fields: dict[str, Any] = {
        "run_id": "run-7",
        "model_name": "signet",
        "dataset_name": snapshot.manifest.name,
        "dataset_version": snapshot.manifest.version,
        "protocol": heldout.CROSS_VALIDATION,
        "folds": 3,
        "vocabulary": snapshot.manifest.vocabulary,
        "parameters": 54_321,
        "members": tuple(members),
        "decoder": {"blank_penalty": 1.5, "beam_width": 8},
    }
    return HeldOutPredictions(**{**fields, **changes})


def crossed(snapshot: Dataset, seeds: Sequence[int] = (0, 1, 2), **how: float) -> list[MemberPredictions]:
    clips = snapshot.manifest.clips
    folds = signer_folds(clips, 3, snapshot.manifest.audit.duplicates)
    return [
        said(snapshot, [clip for clip in clips if clip.clip_id in held], fold, seed, **how)
        for seed in seeds
        for fold, held in enumerate(folds)
    ]


def titles(report: Report) -> set[str]:
    return {note.title for note in report.notes}


def test_the_figures_over_seeds_equal_a_plain_count(world: "World", snapshot: Dataset) -> None:
    members = crossed(snapshot)
    heldout.write_predictions(world.store, left(snapshot, members))
    report, page = evaluate_run(world.store, "run-7", commit="3f1c2ab")
    across = report.across_seeds
    assert across is not None
    n = len(snapshot.manifest.clips)

    right: dict[int, int] = {}
    right5: dict[int, int] = {}
    alike: dict[int, int] = {}
    found: dict[int, int] = {}
    errors: dict[int, int] = {}
    together: dict[str, Any] = {}
    for member in members:
        for row, clip_id in enumerate(member.clip_ids):
            truth = member.labels[row] - 1
            order = list(np.argsort(-member.scores[row]))
            gloss = snapshot.manifest.vocabulary[order[0]]
            true_gloss = snapshot.manifest.vocabulary[truth]
            right[member.seed] = right.get(member.seed, 0) + (order[0] == truth)
            right5[member.seed] = right5.get(member.seed, 0) + (truth in order[:5])
            alike[member.seed] = alike.get(member.seed, 0) + (
                gloss == true_gloss or {gloss, true_gloss} == {"go", "help"}
            )
            found[member.seed] = found.get(member.seed, 0) + (member.continuous[row] == (true_gloss,))
            scores = member.scores[row].astype(float)
            posterior = np.exp(scores) / np.exp(scores).sum()
            together.setdefault(clip_id, [truth, 1.0])[1] *= posterior
        assert member.gloss_errors is not None
        errors[member.seed] = errors.get(member.seed, 0) + member.gloss_errors.errors

    assert across.top1.mean == pytest.approx(mean(count / n for count in right.values()))
    assert across.top1.deviation == pytest.approx(stdev(count / n for count in right.values()))
    assert (across.low, across.high) == pytest.approx(wilson(mean(right.values()), n))
    assert across.top5.mean == pytest.approx(mean(count / n for count in right5.values()))
    assert across.synonym_aware is not None
    assert across.synonym_aware.mean == pytest.approx(mean(count / n for count in alike.values()))
    assert across.continuous.mean == pytest.approx(mean(count / n for count in found.values()))
    gaps = [(right[seed] - found[seed]) / n for seed in right]
    assert across.exact_continuous_gap.mean == pytest.approx(mean(gaps))
    assert across.exact_continuous_gap.highest == pytest.approx(max(gaps))
    assert across.gloss_error_rate is not None
    assert across.gloss_error_rate.mean == pytest.approx(mean(count / 60 for count in errors.values()))
    assert across.ensemble_top1 is not None
    assert across.ensemble_top1.correct == sum(int(p.argmax()) == truth for truth, p in together.values())
    assert [(one.seed, one.members, one.top1.n) for one in across.seeds] == [(0, 3, n), (1, 3, n), (2, 3, n)]

    for fold_result in across.members:
        (one,) = (one for one in members if (one.fold, one.seed) == (fold_result.fold, fold_result.seed))
        assert fold_result.top1.correct == (one.scores.argmax(axis=1) == one.labels - 1).sum()
        assert fold_result.top1.n == len(one.clip_ids)
    assert len(across.members) == 9

    assert right[across.shown] == sorted(right.values())[1], "the median seed is what the rest is about"
    assert report.top1.correct == right[across.shown]
    assert sum(cell.clips for cell in report.confusions) == n
    assert (report.provenance.split, report.provenance.folds) == ("train+val", 3)
    about = report.provenance
    assert (about.commit, about.extractor, about.parameters) == ("3f1c2ab", "made/1", 54_321)
    assert (about.model_name, about.model_version, about.run_id) == ("signet", "run-7", "run-7")
    assert (about.dataset_name, about.dataset_version) == (snapshot.manifest.name, snapshot.manifest.version)
    assert (about.blank_penalty, about.decoder["beam_width"], about.glosses) == (1.5, 8, 6)
    assert "Neither trained nor selected on the held-out clips" in titles(report)
    assert not any(note.caution for note in report.notes)
    assert list_reports(world.store) == [report]

    words = " ".join(Page(page).text.split())
    assert "3-fold cross-validation by signer" in words
    assert "Results by seed" in words
    assert f"{100 * across.top1.mean:.1f}" in words


def test_the_spread_over_signers_covers_signers_with_three_clips_or_more(world: "World", snapshot: Dataset) -> None:
    heldout.write_predictions(world.store, left(snapshot, crossed(snapshot)))
    report, _ = evaluate_run(world.store, "run-7")
    assert report.signers is not None
    by_signer: dict[str, list[bool]] = {}
    for clip in report.clips:
        by_signer.setdefault(clip.signer, []).append(clip.rank == 1)
    shares = [mean(flags) for flags in by_signer.values()]
    assert {one.signer for one in report.signers.signers} == set(SIGNERS)
    assert (report.signers.minimum, report.signers.median, report.signers.maximum) == pytest.approx(
        (min(shares), median(shares), max(shares))
    )


def test_a_temperature_improves_the_calibration_of_an_overconfident_model(world: "World", snapshot: Dataset) -> None:
    heldout.write_predictions(world.store, left(snapshot, crossed(snapshot, right=0.6, sure=12.0)))
    report, page = evaluate_run(world.store, "run-7")
    found = report.calibration
    assert found is not None
    assert found.after is not None
    assert len(found.temperatures) == 3
    assert min(found.temperatures) > 1.5
    assert found.after.negative_log_likelihood < found.before.negative_log_likelihood
    assert found.after.expected_error < found.before.expected_error
    assert sum(one.accuracy.n for one in found.before.bins) == report.top1.n
    assert page.count('class="reliability"') == 2


def test_a_selection_on_the_held_out_clips_is_named(world: "World", snapshot: Dataset) -> None:
    heldout.write_predictions(world.store, left(snapshot, crossed(snapshot), selected_on="val"))
    report, page = evaluate_run(world.store, "run-7")
    assert "Selected on the held-out clips" in titles(report)
    assert "this is optimistic" in page
    official = [said(snapshot, snapshot.split("val"), 0, seed) for seed in range(3)]
    heldout.write_predictions(
        world.store, left(snapshot, official, protocol=heldout.OFFICIAL, folds=0, selected_on="val")
    )
    report, page = evaluate_run(world.store, "run-7")
    assert "Selected on this split" in titles(report)
    assert "this is optimistic" in page
    assert "Known signers" in titles(report)


def test_fewer_than_three_seeds_are_a_caution(world: "World", snapshot: Dataset) -> None:
    for seeds, title in (((0, 1), "2 seeds: not enough"), ((4,), "One seed: not enough")):
        heldout.write_predictions(world.store, left(snapshot, crossed(snapshot, seeds)))
        report, page = evaluate_run(world.store, "run-7")
        (note,) = (note for note in report.notes if note.title.startswith(title))
        assert note.caution
        assert "--seeds 3" in note.text
        Page(page)
    assert report.across_seeds is not None
    assert report.across_seeds.top1.deviation is None
    assert report.across_seeds.ensemble_top1 is None


def test_a_seed_without_a_fold_is_left_out_and_named(world: "World", snapshot: Dataset) -> None:
    members = crossed(snapshot)
    heldout.write_predictions(world.store, left(snapshot, members[:-1]))
    report, _ = evaluate_run(world.store, "run-7")
    assert report.across_seeds is not None
    assert (len(report.across_seeds.seeds), report.across_seeds.incomplete) == (2, (2,))
    assert "Incomplete seeds are left out" in titles(report)
    heldout.write_predictions(world.store, left(snapshot, members[:2]))
    with pytest.raises(DataLoss, match="each of its seeds lacks a fold"):
        evaluate_run(world.store, "run-7")


def test_a_run_that_does_not_fit_its_snapshot_is_refused(world: "World", snapshot: Dataset) -> None:
    with pytest.raises(NotFound, match="run 'run-8' has left no held-out predictions"):
        evaluate_run(world.store, "run-8")
    members = crossed(snapshot)
    wrong = dataclasses.replace(members[0], labels=members[0].labels % 6 + 1)
    heldout.write_predictions(world.store, left(snapshot, [wrong, *members[1:]]))
    with pytest.raises(DataLoss, match="on which the run was evaluated"):
        evaluate_run(world.store, "run-7")
    heldout.write_predictions(world.store, left(snapshot, members, dataset_version="gone"))
    with pytest.raises(NotFound, match="no dataset 'made' of version 'gone'"):
        evaluate_run(world.store, "run-7")


def test_the_command_shows_the_seeds_and_saves_the_page(world: "World", snapshot: Dataset, tmp_path: Any) -> None:
    heldout.write_predictions(world.store, left(snapshot, crossed(snapshot)))
    page = tmp_path / "page.html"
    ended = CliRunner().invoke(app, ["evaluate", "--run", "run-7", "--store", world.store.url, "--html", str(page)])
    assert ended.exit_code == 0, ended.output
    assert "3 seeds, %" in ended.output
    assert "ensemble of all seeds" in ended.output
    assert "Results by seed" in page.read_text()
    listed = CliRunner().invoke(app, ["reports", "--store", world.store.url])
    assert "run-7" in listed.output
    both = CliRunner().invoke(app, ["evaluate", "--run", "run-7", "--split", "test", "--store", world.store.url])
    assert both.exit_code != 0
