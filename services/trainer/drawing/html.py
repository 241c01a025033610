"""How pages are made: templates, and how figures are set in them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from services.trainer.drawing import svg
from services.trainer.drawing.svg import Drawing

# A narrow space that does not break, as it is set between a figure and its unit.
_NARROW = "\u202f"

_CODE = r'<code class="flag">\g<0></code>'


def render(template: str, **context: object) -> str:
    """A page that needs nothing else: no script, no font, no picture from outside."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("services.trainer.drawing"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, points=points, interval=interval, figure=_figure, value=_value, count=count, typeset=_typeset
    )
    environment.globals.update(look=lambda: Markup(svg.look()), now=lambda: datetime.now(UTC))  # noqa: S704  (ours)
    return environment


def percent(share: float) -> str:
    """A share as whole per cent."""
    return f"{100 * share:.0f}{_NARROW}%"


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{'−' if share < 0 else '+'}{abs(100 * share):.1f}"


def interval(ends: Sequence[float]) -> str:
    """An interval of shares."""
    low, high = ends
    return f"{100 * low:.0f}–{100 * high:.0f}{_NARROW}%"


def count(value: float) -> str:
    """A count of clips, or the mean of several."""
    return f"{value:.1f}".removesuffix(".0")


def _typeset(prose: str) -> Markup:
    """Plain prose with its units tied to their figures, and with flags and commands as what one types."""
    tied = re.sub(r"(?<=\d) (?=%)", _NARROW, str(escape(prose)))
    flags = re.sub(r"(?<![\w-])--[a-z][a-z-]*(?: (?:\d[\d.]*|ensemble|first|competition|sgd|val))?", _CODE, tied)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", flags))  # noqa: S704  (escaped above)


def _figure(drawing: Drawing, classes: str = "drawing") -> Markup:
    """A drawing in a page. Its text was escaped where it was drawn."""
    return Markup(drawing.inline(classes))  # noqa: S704


def _value(value: object) -> str:
    """A setting as it is written on the command line; a dash for one that nobody set."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
