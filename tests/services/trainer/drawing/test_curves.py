"""The training curves: which values each line shows, and what a page makes of them."""

import math
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.axes import Axes

from services.trainer.drawing.curves import RunCurves, draw_compared_curves, draw_run_curves, inline_curves
from services.trainer.training.epoch import EpochResult
from services.trainer.training.validate import NO_SCORE

Lines = dict[str, tuple[list[int], list[float]]]


def make_epoch(number: int, scale: int = 1, **changes: Any) -> EpochResult:
    """An epoch in which each count is different: 10 exact, 20 best path, 30 continuous, 40 empty of 100 clips."""
    val = replace(
        NO_SCORE, loss=2.0 * scale, clips=100, correct=10 * scale, greedy_correct=20 * scale,
        continuous_correct=30 * scale, empty=40 * scale, blank_ratio=0.25 * scale,
    )  # fmt: skip
    epoch = EpochResult(number, 3.0 * scale, val, 1.0, best=False, learning_rate=0.5 * scale)
    return replace(epoch, **changes)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The lines of means by their label, with their epochs and values. The learning rate has no label."""
    drawn: Lines = {}
    plot = Axes.plot

    def record(axes: Axes, *arguments: Any, **options: Any) -> Any:
        if options.get("linewidth") == 1.5:
            drawn[options.get("label") or ""] = arguments[:2]
        return plot(axes, *arguments, **options)

    monkeypatch.setattr(Axes, "plot", record)
    return drawn


def curves(*histories: list[EpochResult], flat_start: float = 0.2) -> RunCurves:
    return RunCurves(histories, planned=10, flat_start=flat_start, goal=0.5, chance=0.05)


def values_by_label(lines: Lines) -> dict[str, list[float]]:
    return {label: values for label, (_, values) in lines.items()}


def test_each_line_shows_its_value_as_the_mean_of_the_members(lines: Lines) -> None:
    draw_run_curves(curves([make_epoch(1), make_epoch(2)], [make_epoch(1, 2)]))
    assert values_by_label(lines) == {
        "training": [4.5, 3.0],
        "held out (CTC)": [3.0, 2.0],
        "best path": [30.0, 20.0],
        "continuous decoder": [45.0, 30.0],
        "exact": [15.0, 10.0],
        "frames that are blank": [37.5, 25.0],
        "clips with an empty output": [60.0, 40.0],
        "": [0.75, 0.5],
    }
    assert {tuple(numbers) for numbers, _ in lines.values()} == {(1, 2)}


def test_epochs_without_a_value_are_left_out(lines: Lines) -> None:
    def without_decoder(epoch: EpochResult) -> EpochResult:
        return replace(epoch, val=replace(epoch.val, continuous_correct=None))

    trained = replace(NO_SCORE, clips=50, correct=20)
    epochs = [without_decoder(make_epoch(1)), make_epoch(2, train=trained), without_decoder(make_epoch(3))]
    draw_run_curves(curves([*epochs, make_epoch(4, learning_rate=math.nan)]))
    assert lines["continuous decoder"] == ([2, 4], [30.0, 30.0])
    assert lines["exact, training clips"] == ([2], [40.0])
    assert lines[""][0] == [1, 2, 3]


def test_a_run_without_held_out_clips_has_the_curves_of_its_training(lines: Lines) -> None:
    draw_run_curves(curves([make_epoch(1, val=NO_SCORE), make_epoch(2, val=NO_SCORE)]))
    assert set(lines) == {"training", ""}


def test_runs_are_compared_by_four_values(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, list[float]]] = []
    bands: list[tuple[list[float], list[float]]] = []
    monkeypatch.setattr(Axes, "plot", lambda *arguments, label, **_: lines.append((label, arguments[2])))
    monkeypatch.setattr(Axes, "fill_between", lambda _, x, low, high, **__: bands.append((low, high)))
    draw_compared_curves([curves([make_epoch(1)], [make_epoch(1, 2)]), curves([make_epoch(1, 2)]), curves()], "ABC")
    assert [values for name, values in lines if name == "A"] == [[4.5], [15.0], [45.0], [60.0]]
    assert [values for name, values in lines if name == "B"] == [[6.0], [20.0], [60.0], [80.0]]
    assert len(lines) == 8, "C has no epochs"
    assert bands == [([3.0], [6.0]), ([10.0], [20.0]), ([30.0], [60.0]), ([40.0], [80.0])]


def test_epochs_in_which_the_trainer_acted_are_marked() -> None:
    plain = curves([make_epoch(n) for n in range(1, 6)])
    acted = curves([make_epoch(n, actions=("went back",) if n in {2, 4} else ()) for n in range(1, 6)])
    assert (plain.action_epochs, acted.action_epochs) == ([], [2, 4])
    assert draw_run_curves(plain) != draw_run_curves(acted)
    assert draw_run_curves(acted) == draw_run_curves(acted)


def test_the_epochs_before_the_ctc_loss_are_shaded(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[float, float]] = []
    monkeypatch.setattr(Axes, "axvspan", lambda _, start, end, **__: spans.append((start, end)))
    draw_run_curves(curves([make_epoch(1)]))
    assert spans == [(0, 2.0)] * 4, "a fifth of ten planned epochs, in each panel"
    draw_run_curves(curves([make_epoch(1)], flat_start=0.0))
    assert len(spans) == 4


def test_a_page_puts_its_own_colours_into_curves_and_drops_what_only_a_file_needs() -> None:
    svg = draw_run_curves(curves([make_epoch(1), make_epoch(2)]), "A title")
    inline = inline_curves(svg, 'a "label"')
    assert b"A title" in svg
    assert "A title" not in inline
    assert inline.startswith('<svg class="drawing curves" role="img" aria-label="a &quot;label&quot;"')
    for gone in ("#2b5c8a", "#66645f", "<?xml", "xmlns", "<style", 'id="figure', "xlink:"):
        assert gone not in inline, gone
    assert "var(--right)" in inline
    assert inline.count("<path") == svg.decode().count("<path")
