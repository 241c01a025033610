"""How pages are made: templates, and how figures are set in them."""

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from services.trainer.drawing import svg
from services.trainer.drawing.svg import Drawing
from signet.html import page_environment


def render(template: str, **context: object) -> str:
    """A page that needs nothing else: no script, no font, no picture from outside."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = page_environment("services.trainer.drawing")
    environment.filters.update(points=points, figure=_figure, value=_value, count=count)
    environment.globals.update(look=lambda: Markup(svg.look()), now=lambda: datetime.now(UTC))  # noqa: S704  (ours)
    return environment


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{'−' if share < 0 else '+'}{abs(100 * share):.1f}"


def count(value: float) -> str:
    """A count of clips, or the mean of several."""
    return f"{value:.1f}".removesuffix(".0")


def _figure(drawing: Drawing, classes: str = "drawing") -> Markup:
    """A drawing in a page. Its text was escaped where it was drawn."""
    return Markup(drawing.inline(classes))  # noqa: S704


def _value(value: object) -> str:
    """A setting as it is written on the command line; a dash for one that nobody set."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
