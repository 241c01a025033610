"""The findings about a run: each is made where its threshold is passed, and not before."""

import ast
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection.run.findings import Finding, collect_findings
from services.trainer.inspection.run.predictions import collect_clip_predictions
from services.trainer.inspection.run.record import MemberRecord, RunRecord, load_run
from services.trainer.runs.result import HeldOutCounts, Result
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE, Score
from signet.datasets.snapshot import Dataset
from signet.heldout import HeldOutPredictions
from tests.conftest import ROOT
from tests.services.trainer.inspection.conftest import LINEAR, VOCABULARY, Runs, held_out

Clips = list[tuple[str, str, dict[str, float], tuple[str, ...]]]


def make_clips(right: int, wrong: int, empty: int = 0, doubled: int = 0) -> Clips:
    """Clips of four glosses. The first ones are recognised; some outputs are empty, some hold the gloss twice."""
    clips: Clips = []
    for number in range(right + wrong):
        truth = VOCABULARY[number % 4]
        guess = truth if number < right else VOCABULARY[(number + 1) % 4]
        path = () if number < empty else (guess, guess) if number < empty + doubled else (guess,)
        clips.append((f"c{number:03d}", truth, {guess: 0.9}, path))
    return clips


def two_seeds(right: int, wrong: int, empty: int = 0, doubled: int = 0) -> HeldOutPredictions:
    """Two seeds with the same predictions."""
    clips = make_clips(right, wrong, empty, doubled)
    return held_out(clips, clips)


def make_epochs(losses: Sequence[float], val: Sequence[float] | None = None, **last: object) -> tuple[EpochResult, ...]:
    """A history with these training and held-out losses; `last` replaces fields of the last epoch."""
    epochs = [
        EpochResult(number, loss, replace(NO_SCORE, loss=val_loss, clips=10, correct=5), 1.0, best=False)
        for number, (loss, val_loss) in enumerate(zip(losses, val or losses, strict=True), 1)
    ]
    return (*epochs[:-1], replace(epochs[-1], **last))  # type: ignore[arg-type]


def make_record(
    held: HeldOutPredictions | None = None, history: tuple[EpochResult, ...] = (), **settings: object
) -> RunRecord:
    config = TrainConfig.model_validate(settings)
    members = (MemberRecord((0, 0), history, done=True),) if history else ()
    return RunRecord("r", "succeeded", config.model_dump(), config, members, None, held, None)


def find(record: RunRecord) -> dict[str, Finding]:
    """The findings about a run by name."""
    predictions = collect_clip_predictions(record.held_out) if record.held_out is not None else ()
    return {finding.name: finding for finding in collect_findings(record, predictions)}


def training_accuracy(percentage: int) -> Score:
    return replace(NO_SCORE, clips=100, correct=percentage)


FLAT = [1.0] * 25


@pytest.mark.parametrize(
    ("held", "settings", "name", "severity", "advice"),
    [
        (two_seeds(90, 10, empty=100), {}, "collapse", "fault", "--blank-penalty"),
        (two_seeds(90, 10, empty=100), {"head": "linear"}, "collapse", "fault", "--head competition"),
        (two_seeds(90, 10, empty=100), {"head": "linear", "flat_start": 0.0}, "collapse", "fault", "plain CTC"),
        (two_seeds(90, 10, empty=60), {"head": "linear"}, "empty", "fault", "--head competition"),
        (two_seeds(90, 10, doubled=100), {}, "decoder-gap", "caution", "--insertion-penalty"),
        (two_seeds(28, 72), {}, "chance", "fault", "--lr"),
        (two_seeds(8, 2), {}, "few-clips", "caution", "--folds 5"),
        (held_out(make_clips(90, 10)), {}, "one-seed", "note", "--seeds 3"),
        (replace(two_seeds(90, 10), selected_on="val"), {}, "selected", "caution", "cross-validate"),
    ],
)
def test_a_finding_has_a_severity_and_advice(
    held: HeldOutPredictions, settings: dict[str, object], name: str, severity: str, advice: str
) -> None:
    finding = find(make_record(held, (), **settings))[name]
    assert finding.severity == severity
    assert advice in finding.advice


def test_there_are_no_findings_about_a_healthy_run() -> None:
    assert find(make_record(two_seeds(360, 40), make_epochs(FLAT, train=training_accuracy(99)))) == {}


@pytest.mark.parametrize(
    ("empty", "name", "severity"),
    [(5, None, ""), (6, "empty", "caution"), (50, "empty", "caution"), (51, "empty", "fault"), (99, "empty", "fault")],
)
def test_empty_outputs_are_a_finding_above_five_per_cent_and_a_fault_above_half(
    empty: int, name: str | None, severity: str
) -> None:
    findings = find(make_record(two_seeds(20, 80, empty=empty)))
    assert {key for key in findings if key in {"collapse", "empty"}} == ({name} if name else set())
    if name:
        assert findings[name].severity == severity
        assert f"{empty}\u202f%" in findings[name].text


@pytest.mark.parametrize(("doubled", "found"), [(9, False), (11, True)])
def test_the_continuous_decoder_may_be_ten_points_less_accurate(doubled: int, found: bool) -> None:
    assert ("decoder-gap" in find(make_record(two_seeds(90, 10, doubled=doubled)))) is found


@pytest.mark.parametrize(("right", "found"), [(33, True), (34, False)])
def test_accuracy_is_at_chance_if_its_interval_reaches_chance(right: int, found: bool) -> None:
    # Four glosses: 25 %. The intervals of 33 and 34 of 100 start at 24.6 % and 25.5 %.
    assert ("chance" in find(make_record(two_seeds(right, 100 - right)))) is found


@pytest.mark.parametrize(
    ("right", "trained", "learns"), [(25, 50, False), (25, 51, True), (33, 66, False), (33, 67, True)]
)
def test_at_chance_a_model_that_learns_its_training_clips_gets_other_advice(
    right: int, trained: int, learns: bool
) -> None:
    history = make_epochs(FLAT, train=training_accuracy(trained))
    finding = find(make_record(two_seeds(right, 100 - right), history))["chance"]
    assert ("learns only these" in finding.text) is learns
    assert ("--lr" in finding.advice) is not learns


@pytest.mark.parametrize(("trained", "found"), [(95, False), (96, True)])
def test_training_accuracy_may_be_25_points_above_held_out_accuracy(trained: int, found: bool) -> None:
    history = make_epochs(FLAT, train=training_accuracy(trained))
    assert ("overfitting" in find(make_record(two_seeds(70, 30), history))) is found


def test_training_accuracy_is_the_last_measured_one_averaged_over_the_members() -> None:
    def history(first: int, last: int) -> tuple[EpochResult, ...]:
        measured = [replace(epoch, train=training_accuracy(first)) for epoch in make_epochs(FLAT[:2])]
        return (*measured, *make_epochs(FLAT, train=training_accuracy(last)), *make_epochs(FLAT[:1]))

    record = make_record(two_seeds(60, 40), history(0, 100))
    members = (*record.members, MemberRecord((0, 1), history(0, 80)), MemberRecord((0, 2), make_epochs(FLAT)))
    finding = find(replace(record, members=members))["overfitting"]
    assert finding.text.startswith("90\u202f% of the training clips and 60\u202f% of the held-out clips")


@pytest.mark.parametrize(
    ("truths", "guesses", "found"),
    [
        (VOCABULARY, ("book",), True),
        (VOCABULARY, ("book", "drink"), False),
        (VOCABULARY[:3], ("book",), False),
    ],
)
def test_half_of_the_glosses_must_be_a_first_guess(truths: Sequence[str], guesses: Sequence[str], found: bool) -> None:
    clips: Clips = [
        (f"c{number:02d}", truths[number % len(truths)], {guesses[number % len(guesses)]: 0.9}, ())
        for number in range(10)
    ]
    # These clips are recognised, so the accuracy is not at chance.
    clips += [(f"d{number:02d}", "book", {"book": 0.9}, ("book",)) for number in range(60)]
    assert ("few-glosses" in find(make_record(held_out(clips)))) is found


@pytest.mark.parametrize(("clips", "found"), [(90, True), (94, False)])
def test_an_interval_wider_than_twenty_points_needs_more_clips(clips: int, found: bool) -> None:
    # At an accuracy of one half, 90 clips give an interval of 20.2 points, 94 clips one of 19.8.
    assert ("few-clips" in find(make_record(two_seeds(clips // 2, clips // 2)))) is found


@pytest.mark.parametrize(("second", "found"), [(83, False), (82, True)])
def test_seeds_may_deviate_by_five_points(second: int, found: bool) -> None:
    # The standard deviations (n - 1) of 90 and 83, and of 90 and 82, are 4.9 and 5.7 points.
    held = held_out(make_clips(90, 10), make_clips(second, 100 - second))
    assert ("seed-spread" in find(make_record(held))) is found


@pytest.mark.parametrize(("empty", "found"), [(15, False), (16, True)])
def test_an_ensemble_may_have_ten_points_more_empty_outputs_than_its_members(
    runs: Runs, empty: int, found: bool
) -> None:
    result = load_run(runs.store, LINEAR).result
    assert isinstance(result, Result)
    counts = {"clips": 100, "correct": 90, "top5": 100, "continuous_correct": 90, "greedy_correct": 5}
    ensemble = HeldOutCounts(**counts, empty=empty, blank_ratio=1.0)
    record = replace(make_record(two_seeds(90, 10, empty=5)), result=result.model_copy(update={"ensemble": ensemble}))
    findings = find(record)
    assert ("ensemble-empty" in findings) is found
    assert not found or "--publish first" in findings["ensemble-empty"].advice


def slow_epochs(count: int, seconds: float) -> tuple[EpochResult, ...]:
    epochs = make_epochs(FLAT)
    return tuple(replace(epoch, seconds=seconds if epoch.number > 25 - count else 1.0) for epoch in epochs)


@pytest.mark.parametrize(
    ("history", "names"),
    [
        (make_epochs(FLAT), set()),
        (make_epochs(FLAT, [1.0] * 22 + [1.19] * 3), set()),
        (make_epochs(FLAT, [1.0] * 22 + [1.21] * 3), {"loss-rise"}),
        (make_epochs(FLAT, [0.1] * 5 + [1.0] * 20), set()),
        (make_epochs(FLAT, [1.0] * 24 + [5.0]), {"loss-rise"}),
        (make_epochs(FLAT, [1.0] * 24 + [float("nan")]), set()),
        (make_epochs(FLAT[:19], [1.0] * 16 + [3.0] * 3), set()),
        (make_epochs(FLAT[:20], [1.0] * 17 + [3.0] * 3), {"loss-rise"}),
        (make_epochs(FLAT, actions=("went back",)), {"actions"}),
        (slow_epochs(3, 2.1), {"slow-epochs"}),
        (slow_epochs(3, 1.9), set()),
        (slow_epochs(2, 9.0), set()),
    ],
)
def test_findings_are_made_from_a_history(history: tuple[EpochResult, ...], names: set[str]) -> None:
    assert set(find(make_record(history=history))) == names


def test_the_loss_rise_names_the_epoch_of_the_lowest_loss_and_the_ratio() -> None:
    val = [2.0] * 11 + [1.0] + [2.0] * 10 + [1.0, 2.0, 3.0]
    text = find(make_record(history=make_epochs(FLAT, val)))["loss-rise"].text
    assert "lowest at about epoch 12, and was 2.0 times as high" in text


@pytest.mark.parametrize(("last", "found"), [(0.96, False), (0.94, True)])
def test_a_training_loss_that_still_fell_by_five_per_cent_is_a_finding_once_the_run_has_ended(
    runs: Runs, last: float, found: bool
) -> None:
    result = load_run(runs.store, LINEAR).result
    unfinished = make_record(history=make_epochs([9.0] * 20 + [1.0] * 2 + [last] * 2))
    assert ("still-falling" in find(replace(unfinished, result=result))) is found
    assert "still-falling" not in find(unfinished)


def with_hands_in(dataset: Dataset, frames_with_hands: int, count: int) -> Dataset:
    """A dataset of this many clips of 20 frames. All but the first have hands; the first has them in some frames."""
    first = dataset.manifest.clips[0]
    clip = first.model_copy(update={"frames": 20})
    entries = [clip.model_copy(update={"clip_id": f"c{n}", "start": 20 * min(n, 1)}) for n in range(count)]
    samples = np.zeros((40, 1, 75, 3), np.float32)
    samples[frames_with_hands:20, :, 33:] = np.nan
    samples[:, :, 33:54] = np.nan
    return Dataset(dataset.manifest.model_copy(update={"clips": tuple(entries)}), samples)


@pytest.mark.parametrize(
    ("frames_with_hands", "count", "found"), [(1, 33, True), (1, 34, False), (2, 33, False), (0, 33, True)]
)
def test_clips_without_hands_are_a_finding_above_three_per_cent(
    small_dataset: Dataset, frames_with_hands: int, count: int, found: bool
) -> None:
    dataset = with_hands_in(small_dataset, frames_with_hands, count)
    findings = find(replace(make_record(), dataset=dataset))
    assert ("no-hands" in findings) is found
    assert not found or f"In 1 of {count} clips" in findings["no-hands"].text


def test_identical_videos_are_a_finding_only_if_their_glosses_differ(small_dataset: Dataset) -> None:
    def findings(*groups: tuple[str, ...]) -> dict[str, Finding]:
        audit = small_dataset.manifest.audit.model_copy(update={"identical": groups})
        manifest = small_dataset.manifest.model_copy(update={"audit": audit})
        return find(replace(make_record(), dataset=replace(small_dataset, manifest=manifest)))

    assert "duplicates" not in findings(("book-0", "book-1"))
    assert "duplicates" not in findings(("book-0", "not in the snapshot"))
    text = findings(("book-0", "who-1"), ("book-2", "book-3"))["duplicates"].text
    assert text.startswith("1 videos have more than one gloss: book-0 (book) = who-1 (who).")


def test_faults_come_before_cautions_and_cautions_before_notes() -> None:
    record = make_record(held_out(make_clips(3, 7, empty=10)), make_epochs(FLAT, actions=("went back",)))
    severities = [finding.severity for finding in collect_findings(record, ())]
    assert severities == sorted(severities, key=("fault", "caution", "note").index)
    assert set(severities) == {"fault", "caution", "note"}


def test_every_title_stands_in_the_documentation() -> None:
    source = ast.parse((ROOT / "services/trainer/inspection/run/findings.py").read_text())
    titles = [
        ast.literal_eval(call.args[2])
        for call in ast.walk(source)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"
    ]
    assert len(titles) > 10
    documentation = (ROOT / "docs/analysis.md").read_text()
    assert [title for title in titles if f"**{title}**" not in documentation] == []
