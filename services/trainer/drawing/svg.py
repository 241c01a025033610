"""SVG elements as text. Equal drawings give equal bytes.

Colours are CSS classes of `templates/drawing.css`; their values are in signet/templates/colours.css. So one drawing
follows the light and dark mode of a page, and is also a complete file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

import numpy as np

from signet.terminal.characters import escape_control_characters

Number = float | int

# Distances between the ticks of a time axis, in seconds. An axis has at most 12 intervals.
_TICK_STEPS, _MAX_INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 3600.0), 12


@dataclass(frozen=True)
class Drawing:
    """A drawing for a page or a file."""

    width: float  # pixels
    height: float  # pixels
    body: str  # the elements
    label: str  # what it shows, for screen readers

    def inline(self, classes: str = "") -> str:
        """The drawing as an element of a page."""
        return self._svg(f' class="{classes}"' if classes else "", self.body)

    def file(self) -> bytes:
        """The drawing as a complete file."""
        style = f"<style>{drawing_style()} svg {{ background: var(--paper); }}</style>"
        svg = self._svg(' xmlns="http://www.w3.org/2000/svg" class="drawing"', style + self.body)
        return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'.encode()

    def _svg(self, attributes: str, body: str) -> str:
        width, height = number(self.width), number(self.height)
        return (
            f'<svg{attributes} role="img" aria-label="{_escape_name(self.label)}" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">{body}</svg>'
        )


def element(name: str, content: str = "", **attributes: str | Number) -> str:
    """An element with escaped content. Numbers are rounded as by `number`.

    In the names of attributes, a trailing underscore is dropped and other underscores become dashes.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>"


def _escape_name(name: str) -> str:
    """The name as text of an element. XML does not allow control characters, also not escaped as `&#27;`."""
    return escape(escape_control_characters(name))


def text(x: Number, y: Number, content: str, **attributes: str | Number) -> str:
    """A line of text with its baseline at y. It starts at x, unless its class centres it or ends it there."""
    return element("text", _escape_name(content), x=x, y=y, **attributes)


def with_tooltip(content: str, tooltip: str) -> str:
    """Elements that show a text when the pointer is over them."""
    return element("g", element("title", _escape_name(tooltip)) + content)


def polyline(points: Iterable[Sequence[Number]]) -> str:
    """The attribute `d` of a path through these points; "" for fewer than two points."""
    pairs = [f"{number(x)} {number(y)}" for x, y in points]
    return f"M{'L'.join(pairs)}" if len(pairs) > 1 else ""


def bars(places: Iterable[tuple[Number, Number, Number]], height: Number) -> str:
    """The attribute `d` of a path of bars. Each place is (x, y, width); all bars have the same height."""
    return "".join(
        f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z" for x, y, width in places
    )


def time_axis(x: float, y: float, seconds: float, pixels_per_second: float) -> str:
    """Ticks below y for a time of this length that starts at x."""
    step = next(step for step in _TICK_STEPS if seconds / step <= _MAX_INTERVALS)
    ticks = []
    for tick in np.arange(0, seconds + 1e-6, step):
        at = x + tick * pixels_per_second
        ticks.append(element("line", class_="axis", x1=at, x2=at, y1=y - 4, y2=y))
        ticks.append(text(at, y + 11, f"{tick:g} s", class_="soft middle small"))
    return "".join(ticks)


def number(value: Number) -> str:
    """A number with at most one decimal, in its shortest form."""
    written = f"{value:.1f}"
    return "0" if written == "-0.0" else written.removesuffix(".0")


@cache
def drawing_style() -> str:
    """The style sheet of all drawings: the colours of all pages, and the classes of the elements."""
    colours = files("signet") / "templates/colours.css"
    return colours.read_text() + (files("services.trainer.drawing") / "templates/drawing.css").read_text()
