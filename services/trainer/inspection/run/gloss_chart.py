"""How glosses fare, drawn: a dot for the share, a band for its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.trainer.drawing.html import count
from services.trainer.drawing.svg import Drawing, element, text, titled
from services.trainer.inspection.run.predictions import GlossFigure
from signet.html import interval, percent

_ROW, _TOP = 17.0, 22.0
_NAME, _COUNT, _SCALE, _END = 128.0, 62.0, 360.0, 100.0
_LETTER = 6.2
# Between the dots of two runs.
_APART = 3.0

# Of runs that are compared, in the order of the curves' colours.
COLOURS = ("--right", "--wrong", "--third", "--fourth", "--fifth", "--rest")


@dataclass(frozen=True)
class Range:
    """How one gloss fares in several runs.

    Attributes:
        gloss: which.
        clips: that all of the runs with figures held out.
        shares: recognised, of each run; None where it held out none.
    """

    gloss: str
    clips: int
    shares: tuple[float | None, ...]

    @property
    def width(self) -> float:
        """From the lowest to the highest."""
        known = [share for share in self.shares if share is not None]
        return max(known) - min(known) if known else 0.0


def glosses(figures: Sequence[GlossFigure], mean: float, title: str = "") -> Drawing:
    """Every gloss a row, in this order; a dashed line at the mean of all clips."""
    head = 20.0 if title else 0.0
    top = _TOP + head
    left = _left([one.gloss for one in figures])
    bottom = top + _ROW * len(figures)
    parts = [text(left, 14, title, class_="strong")] if title else []
    parts.append(_scale(left, top, bottom))
    parts.append(element("line", class_="dash", x1=left + mean * _SCALE, x2=left + mean * _SCALE, y1=top, y2=bottom))
    for row, one in enumerate(figures):
        y = top + _ROW * (row + 0.5)
        low, high = one.interval
        x = left + _SCALE + 10
        drawn = [
            text(left - _COUNT, y + 4, one.gloss, class_="end"),
            text(left - 12, y + 4, f"{count(one.right * one.clips)} / {one.clips}", class_="end soft"),
            element("rect", class_="band", x=left + low * _SCALE, y=y - 3, width=(high - low) * _SCALE, height=6, rx=3),
            element("circle", class_="truth", cx=left + one.right * _SCALE, cy=y, r=3.5),
            text(x, y + 4, interval((low, high)), class_="soft"),
        ]
        told = f"{one.gloss}: {percent(one.right)} of {one.clips} clips, 95 % interval {interval((low, high))}"
        parts.append(titled("".join(drawn), f"{told}; the first guess in {one.guessed} clips"))
    return Drawing(left + _SCALE + _END, bottom + 6, "".join(parts), "Recognised clips of each gloss")


def ranges(several: Sequence[Range], names: Sequence[str], title: str = "") -> Drawing:
    """Glosses in several runs: a row each, and in it a dot for each run."""
    head = 20.0 if title else 0.0
    top = _TOP + head
    left = _left([one.gloss for one in several])
    bottom = top + _ROW * len(several)
    parts = [text(left, 14, title, class_="strong")] if title else []
    parts.append(_scale(left, top, bottom))
    for row, one in enumerate(several):
        y = top + _ROW * (row + 0.5)
        known = [share for share in one.shares if share is not None]
        drawn = [
            text(left - _COUNT, y + 4, one.gloss, class_="end"),
            text(left - 12, y + 4, f"{one.clips}", class_="end soft"),
            element(
                "line", class_="axis", x1=left + min(known) * _SCALE, x2=left + max(known) * _SCALE, y1=y, y2=y,
                stroke_width=2,
            ),
        ]  # fmt: skip
        for index, share in enumerate(one.shares):
            if share is not None:
                # A little apart, so that equal runs are all seen.
                at = y + _APART * (index - (len(one.shares) - 1) / 2)
                colour = f"fill:var({COLOURS[index % len(COLOURS)]})"
                drawn.append(element("circle", style=colour, cx=left + share * _SCALE, cy=at, r=3.2))
        told = ", ".join(
            f"{name} {percent(share)}" for name, share in zip(names, one.shares, strict=True) if share is not None
        )
        parts.append(titled("".join(drawn), f"{one.gloss}, {one.clips} clips: {told}"))
    return Drawing(left + _SCALE + _END, bottom + 6, "".join(parts), "Recognised clips of each gloss, run by run")


def _left(names: Sequence[str]) -> float:
    """Where the scale begins: after the longest name and the counts."""
    return max(_NAME, _LETTER * max((len(name) for name in names), default=0) + 8) + _COUNT


def _scale(left: float, top: float, bottom: float) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + share * _SCALE
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=top, y2=bottom))
        parts.append(text(x, top - 8, f"{100 * share:g} %", class_="soft middle small"))
    return "".join(parts)
