"""SVG as text: elements, numbers and a whole document. Equal drawings give equal bytes.

Colours are classes of `templates/drawing.css`, so that one drawing stands in a page, follows its light and dark, and is
a file of its own as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

Number = float | int


@dataclass(frozen=True)
class Drawing:
    """A drawing, ready to stand in a page or in a file.

    Attributes:
        width: pixels.
        height: pixels.
        body: its elements.
        label: what it shows, for those who cannot see it.
    """

    width: float
    height: float
    body: str
    label: str

    def inline(self, classes: str = "") -> str:
        """As an element of a page."""
        return self._element(f' class="{classes}"' if classes else "", self.body)

    def file(self) -> bytes:
        """As a file that needs nothing else."""
        style = f"<style>{look()} svg {{ background: var(--paper); }}</style>"
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            + self._element(' xmlns="http://www.w3.org/2000/svg" class="drawing"', style + self.body)
            + "\n"
        ).encode()

    def _element(self, more: str, body: str) -> str:
        size = f"{number(self.width)} {number(self.height)}"
        return (
            f'<svg{more} role="img" aria-label="{escape(self.label)}" width="{number(self.width)}" '
            f'height="{number(self.height)}" viewBox="0 0 {size}">{body}</svg>'
        )


def element(name: str, content: str = "", **attributes: str | Number) -> str:
    """An element. Attributes are written without a trailing underscore, and with dashes for underscores.

    Args:
        name: of the element.
        content: elements and escaped text.
        attributes: numbers are rounded as `number` does.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>"


def text(x: Number, y: Number, content: str, **attributes: str | Number) -> str:
    """A line of text that begins, ends or is centred at x, with its baseline at y."""
    return element("text", escape(content), x=x, y=y, **attributes)


def titled(content: str, title: str) -> str:
    """Elements that say something to whoever points at them."""
    return element("g", element("title", escape(title)) + content)


def polyline(points: Iterable[Sequence[Number]]) -> str:
    """The path through these points, for an attribute `d`; "" for less than two."""
    several = [f"{number(x)} {number(y)}" for x, y in points]
    return f"M{'L'.join(several)}" if len(several) > 1 else ""


def cells(places: Iterable[tuple[Number, Number, Number]], height: Number) -> str:
    """Bars from x to x + width at y, all of one height, as one path."""
    return "".join(
        f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z" for x, y, width in places
    )


def number(value: Number) -> str:
    """To a tenth of a pixel, in as few letters as it takes."""
    written = f"{value:.1f}"
    return "0" if written == "-0.0" else written.removesuffix(".0")


@cache
def look() -> str:
    """The style sheet of all drawings."""
    return (files("services.trainer.drawing") / "templates/drawing.css").read_text()
