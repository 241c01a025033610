"""A run's curves as one SVG: loss, accuracy, blanks."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from services.trainer.training.epoch import Epoch

_EXACT, _GREEDY, _TRAIN, _VAL, _BLANK = "#1b6ca8", "#d98324", "#8a8a8a", "#1b6ca8", "#5b4b8a"
_CONTINUOUS = "#3f8f5f"


def draw(histories: Sequence[Sequence[Epoch]], planned: int, start: float, target: float, title: str) -> bytes:
    """The curves of a run, one for each of its members.

    Args:
        histories: of each member, what each epoch came to; at least one of one.
        planned: epochs that the run was to have.
        start: the share of them before CTC speaks.
        target: the accuracy aimed at, drawn as a line.
        title: what the picture is of.

    Returns:
        an SVG document; equal runs give equal bytes.
    """
    figure = Figure(figsize=(7, 8), layout="constrained")
    loss, accuracy, blank = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title if len(histories) == 1 else f"{title}, {len(histories)} members", fontsize=11)

    for index, epochs in enumerate(histories):
        line = _Line([epoch.number for epoch in epochs], named=not index, thin=len(histories) > 1)
        line(loss, [epoch.train_loss for epoch in epochs], _TRAIN, "train")
        line(loss, [epoch.val.loss for epoch in epochs], _VAL, "val (CTC)")
        clips = max(1, epochs[-1].val.clips)
        line(accuracy, [100 * epoch.val.correct / clips for epoch in epochs], _EXACT, "exact")
        line(accuracy, [100 * epoch.val.greedy_correct / clips for epoch in epochs], _GREEDY, "greedy")
        line(blank, [100 * epoch.val.blank_ratio for epoch in epochs], _BLANK, "blank frames")
        line(blank, [100 * epoch.val.empty / clips for epoch in epochs], _BLANK, "empty clips", style="--")
        heard = [epoch for epoch in epochs if epoch.val.continuous_correct is not None]
        line.numbers = [epoch.number for epoch in heard]
        shares = [100 * (epoch.val.continuous_correct or 0) / clips for epoch in heard]
        line(accuracy, shares, _CONTINUOUS, "continuous")
    loss.set_ylabel("loss, nats per sign")
    # The first epochs' CTC loss is hundreds of nats and would flatten all that follows.
    loss.set_yscale("log")
    accuracy.axhline(100 * target, color="#888888", linewidth=0.8, linestyle=":", label="goal")
    held_out = sorted({epochs[-1].val.clips for epochs in histories})
    accuracy.set_ylabel(f"val accuracy, % of {' to '.join(map(str, held_out[:: max(1, len(held_out) - 1)]))}")
    accuracy.set_ylim(-2, 102)
    blank.set_ylabel("%")
    blank.set_ylim(-2, 102)
    blank.set_xlabel("epoch")

    longest = max(len(epochs) for epochs in histories)
    for axes in (loss, accuracy, blank):
        axes.axvspan(0, start * planned, color="#000000", alpha=0.04, linewidth=0)
        axes.set_xlim(1, max(2, longest))
        axes.grid(visible=True, linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        # Where the curves of a run that goes well are not.
        place = {loss: "upper right", accuracy: "lower right", blank: "upper right"}[axes]
        axes.legend(loc=place, fontsize=8, frameon=False, ncols=2 if axes is blank else 1)
    loss.text(0.01, 0.03, "shaded: before CTC", transform=loss.transAxes, fontsize=8, color="#666666")

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "signet", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@dataclass
class _Line:
    """Draws the curves of one member over its epochs; the first member's curves stand for all in the legend."""

    numbers: list[int]
    named: bool
    thin: bool

    def __call__(self, axes: Any, values: Sequence[float], color: str, label: str, style: str = "-") -> None:
        axes.plot(
            self.numbers,
            values,
            style,
            color=color,
            label=label if self.named else None,
            linewidth=0.8 if self.thin else 1.5,
            alpha=0.6 if self.thin else 1.0,
        )
