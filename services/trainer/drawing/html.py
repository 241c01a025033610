"""The HTML pages of the trainer: the templates of this package, and their filters."""

from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from services.trainer.drawing.svg import Drawing, drawing_style
from signet.html import page_environment


def render(template: str, **context: object) -> str:
    """Render a template of this package. A page loads no script, font or picture from elsewhere."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = page_environment("services.trainer.drawing")
    environment.filters.update(
        points=format_points, count=format_count, setting=_format_setting, inline=_inline, percentage=format_percentage
    )
    environment.globals.update(drawing_style=Markup(drawing_style()), now=lambda: datetime.now(UTC))  # noqa: S704
    return environment


def format_points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{'−' if difference < 0 else '+'}{abs(100 * difference):.1f}"


def format_count(count: float) -> str:
    """A count of clips; the mean of several counts with one decimal."""
    return f"{count:.1f}".removesuffix(".0")


def format_percentage(share: float) -> str:
    """A share in per cent with one decimal, without the sign."""
    return f"{100 * share:.1f}"


def _inline(drawing: Drawing) -> Markup:
    """A drawing as an element. Its text is escaped already."""
    return Markup(drawing.inline("drawing"))  # noqa: S704


def _format_setting(value: object) -> str:
    """A setting as on the command line; a dash for one that is not set."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
