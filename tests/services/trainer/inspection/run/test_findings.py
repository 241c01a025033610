"""What stands out in a run, found by the program and said with what to do."""

import ast
from dataclasses import replace

import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection.run.findings import Finding, findings
from services.trainer.inspection.run.predictions import by_clip
from services.trainer.inspection.run.record import MemberRecord, Record, read
from services.trainer.runs.result import HeldoutCounts, Result
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import NO_SCORE, Score
from signet.heldout import HeldOutPredictions
from tests.conftest import ROOT
from tests.services.trainer.inspection.conftest import LINEAR, VOCABULARY, Runs, held_out


def said(right: int, wrong: int, path: str = "right") -> HeldOutPredictions:
    """Clips of which so many are recognised; what is read in them is right, "empty" or "double"."""
    clips = []
    for number in range(right + wrong):
        truth = VOCABULARY[number % 4]
        guess = truth if number < right else VOCABULARY[(number + 1) % 4]
        reading = {"right": (guess,), "empty": (), "double": (guess, guess)}[path]
        clips.append((f"c{number:03d}", truth, {guess: 0.9}, reading))
    return held_out(clips, clips)


def epochs(losses: list[float], val: list[float] | None = None, **last: object) -> tuple[Epoch, ...]:
    """A history with these training and held-out losses."""
    made = [
        Epoch(number, loss, replace(NO_SCORE, loss=held, clips=10, correct=5), 1.0, best=False)
        for number, (loss, held) in enumerate(zip(losses, val or losses, strict=True), 1)
    ]
    return (*made[:-1], replace(made[-1], **last))  # type: ignore[arg-type]


def record(held: HeldOutPredictions | None = None, history: tuple[Epoch, ...] = (), **told: object) -> Record:
    config = TrainConfig.model_validate(told)
    members = (MemberRecord((0, 0), history, done=True),) if history else ()
    return Record("r", "succeeded", config.model_dump(), config, members, None, held, None)


def found(of: Record) -> dict[str, Finding]:
    return {one.name: one for one in findings(of, by_clip(of.held_out) if of.held_out is not None else ())}


def knows(correct: int) -> Score:
    return replace(NO_SCORE, clips=100, correct=correct)


FALLING, FLAT = [3.0 - 0.1 * n for n in range(25)], [1.0] * 25


@pytest.mark.parametrize(
    ("held", "told", "name", "weight", "way_out"),
    [
        (said(90, 10, "empty"), {}, "collapse", "fault", "--blank-penalty"),
        (said(90, 10, "empty"), {"head": "linear"}, "collapse", "fault", "--head competition"),
        (said(90, 10, "empty"), {"head": "linear", "flat_start": 0.0}, "collapse", "fault", "plain CTC"),
        (said(90, 10, "double"), {}, "gap", "caution", "--insertion-penalty"),
        (said(28, 72), {}, "chance", "fault", "--lr"),
        (said(8, 2), {}, "few-clips", "caution", "--folds 5"),
        (replace(said(90, 10), selected_on="val"), {}, "selected", "caution", "cross-validate"),
    ],
)
def test_what_is_wrong_with_held_out_clips_is_found(
    held: HeldOutPredictions, told: dict[str, object], name: str, weight: str, way_out: str
) -> None:
    one = found(record(held, (), **told))[name]
    assert one.weight == weight
    assert way_out in one.way_out


def test_a_healthy_run_has_nothing_that_stands_out() -> None:
    healthy = record(said(360, 40), epochs(FLAT, train=knows(99)))
    assert found(healthy) == {}


def test_some_empty_clips_are_told_from_a_collapse() -> None:
    glosses = [VOCABULARY[number % 4] for number in range(100)]
    clips = [(f"c{n:03d}", gloss, {gloss: 0.9}, (gloss,) if n > 9 else ()) for n, gloss in enumerate(glosses)]
    some = held_out(clips)
    one = found(record(some))
    assert one["empty"].weight == "caution"
    assert "10\u202f%" in one["empty"].text
    assert "collapse" not in one
    assert "one-seed" in one


def test_a_model_that_knows_its_training_clips_is_told_from_one_that_learns_nothing() -> None:
    assert "it learns" in found(record(said(25, 75), epochs(FLAT, train=knows(95))))["chance"].text
    assert "it learns" not in found(record(said(25, 75), epochs(FLAT, train=knows(26))))["chance"].text
    assert "by-heart" in found(record(said(60, 40), epochs(FLAT, train=knows(95))))
    assert "by-heart" not in found(record(said(80, 20), epochs(FLAT, train=knows(95))))


def test_seeds_that_are_empty_only_together_are_told(runs: Runs) -> None:
    result = read(runs.store, LINEAR).result
    assert isinstance(result, Result)
    held = said(90, 10)
    together = HeldoutCounts(
        clips=100, correct=90, top5=100, continuous_correct=5, greedy_correct=5, empty=95, blank_ratio=1.0
    )
    one = found(replace(record(held), result=result.model_copy(update={"ensemble": together})))["apart"]
    assert "--publish first" in one.way_out


@pytest.mark.parametrize(
    ("history", "names"),
    [
        (epochs(FLAT), set()),
        (epochs(FLAT, [2.0] * 12 + [2.0 + 0.2 * n for n in range(13)]), {"overfitting"}),
        (epochs(FLAT, actions=("went back",)), {"actions"}),
        (epochs(FLAT[:5], [1.0, 2.0, 3.0, 4.0, 5.0]), set()),
        (tuple(replace(one, seconds=9.0 if one.number > 20 else 1.0) for one in epochs(FLAT)), {"uneven"}),
    ],
)
def test_what_a_history_says_is_found(history: tuple[Epoch, ...], names: set[str]) -> None:
    assert set(found(record(history=history))) == names


def test_a_run_that_ended_while_it_learnt_is_told_and_one_under_way_is_not(runs: Runs) -> None:
    result = read(runs.store, LINEAR).result
    under_way = record(history=epochs(FALLING))
    assert "unfinished" in found(replace(under_way, result=result))
    assert "unfinished" not in found(under_way)


def test_a_sign_that_is_always_said_is_told_even_if_it_is_mostly_right() -> None:
    glosses = ["book"] * 60 + ["drink", "go", "who"] * 2
    always = held_out([(f"c{n}", gloss, {"book": 0.9}, ("book",)) for n, gloss in enumerate(glosses)])
    assert "few-signs" in found(record(always))


def test_every_finding_is_explained() -> None:
    source = ast.parse((ROOT / "services/trainer/inspection/run/findings.py").read_text())
    titles = [
        ast.literal_eval(call.args[2])
        for call in ast.walk(source)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"
    ]
    assert len(titles) > 10
    explained = (ROOT / "docs/analysis.md").read_text()
    assert [title for title in titles if title.split(":")[0] not in explained] == []
