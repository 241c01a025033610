"""An alignment strip: what a model says in each frame of a clip.

Each frame is a column. The probabilities are stacked from below: the true gloss, the best other gloss, all other
glosses. The space above them is the blank. Below the columns stand the forced alignment of the true gloss, and the
parts of the body that the model sees.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from services.trainer.drawing.svg import Drawing, bars, element, number, text, time_axis, with_tooltip
from services.trainer.inspection.posteriors import FramePosteriors, frame_seconds
from signet.decoding import BLANK
from signet.landmarks import FRAME_RATE

# Pixels. A clip of two seconds fills the width of a page's column. Shorter clips are not enlarged, longer ones shrink.
_LEFT, _RIGHT, _TOP = 92.0, 8.0, 18.0
_HEIGHT = 96.0
_ROW, _ROW_GAP = 9.0, 4.0
_MAX_WIDTH, _MAX_FRAME, _MIN_FRAME = 640.0, 26.0, 1.0

# Upper ends of the probability axis. If no gloss gets far, the axis is cut, and a text says so.
_AXIS_ENDS = (0.02, 0.1, 0.3, 1.0)

# The best other gloss is named if it reaches this share of the axis; further glosses need the second share.
_FIRST_NAMED, _NEXT_NAMED = 0.04, 0.15
# Occupation below this is not shaded.
_MIN_OCCUPATION = 0.01
# Approximate width of a letter.
_LETTER = 5.6
_MAX_NAME = 15

PARTS = ("body", "left hand", "right hand")


@dataclass(frozen=True)
class _FrameShares:
    """The probabilities of one frame. They add up to 1."""

    truth: float
    other: float
    other_class: int
    rest: float
    blank: float


@dataclass(frozen=True)
class _Axes:
    """Where the columns are: the width of a frame, the upper end of the columns, and the end of their axis."""

    width: float
    top: float
    end: float

    @property
    def floor(self) -> float:
        return self.top + _HEIGHT

    @property
    def scale(self) -> float:
        return _HEIGHT / self.end

    def x(self, frame: float) -> float:
        return _LEFT + frame * self.width


def draw_strip(posteriors: FramePosteriors, title: str = "") -> Drawing:
    """Draw the strip of a clip. A strip in a file of its own has a title."""
    shares = _frame_shares(posteriors)
    highest = max(1 - frame.blank for frame in shares)
    axes = _Axes(
        width=min(_MAX_FRAME, max(_MIN_FRAME, _MAX_WIDTH / posteriors.frames)),
        top=_TOP + (20.0 if title else 0.0),
        end=next(end for end in _AXIS_ENDS if end >= min(1.0, 1.05 * highest)),
    )
    row = axes.floor + 8
    bottom = row + 4 * (_ROW + _ROW_GAP)
    body = [text(_LEFT, 14, title, class_="strong")] if title else []
    body += [
        _draw_scale(posteriors, axes),
        *(_draw_column(posteriors, frame, t, axes) for t, frame in enumerate(shares)),
        *_draw_names(posteriors, shares, axes),
        _draw_alignment(posteriors, axes, row),
        *_draw_presence(posteriors, axes, row + _ROW + _ROW_GAP),
        time_axis(_LEFT, bottom, frame_seconds(posteriors.frames), FRAME_RATE * axes.width),
    ]
    return Drawing(
        width=axes.x(posteriors.frames) + _RIGHT,
        height=bottom + 18,
        body="".join(body),
        label=f"Alignment strip of clip {posteriors.clip_id}",
    )


def draw_presence_row(
    name: str, x: float, y: float, width: float, spans: Iterable[tuple[float, float]], kind: str = "posed"
) -> str:
    """The row of one part of the body, whose upper left corner is (x, y).

    The bars are the spans in which the part is present: distance from x, and width. `kind` is their CSS class.
    """
    places = [(x + start, y, length) for start, length in spans]
    row = text(x - 6, y + 8, name, class_="soft end small")
    row += element("rect", class_="ground", x=x, y=y, width=width, height=_ROW)
    return row + (element("path", class_=kind, d=bars(places, _ROW), fill_opacity="0.6") if places else "")


def _frame_shares(posteriors: FramePosteriors) -> list[_FrameShares]:
    probabilities = np.exp(posteriors.log_probs)
    others = probabilities.copy()
    others[:, BLANK] = 0
    if posteriors.truth is not None:
        others[:, posteriors.truth] = 0
    frames = []
    for row, other_row in zip(probabilities, others, strict=True):
        other_class = int(other_row.argmax())
        truth = 0.0 if posteriors.truth is None else float(row[posteriors.truth])
        other, blank = float(other_row[other_class]), float(row[BLANK])
        frames.append(_FrameShares(truth, other, other_class, max(0.0, 1 - truth - other - blank), blank))
    return frames


def _draw_scale(posteriors: FramePosteriors, axes: _Axes) -> str:
    """The ground, the probability axis and its lines."""
    width = axes.width * posteriors.frames
    parts = [element("rect", class_="ground", x=_LEFT, y=axes.top, width=width, height=_HEIGHT)]
    for share in (0.0, axes.end / 2, axes.end):
        y = axes.floor - share * axes.scale
        parts.append(text(_LEFT - 6, y + 3.5, f"{100 * share:g} %", class_="soft end small"))
        if share:
            parts.append(element("line", class_="axis", x1=_LEFT, x2=_LEFT + width, y1=y, y2=y))
    parts.append(text(_LEFT - 6, axes.top - 7, "probability", class_="soft end small"))
    if axes.end < 1:
        cut = f"the axis ends at {100 * axes.end:g} %: the rest is blank"
        parts.append(text(_LEFT, axes.top - 7, cut, class_="strong small"))
    return "".join(parts)


def _draw_column(posteriors: FramePosteriors, frame: _FrameShares, t: int, axes: _Axes) -> str:
    """The stacked probabilities of frame t. The whole column shows the tooltip."""
    gap = 1.0 if axes.width >= 6 else 0.0
    y, column = axes.floor, ""
    for kind, share in (("truth", frame.truth), ("other", frame.other), ("rest", frame.rest)):
        height = min(share * axes.scale, y - axes.top)
        if height >= 0.05:
            y -= height
            column += element("rect", class_=kind, x=axes.x(t), y=y, width=axes.width - gap, height=height)
    column += element("rect", x=axes.x(t), y=axes.top, width=axes.width, height=_HEIGHT, fill_opacity="0")

    values = [] if posteriors.truth is None else [f"{posteriors.vocabulary[posteriors.truth - 1]} {frame.truth:.2f}"]
    values.append(f"{posteriors.vocabulary[frame.other_class - 1]} {frame.other:.2f}")
    values.append(f"other signs {frame.rest:.2f}, blank {frame.blank:.2f}")
    return with_tooltip(column, f"{frame_seconds(t):.1f} s: {', '.join(values)}")


def _draw_names(posteriors: FramePosteriors, shares: list[_FrameShares], axes: _Axes) -> list[str]:
    """The names of other glosses, each at the peak of the frames in which it is the best one, where there is room."""
    peaks = [
        max(group, key=lambda t: shares[t].other)
        for _, group in groupby(range(len(shares)), key=lambda t: shares[t].other_class)
    ]
    occupied: list[tuple[float, float]] = []
    names: list[str] = []
    for t in sorted(peaks, key=lambda t: -shares[t].other):
        frame = shares[t]
        if frame.other < (_NEXT_NAMED if names else _FIRST_NAMED) * axes.end:
            break
        name = posteriors.vocabulary[frame.other_class - 1]
        x, half = axes.x(t + 0.5), _LETTER * len(name) / 2 + 4
        if all(x + half < low or x - half > high for low, high in occupied):
            occupied.append((x - half, x + half))
            y = max(axes.top + 9, axes.floor - (1 - frame.blank) * axes.scale - 4)
            names.append(text(x, y, name, class_="middle small halo"))
    return names


def _draw_alignment(posteriors: FramePosteriors, axes: _Axes, y: float) -> str:
    """The forced alignment: shading for the occupation of each frame, and a frame for the most probable path."""
    (span,) = posteriors.alignment.spans
    name = posteriors.vocabulary[posteriors.aligned - 1]
    short = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    parts = [text(_LEFT - 6, y + 8, short, class_="soft end small")]
    parts.append(element("rect", class_="ground", x=_LEFT, y=y, width=axes.width * posteriors.frames, height=_ROW))
    kind = "truth" if posteriors.truth is not None else "other"
    for t, share in enumerate(posteriors.occupation.tolist()):
        if share >= _MIN_OCCUPATION:
            opacity = f"{0.6 * share:.2f}"
            parts.append(
                element("rect", class_=kind, x=axes.x(t), y=y, width=axes.width, height=_ROW, fill_opacity=opacity)
            )
    first, after = axes.x(span.first), axes.x(span.last + 1)
    outline = f"M{number(first)} {number(y)}H{number(after)}V{number(y + _ROW)}H{number(first)}Z"
    parts.append(element("path", d=outline, fill="none", stroke="var(--ink)", stroke_width="1.2"))
    start, end = span.seconds(FRAME_RATE)
    return with_tooltip("".join(parts), f"forced alignment of {name}: {start:.1f} to {end:.1f} s")


def _draw_presence(posteriors: FramePosteriors, axes: _Axes, y: float) -> list[str]:
    rows = []
    for part, name in enumerate(PARTS):
        present = posteriors.present[:, part]
        spans = [(t * axes.width, axes.width) for t in np.flatnonzero(present).tolist()]
        row = draw_presence_row(name, _LEFT, y + part * (_ROW + _ROW_GAP), axes.width * posteriors.frames, spans)
        rows.append(with_tooltip(row, f"{name} in {100 * present.mean():.0f} % of the frames"))
    return rows
