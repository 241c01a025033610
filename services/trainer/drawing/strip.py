"""An alignment strip: one clip from its first frame to its last, and what the model says in each.

Every frame is a column. Its probabilities are stacked from below: the true gloss, the best other one, all others; what
is left above is the blank. Under it, when the true gloss is signed by forced alignment, and which parts of the body the
model sees.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from services.trainer.drawing.posteriors import Reading, seconds
from services.trainer.drawing.svg import Drawing, cells, element, number, text, titled
from signet.decoding import BLANK

# Pixels. A clip of two seconds fills the width of a page's column; shorter ones are not blown up, longer ones shrink.
_LEFT, _RIGHT, _TOP = 92.0, 8.0, 18.0
_HEIGHT = 96.0
_ROW, _ROW_GAP = 9.0, 4.0
_WIDEST, _MOST_FRAME, _LEAST_FRAME = 640.0, 26.0, 1.0

# How high the probabilities reach: where no sign gets far, the axis is cut, and says so.
_AXES = (0.02, 0.1, 0.3, 1.0)

# The most probable other gloss is named where it can be seen, further ones where they reach so much of the axis.
_LEAST_NAMED, _NAMED = 0.04, 0.15
# A frame that belongs to the sign with less probability than this is not shaded.
_LEAST_SHARE = 0.01
# Width of a letter, more or less.
_LETTER = 5.6


@dataclass(frozen=True)
class _Frame:
    """One column's shares; they add up to 1."""

    truth: float
    other: float
    other_sign: int
    rest: float
    blank: float


def draw(reading: Reading, title: str = "") -> Drawing:
    """The strip of a clip; `title` stands above it, in a file that stands alone."""
    width = min(_MOST_FRAME, max(_LEAST_FRAME, _WIDEST / reading.frames))
    columns = _columns(reading)
    highest = max(1 - one.blank for one in columns)
    most = next(axis for axis in _AXES if axis >= min(1.0, 1.05 * highest))
    head = 20.0 if title else 0.0
    top = _TOP + head
    parts = [text(_LEFT, 14, title, class_="strong")] if title else []
    parts.append(_probabilities(reading, columns, width, top, most))
    below = top + _HEIGHT + 8
    parts.append(_alignment(reading, width, below))
    parts.append(_presence(reading, width, below + _ROW + _ROW_GAP))
    bottom = below + 4 * (_ROW + _ROW_GAP)
    parts.append(_time(reading, width, bottom))
    return Drawing(
        width=_LEFT + width * reading.frames + _RIGHT,
        height=bottom + 18,
        body="".join(parts),
        label=f"Alignment strip of clip {reading.clip_id}",
    )


def _columns(reading: Reading) -> list[_Frame]:
    probabilities = np.exp(reading.log_probs)
    others = probabilities.copy()
    others[:, BLANK] = 0
    if reading.truth is not None:
        others[:, reading.truth] = 0
    columns = []
    for frame, row in zip(probabilities, others, strict=True):
        other = int(row.argmax())
        truth = 0.0 if reading.truth is None else float(frame[reading.truth])
        blank = float(frame[BLANK])
        rest = max(0.0, 1 - truth - float(row[other]) - blank)
        columns.append(_Frame(truth, float(row[other]), other, rest, blank))
    return columns


def _probabilities(reading: Reading, columns: list[_Frame], width: float, top: float, most: float) -> str:
    floor, scale = top + _HEIGHT, _HEIGHT / most
    span = width * reading.frames
    parts = [element("rect", class_="ground", x=_LEFT, y=top, width=span, height=_HEIGHT)]
    for share in (0.0, most / 2, most):
        y = floor - share * scale
        parts.append(text(_LEFT - 6, y + 3.5, f"{100 * share:g} %", class_="soft end small"))
    parts.append(text(_LEFT - 6, top - 7, "probability", class_="soft end small"))
    if most < 1:
        cut = f"the axis ends at {100 * most:g} %: the rest is blank"
        parts.append(text(_LEFT, top - 7, cut, class_="strong small"))
    gap = 1.0 if width >= 6 else 0.0
    for t, one in enumerate(columns):
        x, y, stack = _LEFT + t * width, floor, ""
        for kind, share in (("truth", one.truth), ("other", one.other), ("rest", one.rest)):
            high = min(share * scale, y - top)
            if high >= 0.05:
                y -= high
                stack += element("rect", class_=kind, x=x, y=y, width=width - gap, height=high)
        # What is pointed at is the whole column, not only what is drawn of it.
        stack += element("rect", x=x, y=top, width=width, height=_HEIGHT, fill_opacity="0")
        parts.append(titled(stack, _told(reading, one, t)))
    parts += [
        element("line", class_="axis", x1=_LEFT, x2=_LEFT + span, y1=y, y2=y) for y in (top, floor - most / 2 * scale)
    ]
    parts += _names(reading, columns, width, top, scale)
    return "".join(parts)


def _told(reading: Reading, one: _Frame, t: int) -> str:
    known = [] if reading.truth is None else [f"{reading.vocabulary[reading.truth - 1]} {one.truth:.2f}"]
    said = [*known, f"{reading.vocabulary[one.other_sign - 1]} {one.other:.2f}", f"other signs {one.rest:.2f}"]
    return f"{seconds(t):.1f} s: {', '.join(said)}, blank {one.blank:.2f}"


def _names(reading: Reading, columns: list[_Frame], width: float, top: float, scale: float) -> list[str]:
    """The other glosses' names: over each run of frames in which one is the best, at its peak, if there is room."""
    peaks = [
        max(run, key=lambda t: columns[t].other)
        for _, frames in groupby(range(len(columns)), key=lambda t: columns[t].other_sign)
        if (run := list(frames))
    ]
    peaks.sort(key=lambda t: -columns[t].other)
    taken: list[tuple[float, float]] = []
    names: list[str] = []
    for t in peaks:
        one = columns[t]
        if one.other * scale < (_NAMED if names else _LEAST_NAMED) * _HEIGHT:
            break
        name = reading.vocabulary[one.other_sign - 1]
        x, half = _LEFT + (t + 0.5) * width, _LETTER * len(name) / 2 + 4
        if all(x + half < low or x - half > high for low, high in taken):
            taken.append((x - half, x + half))
            y = max(top + 9, top + _HEIGHT - (1 - one.blank) * scale - 4)
            names.append(text(x, y, name, class_="middle small halo"))
    return names


def _alignment(reading: Reading, width: float, y: float) -> str:
    (span,) = reading.alignment.spans
    name = reading.vocabulary[reading.aligned - 1]
    shares = reading.occupation
    parts = [text(_LEFT - 6, y + 8, _short(name), class_="soft end small")]
    parts.append(element("rect", class_="ground", x=_LEFT, y=y, width=width * reading.frames, height=_ROW))
    kind = "truth" if reading.truth is not None else "other"
    for t in np.flatnonzero(shares >= _LEAST_SHARE):
        opacity = f"{0.6 * shares[t]:.2f}"
        x = _LEFT + t * width
        parts += [element("rect", class_=kind, x=x, y=y, width=width, height=_ROW, fill_opacity=opacity)]
    first, last = _LEFT + span.first * width, _LEFT + (span.last + 1) * width
    outline = f"M{number(first)} {number(y)}H{number(last)}V{number(y + _ROW)}H{number(first)}Z"
    parts.append(element("path", d=outline, fill="none", stroke="var(--ink)", stroke_width="1.2"))
    begins, ends = span.seconds(1 / seconds(1))
    return titled("".join(parts), f"forced alignment of {name}: {begins:.1f} to {ends:.1f} s")


def _presence(reading: Reading, width: float, y: float) -> str:
    parts = []
    for part, name in enumerate(("body", "left hand", "right hand")):
        at = y + part * (_ROW + _ROW_GAP)
        found = [(_LEFT + t * width, at, width) for t in np.flatnonzero(reading.present[:, part])]
        share = reading.present[:, part].mean()
        parts.append(text(_LEFT - 6, at + 8, name, class_="soft end small"))
        ground = element("rect", class_="ground", x=_LEFT, y=at, width=width * reading.frames, height=_ROW)
        bars = element("path", class_="posed", d=cells(found, _ROW), fill_opacity="0.55") if found else ""
        parts.append(titled(ground + bars, f"{name} in {100 * share:.0f} % of the frames"))
    return "".join(parts)


def _time(reading: Reading, width: float, y: float) -> str:
    length = seconds(reading.frames)
    step = next(step for step in (0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 3600.0) if length / step <= 12)
    parts = []
    for tick in np.arange(0, length + 1e-6, step):
        x = _LEFT + tick / seconds(1) * width
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=y - 4, y2=y))
        parts.append(text(x, y + 11, f"{tick:g} s", class_="soft middle small"))
    return "".join(parts)


def _short(name: str) -> str:
    """A name that fits beside the strip."""
    most = 15
    return name if len(name) <= most else f"{name[: most - 1]}…"
