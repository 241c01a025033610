"""The chart of glosses: a dot for the recognised share of each gloss, and a band for its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.trainer.drawing.curves import RUN_COLOURS
from services.trainer.drawing.html import format_count
from services.trainer.drawing.svg import Drawing, element, text, with_tooltip
from signet.html import interval, percent
from signet.statistics.counts import GlossCounts

_ROW, _TOP, _TITLE = 17.0, 22.0, 20.0
_NAME, _COUNT, _SCALE, _END = 128.0, 62.0, 360.0, 100.0
# Approximate width of a letter.
_LETTER = 6.2
# Vertical distance between the dots of two runs, so that equal dots are both visible.
_RUN_OFFSET = 3.0


@dataclass(frozen=True)
class GlossComparison:
    """One gloss in several runs."""

    gloss: str
    clips: int  # its clips that all runs with predictions held out
    shares: tuple[float | None, ...]  # the recognised share in each run; None for a run without predictions

    @property
    def known_shares(self) -> list[float]:
        """The shares of the runs that have predictions."""
        return [share for share in self.shares if share is not None]

    @property
    def width(self) -> float:
        """The distance from the lowest to the highest share."""
        return max(self.known_shares) - min(self.known_shares)


def draw_glosses(glosses: Sequence[GlossCounts], mean: float, title: str = "") -> Drawing:
    """Draw a row for each gloss, in this order, and a dashed line at the mean over all clips."""
    chart = _Chart([gloss.gloss for gloss in glosses], title)
    x = chart.x(mean)
    chart.parts.append(element("line", class_="dash", x1=x, x2=x, y1=chart.top, y2=chart.bottom))
    for row, gloss in enumerate(glosses):
        y, (low, high) = chart.y(row), gloss.interval
        bounds = interval((low, high))
        marks = element("rect", class_="band", x=chart.x(low), y=y - 3, width=(high - low) * _SCALE, height=6, rx=3)
        marks += element("circle", class_="truth", cx=chart.x(gloss.share), cy=y, r=3.5)
        marks += text(chart.x(1) + 10, y + 4, bounds, class_="soft")
        tooltip = f"{gloss.gloss}: {percent(gloss.share)} of {gloss.clips} clips, 95 % interval {bounds}"
        tooltip += f"; the first guess in {gloss.predicted} clips"
        chart.add_row(row, f"{format_count(gloss.correct)} / {gloss.clips}", marks, tooltip)
    return chart.drawing("Recognised clips of each gloss")


def draw_gloss_comparison(glosses: Sequence[GlossComparison], names: Sequence[str], title: str = "") -> Drawing:
    """Draw a row for each gloss, with a dot for each run."""
    chart = _Chart([gloss.gloss for gloss in glosses], title)
    for row, gloss in enumerate(glosses):
        y = chart.y(row)
        low, high = chart.x(min(gloss.known_shares)), chart.x(max(gloss.known_shares))
        marks, values = element("line", class_="axis", x1=low, x2=high, y1=y, y2=y, stroke_width=2), []
        for index, (name, share) in enumerate(zip(names, gloss.shares, strict=True)):
            if share is not None:
                dot_y = y + _RUN_OFFSET * (index - (len(names) - 1) / 2)
                colour = f"fill:var({RUN_COLOURS[index % len(RUN_COLOURS)]})"
                marks += element("circle", style=colour, cx=chart.x(share), cy=dot_y, r=3.2)
                values.append(f"{name} {percent(share)}")
        chart.add_row(row, str(gloss.clips), marks, f"{gloss.gloss}, {gloss.clips} clips: {', '.join(values)}")
    return chart.drawing("Recognised clips of each gloss, run by run")


class _Chart:
    """Rows of glosses with a scale from 0 to 100 %."""

    def __init__(self, names: Sequence[str], title: str) -> None:
        self._names = names
        self._left = max(_NAME, _LETTER * max((len(name) for name in names), default=0) + 8) + _COUNT
        self.top = _TOP + (_TITLE if title else 0.0)
        self.bottom = self.top + _ROW * len(names)
        self.parts = [text(self._left, 14, title, class_="strong")] if title else []
        for share in (0, 0.25, 0.5, 0.75, 1):
            x = self.x(share)
            self.parts.append(element("line", class_="axis", x1=x, x2=x, y1=self.top, y2=self.bottom))
            self.parts.append(text(x, self.top - 8, f"{100 * share:g} %", class_="soft middle small"))

    def x(self, share: float) -> float:
        return self._left + share * _SCALE

    def y(self, row: int) -> float:
        return self.top + _ROW * (row + 0.5)

    def add_row(self, row: int, count: str, marks: str, tooltip: str) -> None:
        y = self.y(row) + 4
        labels = text(self._left - _COUNT, y, self._names[row], class_="end")
        labels += text(self._left - 12, y, count, class_="end soft")
        self.parts.append(with_tooltip(labels + marks, tooltip))

    def drawing(self, label: str) -> Drawing:
        return Drawing(self.x(1) + _END, self.bottom + 6, "".join(self.parts), label)
