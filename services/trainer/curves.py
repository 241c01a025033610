"""A run's curves as one SVG: loss, accuracy, blanks."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from services.trainer.objective import FLAT_START
from services.trainer.training import Epoch

_EXACT, _GREEDY, _TRAIN, _VAL, _BLANK = "#1b6ca8", "#d98324", "#8a8a8a", "#1b6ca8", "#5b4b8a"


def draw(epochs: Sequence[Epoch], planned: int, target: float, title: str) -> bytes:
    """The curves of a run.

    Args:
        epochs: what each epoch came to, at least one.
        planned: epochs that the run was to have; the flat start ends at its share of them.
        target: the accuracy aimed at, drawn as a line.
        title: what the picture is of.

    Returns:
        an SVG document; equal runs give equal bytes.
    """
    numbers = [epoch.number for epoch in epochs]
    figure = Figure(figsize=(7, 8), layout="constrained")
    loss, accuracy, blank = figure.subplots(3, 1, sharex=True)
    figure.suptitle(title, fontsize=11)

    loss.plot(numbers, [epoch.train_loss for epoch in epochs], color=_TRAIN, label="train (frames, then CTC)")
    loss.plot(numbers, [epoch.val.loss for epoch in epochs], color=_VAL, label="val (CTC)")
    loss.set_ylabel("loss, nats per sign")
    # The first epochs' CTC loss is hundreds of nats and would flatten all that follows.
    loss.set_yscale("log")

    clips = max(1, epochs[-1].val.clips)
    accuracy.plot(numbers, [100 * epoch.val.correct / clips for epoch in epochs], color=_EXACT, label="exact")
    accuracy.plot(numbers, [100 * epoch.val.greedy_correct / clips for epoch in epochs], color=_GREEDY, label="greedy")
    accuracy.axhline(100 * target, color="#888888", linewidth=0.8, linestyle=":", label="goal")
    accuracy.set_ylabel(f"val accuracy, % of {epochs[-1].val.clips}")
    accuracy.set_ylim(-2, 102)

    blank.plot(numbers, [100 * epoch.val.blank_ratio for epoch in epochs], color=_BLANK, label="blank frames")
    blank.plot(
        numbers, [100 * epoch.val.empty / clips for epoch in epochs], color=_BLANK, linestyle="--", label="empty clips"
    )
    blank.set_ylabel("%")
    blank.set_ylim(-2, 102)
    blank.set_xlabel("epoch")

    for axes in (loss, accuracy, blank):
        axes.axvspan(0, FLAT_START * planned, color="#000000", alpha=0.04, linewidth=0)
        axes.set_xlim(1, max(2, numbers[-1]))
        axes.grid(visible=True, linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        # Where the curves of a run that goes well are not.
        place = {loss: "upper right", accuracy: "lower right", blank: "upper right"}[axes]
        axes.legend(loc=place, fontsize=8, frameon=False, ncols=2 if axes is blank else 1)
    loss.text(0.01, 0.03, "shaded: flat start", transform=loss.transAxes, fontsize=8, color="#666666")

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "signet", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
