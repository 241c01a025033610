"""The curves of runs: of one in detail, of several side by side. Drawn by matplotlib, coloured by the page."""

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

from services.trainer.training.epoch import Epoch

# The colours of templates/drawing.css in the light; a page puts its variables in their place.
_INK, _SOFT, _RULE = "#1f2123", "#66645f", "#dcd8cf"
_COLOURS = ("#2b5c8a", "#b1491f", "#3f7d5b", "#6b558f", "#a0476b", "#c9b48a")
_EXACT, _GREEDY, _CONTINUOUS, _BLANK = _COLOURS[:4]
_VARIABLES = {
    _INK: "--ink", _SOFT: "--soft", _RULE: "--rule", _COLOURS[0]: "--right", _COLOURS[1]: "--wrong",
    _COLOURS[2]: "--third", _COLOURS[3]: "--fourth", _COLOURS[4]: "--fifth", _COLOURS[5]: "--rest",
}  # fmt: skip

_STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8.5, "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT, "axes.titlecolor": _INK, "xtick.color": _SOFT, "ytick.color": _SOFT, "text.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": _RULE,
    "grid.linewidth": 0.5, "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0, "legend.frameon": False,
    "legend.fontsize": 8, "axes.titlesize": 9, "axes.titlelocation": "left", "axes.axisbelow": True,
}  # fmt: skip

# Where panels end: what is beside them is a line's name, or a run's letter.
_NAMED_RIGHT, _LETTERED_RIGHT = 0.76, 0.93

_TITLE = "title"
_TITLED = re.compile(rf'\s*<g id="{_TITLE}">.*?</g>', re.DOTALL)

# What matplotlib calls its groups. They are of no use in a page, and would stand there once for each drawing.
_GROUP_IDS = re.compile(r' id="[A-Za-z.]+(2d)?_\d+"')
_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]+"')
_GLOBAL_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
_COMMENTS = re.compile(r"\s*<!--.*?-->", re.DOTALL)

Value = Callable[[Epoch], float]


@dataclass(frozen=True)
class Curves:
    """A run's curves, and what they are measured against.

    Attributes:
        histories: of each member, its epochs.
        planned: epochs that each was to have.
        start: the share of them before CTC speaks.
        goal: the accuracy aimed at.
        chance: the accuracy of guessing; 0 where that is not known.
    """

    histories: Sequence[Sequence[Epoch]]
    planned: int
    start: float
    goal: float
    chance: float

    @property
    def actions(self) -> list[int]:
        """The epochs in which a training did something by itself."""
        return sorted({epoch.number for history in self.histories for epoch in history if epoch.actions})


def curves(run: Curves, title: str = "") -> bytes:
    """Loss, accuracy, blanks and learning rate of one run, epoch by epoch.

    Members are thin lines, their mean is a thick one. A triangle marks an epoch in which a training did something by
    itself. Equal runs give equal bytes.
    """
    with _figure((7.4, 8.4), (5, 7, 5, 2.6), _NAMED_RIGHT, title) as (panels, save):
        loss, accuracy, blank, rate = panels
        histories = run.histories
        _lines(loss, histories, lambda one: one.train_loss, _SOFT, "training")
        _lines(loss, histories, lambda one: one.val.loss, _EXACT, "held out (CTC)")
        loss.set_yscale("log")
        loss.set_title("Loss, nats per sign")

        _lines(accuracy, histories, _of_train, _SOFT, "exact, training clips", style=":")
        _lines(accuracy, histories, _of("greedy_correct"), _GREEDY, "best path")
        _lines(accuracy, histories, _of("continuous_correct"), _CONTINUOUS, "continuous decoder")
        _lines(accuracy, histories, _of("correct"), _EXACT, "exact")
        for level, name in ((run.goal, "goal"), (run.chance, "chance")):
            if level:
                _level(accuracy, 100 * level, name)
        accuracy.set_title("Accuracy on held-out clips, %")
        accuracy.set_ylim(-2, 102)

        _lines(blank, histories, lambda one: 100 * one.val.blank_ratio, _SOFT, "frames that are blank")
        _lines(blank, histories, _of("empty"), _BLANK, "clips that come out empty")
        blank.set_title("The blank, %")
        blank.set_ylim(-2, 102)

        _lines(rate, histories, lambda one: one.learning_rate, _SOFT, "")
        rate.set_title("Learning rate")
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_locator(MaxNLocator(3))
        rate.set_xlabel("epoch")
        longest = max(len(history) for history in histories)
        for axes in (loss, accuracy, blank, rate):
            if run.start:
                axes.axvspan(0, run.start * run.planned, color=_RULE, alpha=0.35, linewidth=0)
            axes.set_xlim(1, max(2, longest))
            for epoch in run.actions:
                axes.axvline(epoch, color=_COLOURS[4], linewidth=0.7, linestyle=(0, (2, 2)))
        transform = loss.get_xaxis_transform()
        if run.actions:
            # Above the panel, where no curve comes.
            above = [1.03] * len(run.actions)
            loss.plot(run.actions, above, "v", color=_COLOURS[4], markersize=4, clip_on=False, transform=transform)
        if run.start:
            place = 1 + 0.004 * longest
            loss.text(place, 0.03, "shaded: before CTC", transform=transform, color=_SOFT, fontsize=7.5)
        for axes in (loss, accuracy, blank):
            _named(axes)
        return save()


def compared(runs: Sequence[Curves], names: Sequence[str], title: str = "") -> bytes:
    """Several runs in one drawing: each a colour, its mean a line, its members a band from lowest to highest."""
    with _figure((7.4, 7.4), (5, 6, 6, 5), _LETTERED_RIGHT, title) as (panels, save):
        shown: list[tuple[str, Value]] = [
            ("Training loss, nats per sign", lambda one: one.train_loss),
            ("Exact accuracy on held-out clips, %", _of("correct")),
            ("Accuracy of the continuous decoder, %", _of("continuous_correct")),
            ("Clips that come out empty, %", _of("empty")),
        ]
        for axes, (name, value) in zip(panels, shown, strict=True):
            for index, (run, label) in enumerate(zip(runs, names, strict=True)):
                if run.histories:
                    style = ("-", "--", ":")[index // len(_COLOURS) % 3]
                    _band(axes, run.histories, value, _COLOURS[index % len(_COLOURS)], label, style)
            axes.set_title(name)
            axes.set_xlim(1, max(2, *(len(history) for run in runs for history in run.histories)))
        panels[0].set_yscale("log")
        for axes in panels[1:]:
            axes.set_ylim(-2, 102)
        panels[-1].set_xlabel("epoch")
        _named(panels[1])
        return save()


def inline(drawn: bytes, label: str) -> str:
    """A drawing as an element of a page: without its title, in the page's colours, and with no reach beyond itself."""
    text = drawn.decode()
    text = text[text.index("<svg") :]
    for pattern in (_TITLED, _GROUP_IDS, _NAMESPACES, _GLOBAL_STYLE, _COMMENTS):
        text = pattern.sub("", text)
    text = text.replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg", f'<svg class="drawing curves" role="img" aria-label="{escape(label)}"', 1)


@contextmanager
def _figure(
    size: tuple[float, float], heights: Sequence[float], right: float, title: str
) -> Iterator[tuple[Sequence[Any], Callable[[], bytes]]]:
    """Panels one under the other, and what makes a file of them.

    Their places are given and not found: matplotlib's own layouts draw everything several times, for seconds.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "signet"}):
        figure = Figure(figsize=size)
        figure.patch.set_alpha(0)
        places = {"left": 0.075, "right": right, "bottom": 0.055, "top": 0.93, "hspace": 0.28}
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, gridspec_kw=places)
        figure.text(0.075, 0.99, title, fontsize=9.5, va="top", gid=_TITLE)

        def save() -> bytes:
            for axes in panels:
                axes.patch.set_alpha(0)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                if axes.get_yscale() == "log":
                    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axes.yaxis.set_minor_formatter(NullFormatter())
                    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            buffer = io.BytesIO()
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(buffer, format="svg", metadata=nothing)
            return buffer.getvalue()

        yield panels, save


def _named(axes: Any) -> None:
    """Beside a panel, what its lines are."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.4)


def _lines(
    axes: Any, histories: Sequence[Sequence[Epoch]], value: Value, colour: str, label: str, style: str = "-"
) -> None:
    several = len(histories) > 1
    if several:
        for history in histories:
            numbers, values = _finite([one.number for one in history], [value(one) for one in history])
            axes.plot(numbers, values, style, color=colour, linewidth=0.6, alpha=0.35)
    numbers, values = _mean(histories, value)
    if len(numbers):
        axes.plot(numbers, values, style, color=colour, linewidth=1.5, label=label or None)


def _band(axes: Any, histories: Sequence[Sequence[Epoch]], value: Value, colour: str, label: str, style: str) -> None:
    numbers, values = _mean(histories, value)
    if not len(numbers):
        return
    axes.plot(numbers, values, style, color=colour, linewidth=1.5, label=label)
    if len(histories) > 1:
        _, low = _mean(histories, value, np.min)
        _, high = _mean(histories, value, np.max)
        axes.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)


def _mean(
    histories: Sequence[Sequence[Epoch]], value: Value, over: Callable[..., Any] = np.mean
) -> tuple[list[int], list[float]]:
    """Over the members that have each epoch, epochs of which nothing is known left out."""
    known: dict[int, list[float]] = {}
    for history in histories:
        for one in history:
            known.setdefault(one.number, []).append(value(one))
    numbers = sorted(known)
    return _finite(numbers, [float(over(known[number])) for number in numbers])


def _finite(numbers: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    kept = [(number, value) for number, value in zip(numbers, values, strict=True) if np.isfinite(value)]
    return [number for number, _ in kept], [value for _, value in kept]


def _of(count: str) -> Value:
    """A count of held-out clips as a percentage; NaN where there are none, or it was not counted."""

    def value(one: Epoch) -> float:
        counted = getattr(one.val, count)
        return 100 * counted / one.val.clips if one.val.clips and counted is not None else float("nan")

    return value


def _of_train(one: Epoch) -> float:
    return 100 * one.train.correct / one.train.clips if one.train is not None and one.train.clips else float("nan")


def _level(axes: Any, level: float, name: str) -> None:
    axes.axhline(level, color=_SOFT, linewidth=0.7, linestyle=(0, (1, 2)))
    across = axes.get_yaxis_transform()
    axes.text(0.995, level, name, transform=across, color=_SOFT, fontsize=7.5, ha="right", va="bottom")
