"""The gate: which versions pass, which fail, and what is said about it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.gate import GateResult, check_gate
from services.evaluator.reports.report import ClipResult, GlossProbability, Report
from signet import registry
from signet.errors import InvalidInput, NotFound
from signet.registry import ModelCard

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def report(world: "World", card: ModelCard) -> Report:
    """A report on a version of a model, whose clips the tests replace."""
    return evaluate(world.store, "signet", card.version)[0]


def _with_clips(report: Report, correct: Sequence[bool], version: str = "v2", prefix: str = "c") -> Report:
    """The report of another version, with these results."""
    clips = tuple(
        ClipResult(
            clip_id=f"{prefix}{number}", signer="1", truth="book", rank=1 if right else 2, truth_probability=0.5,
            guesses=(GlossProbability(gloss="book", probability=0.5),), greedy=(), blank_ratio=0.5, frames=20,
        )
        for number, right in enumerate(correct)
    )  # fmt: skip
    about = report.provenance.model_copy(update={"model_version": version})
    return report.model_copy(update={"clips": clips, "provenance": about})


def _gate(world: "World", report: Report, old: Sequence[bool], new: Sequence[bool], margin: float = 0.0) -> GateResult:
    """The gate of a candidate with these results against `production` with those."""
    version = report.provenance.model_version
    registry.promote(world.store, "signet", version)
    return check_gate(
        world.store, _with_clips(report, new), "production", margin, lambda _: _with_clips(report, old, version)
    )


def test_a_version_that_is_worse_beyond_chance_fails(world: "World", report: Report) -> None:
    result = _gate(world, report, [True] * 20, [True] * 14 + [False] * 6)
    assert not result.passed
    assert "is 30.0 points worse, which is more than the margin of 0 points" in result.verdict
    assert "chance does not explain it: p = 0.016" in result.verdict
    assert result.pair is not None
    assert result.pair.only_first == tuple(f"c{number}" for number in range(14, 20))


def test_a_version_that_is_not_worse_passes(world: "World", report: Report) -> None:
    for new in ([True] * 20, [False] + [True] * 19):
        result = _gate(world, report, [False] + [True] * 19, new)
        assert result.passed
        assert result.verdict == "the candidate is not worse on these clips."


def test_a_loss_that_may_be_chance_passes_and_this_is_said(world: "World", report: Report) -> None:
    result = _gate(world, report, [True] * 20, [True] * 16 + [False] * 4)
    assert result.passed
    assert "is 20.0 points worse, which is more than the margin of 0 points, but this may be chance" in result.verdict
    assert "p = 0.062" in result.verdict


@pytest.mark.parametrize(("margin", "passed"), [(29.9, False), (30.0, True), (30.1, True), (100.0, True)])
def test_a_loss_of_no_more_than_the_margin_passes(world: "World", report: Report, margin: float, passed: bool) -> None:
    assert _gate(world, report, [True] * 20, [True] * 14 + [False] * 6, margin).passed == passed


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), -1.0, 101.0])
def test_a_margin_that_is_no_number_of_points_is_refused(world: "World", report: Report, margin: float) -> None:
    with pytest.raises(InvalidInput, match="give a number of points"):
        _gate(world, report, [True], [True], margin)


def test_without_production_the_version_passes_and_a_wrong_name_does_not(world: "World", report: Report) -> None:
    def never(_: str) -> Report:
        raise AssertionError("nothing to evaluate")

    result = check_gate(world.store, report, "production", 0.0, never)
    assert (result.passed, result.pair) == (True, None)
    assert "there is no alias 'production' yet" in result.verdict
    with pytest.raises(NotFound, match="'prodution'"):
        check_gate(world.store, report, "prodution", 0.0, never)
    assert check_gate(world.store, report, "latest", 0.0, never).verdict == (
        "the candidate is the version that latest names."
    )


def test_only_common_clips_are_compared_and_other_ones_are_named(world: "World", report: Report) -> None:
    result = _gate(world, report, [True] * 20, [True] * 15)
    assert result.passed
    assert result.pair is not None
    assert result.pair.counts.clips == 15
    assert "5 clips are in one report only" in " ".join(result.cautions)
    version = report.provenance.model_version
    with pytest.raises(InvalidInput, match="no clip of split 'val' in common"):
        check_gate(
            world.store,
            _with_clips(report, [True], prefix="other"),
            "production",
            0.0,
            lambda _: _with_clips(report, [True], version),
        )


def test_what_makes_the_comparison_less_fair_is_said(world: "World", report: Report) -> None:
    registry.promote(world.store, "signet", report.provenance.model_version)
    about = report.provenance.model_copy(
        update={"glosses": 50, "extractor": "other/2", "selected_on": "val", "model_version": "v2"}
    )
    result = check_gate(
        world.store, report.model_copy(update={"provenance": about}), "production", 0.0, lambda _: report
    )
    cautions = " ".join(result.cautions)
    for words in ("6 and 50 glosses", "made/1 and other/2", "v2 was selected on val"):
        assert words in cautions
