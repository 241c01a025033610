"""The training curves of one run, or of several runs in one figure, as SVG. A page puts its own colours into it."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from services.trainer.training.epoch import EpochResult

# The colours of signet/templates/colours.css in light mode. A page replaces them by its CSS variables.
_INK, _SOFT, _RULE = "#1f2123", "#66645f", "#dcd8cf"
_COLOURS = ("#2b5c8a", "#b1491f", "#3f7d5b", "#6b558f", "#a0476b", "#c9b48a")
_EXACT, _GREEDY, _CONTINUOUS, _BLANK, _ACTION = _COLOURS[:5]
# The CSS variables of `_COLOURS`: the colours of runs that are compared, in this order.
RUN_COLOURS = ("--right", "--wrong", "--third", "--fourth", "--fifth", "--rest")
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _RULE: "--rule", **dict(zip(_COLOURS, RUN_COLOURS, strict=True))}
_LINE_STYLES = ("-", "--", ":")

_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "signet", "font.family": "sans-serif", "font.size": 8.5,
    "axes.edgecolor": _RULE, "axes.labelcolor": _SOFT, "axes.titlecolor": _INK, "xtick.color": _SOFT,
    "ytick.color": _SOFT, "text.color": _INK, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": _RULE, "grid.linewidth": 0.5, "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0,
    "legend.frameon": False, "legend.fontsize": 8, "axes.titlesize": 9, "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "text.parse_math": False,  # a `$` in a name is no formula
}  # fmt: skip

# The right ends of the panels, as shares of the width. The names of lines, or the letters of runs, are to the right of
# them.
_RIGHT_OF_ONE_RUN, _RIGHT_OF_SEVERAL = 0.76, 0.93

_TITLE = "title"
# What a page does not need of a file: the title, the ids that would repeat in each drawing, and matplotlib's style.
_FILE_ONLY = re.compile(
    rf'\s*<g id="{_TITLE}">.*?</g>| id="[A-Za-z.]+(2d)?_\d+"| xmlns(:\w+)?="[^"]+"|<style.*?</style>|\s*<!--.*?-->',
    re.DOTALL,
)

Value = Callable[[EpochResult], float]


@dataclass(frozen=True)
class RunCurves:
    """The data of a run's curves."""

    histories: Sequence[Sequence[EpochResult]]  # the epochs of each member
    planned: int  # planned epochs of each member
    flat_start: float  # share of the planned epochs before the CTC loss is used
    goal: float  # target accuracy
    chance: float  # accuracy of guessing; 0 if it is not known

    @property
    def action_epochs(self) -> list[int]:
        """The epochs in which the trainer did something by itself."""
        return sorted({epoch.number for history in self.histories for epoch in history if epoch.actions})


def draw_run_curves(run: RunCurves, title: str = "") -> bytes:
    """Draw loss, accuracy, blanks and learning rate of one run over its epochs.

    Members are thin lines, and their mean is a thick line. A triangle marks an epoch in which the trainer did something
    by itself. Equal runs give equal bytes.
    """
    with _figure((7.4, 8.4), (5, 7, 5, 2.6), _RIGHT_OF_ONE_RUN, title) as (panels, save):
        loss, accuracy, blank, rate = panels
        lines: list[tuple[Any, Value, str, str, str]] = [
            (loss, lambda epoch: epoch.train_loss, _SOFT, "training", "-"),
            (loss, lambda epoch: epoch.val.loss, _EXACT, "held out (CTC)", "-"),
            (accuracy, _train_accuracy, _SOFT, "exact, training clips", ":"),
            (accuracy, _val_percentage("greedy_correct"), _GREEDY, "best path", "-"),
            (accuracy, _val_percentage("continuous_correct"), _CONTINUOUS, "continuous decoder", "-"),
            (accuracy, _val_percentage("correct"), _EXACT, "exact", "-"),
            (blank, lambda epoch: 100 * epoch.val.blank_ratio, _SOFT, "frames that are blank", "-"),
            (blank, _val_percentage("empty"), _BLANK, "clips with an empty output", "-"),
            (rate, lambda epoch: epoch.learning_rate, _SOFT, "", "-"),
        ]
        for axes, value, colour, label, style in lines:
            _draw_members(axes, run.histories, value, colour, label, style)
        _name_panels(panels, ("Loss, nats per sign", "Accuracy on held-out clips, %", "The blank, %", "Learning rate"))
        for level, name in ((run.goal, "goal"), (run.chance, "chance")):
            if level:
                _draw_level(accuracy, 100 * level, name)
        for axes in (accuracy, blank):
            axes.set_ylim(-2, 102)
        loss.set_yscale("log")
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_locator(MaxNLocator(3))
        longest = max(len(history) for history in run.histories)
        _mark_epochs(run, panels, longest)
        for axes in panels:
            axes.set_xlim(1, max(2, longest))
            _draw_legend(axes)
        return save()


def draw_compared_curves(runs: Sequence[RunCurves], names: Sequence[str], title: str = "") -> bytes:
    """Draw several runs. Each has a colour, a line for the mean of its members, and a band from lowest to highest."""
    values = (
        lambda epoch: epoch.train_loss,
        _val_percentage("correct"),
        _val_percentage("continuous_correct"),
        _val_percentage("empty"),
    )
    titles = (
        "Training loss, nats per sign",
        "Exact accuracy on held-out clips, %",
        "Accuracy of the continuous decoder, %",
        "Clips with an empty output, %",
    )
    with _figure((7.4, 7.4), (5, 6, 6, 5), _RIGHT_OF_SEVERAL, title) as (panels, save):
        _name_panels(panels, titles)
        for axes, value in zip(panels, values, strict=True):
            for index, (run, name) in enumerate(zip(runs, names, strict=True)):
                style = _LINE_STYLES[index // len(_COLOURS) % len(_LINE_STYLES)]
                _draw_band(axes, run.histories, value, _COLOURS[index % len(_COLOURS)], name, style)
            axes.set_xlim(1, max(2, *(len(history) for run in runs for history in run.histories)))
        panels[0].set_yscale("log")
        for axes in panels[1:]:
            axes.set_ylim(-2, 102)
        _draw_legend(panels[1])
        return save()


def inline_curves(svg: bytes, label: str) -> str:
    """Curves as an element of a page: without the title, and in the page's colours."""
    text = svg.decode()
    text = _FILE_ONLY.sub("", text[text.index("<svg") :]).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg", f'<svg class="drawing curves" role="img" aria-label="{escape(label)}"', 1)


@contextmanager
def _figure(
    size: tuple[float, float], heights: Sequence[float], right: float, title: str
) -> Iterator[tuple[Sequence[Any], Callable[[], bytes]]]:
    """Panels one below the other, and a function that returns them as a file.

    The places of the panels are fixed: matplotlib's layouts draw everything several times, which takes seconds.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size)
        figure.patch.set_alpha(0)
        places = {"left": 0.075, "right": right, "bottom": 0.055, "top": 0.93, "hspace": 0.28}
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, gridspec_kw=places)
        figure.text(0.075, 0.99, title, fontsize=9.5, va="top", gid=_TITLE)
        panels[-1].set_xlabel("epoch")

        def save() -> bytes:
            for axes in panels:
                axes.patch.set_alpha(0)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                if axes.get_yscale() == "log":
                    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axes.yaxis.set_minor_formatter(NullFormatter())
                    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
            return buffer.getvalue()

        yield panels, save


def _name_panels(panels: Sequence[Any], titles: Sequence[str]) -> None:
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)


def _draw_legend(axes: Any) -> None:
    """Names the lines of a panel, to the right of it."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)


def _mark_epochs(run: RunCurves, panels: Sequence[Any], longest: int) -> None:
    """Shade the epochs before the CTC loss is used, and mark those in which the trainer did something by itself."""
    loss = panels[0]
    for axes in panels:
        if run.flat_start:
            axes.axvspan(0, run.flat_start * run.planned, color=_RULE, alpha=0.35, linewidth=0)
        for number in run.action_epochs:
            axes.axvline(number, color=_ACTION, linewidth=0.7, linestyle=(0, (2, 2)))
    transform = loss.get_xaxis_transform()
    if run.action_epochs:
        # The triangles stand above the panel, where no curve passes.
        heights = [1.03] * len(run.action_epochs)
        loss.plot(run.action_epochs, heights, "v", color=_ACTION, markersize=4, clip_on=False, transform=transform)
    if run.flat_start:
        x = 1 + 0.004 * longest
        loss.text(x, 0.03, "shaded: before CTC", transform=transform, color=_SOFT, fontsize=7.5)


def _draw_members(
    axes: Any, histories: Sequence[Sequence[EpochResult]], value: Value, colour: str, label: str, style: str
) -> None:
    if len(histories) > 1:
        for history in histories:
            axes.plot(*_aggregate([history], value), style, color=colour, linewidth=0.6, alpha=0.35)
    numbers, means = _aggregate(histories, value)
    if numbers:
        axes.plot(numbers, means, style, color=colour, linewidth=1.5, label=label or None)


def _draw_band(
    axes: Any, histories: Sequence[Sequence[EpochResult]], value: Value, colour: str, label: str, style: str
) -> None:
    numbers, means = _aggregate(histories, value)
    if numbers:
        axes.plot(numbers, means, style, color=colour, linewidth=1.5, label=label)
    if numbers and len(histories) > 1:
        (_, low), (_, high) = _aggregate(histories, value, np.min), _aggregate(histories, value, np.max)
        axes.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)


def _aggregate(
    histories: Sequence[Sequence[EpochResult]], value: Value, over: Callable[..., Any] = np.mean
) -> tuple[list[int], list[float]]:
    """A value over the members that have an epoch, without the epochs in which it is not finite."""
    values: dict[int, list[float]] = {}
    for history in histories:
        for epoch in history:
            values.setdefault(epoch.number, []).append(value(epoch))
    points = [(number, float(over(values[number]))) for number in sorted(values)]
    points = [(number, aggregate) for number, aggregate in points if np.isfinite(aggregate)]
    return [number for number, _ in points], [aggregate for _, aggregate in points]


def _val_percentage(count: str) -> Value:
    """A count of held-out clips in per cent; NaN if there are no clips or it was not counted."""

    def value(epoch: EpochResult) -> float:
        counted = getattr(epoch.val, count)
        return 100 * counted / epoch.val.clips if epoch.val.clips and counted is not None else float("nan")

    return value


def _train_accuracy(epoch: EpochResult) -> float:
    return 100 * epoch.train.correct / epoch.train.clips if epoch.train and epoch.train.clips else float("nan")


def _draw_level(axes: Any, level: float, name: str) -> None:
    axes.axhline(level, color=_SOFT, linewidth=0.7, linestyle=(0, (1, 2)))
    across = axes.get_yaxis_transform()
    axes.text(0.995, level, name, transform=across, color=_SOFT, fontsize=7.5, ha="right", va="bottom")
