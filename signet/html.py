"""The Jinja environment of all HTML pages, and how figures are written in them.

Only the services that make pages import this module: jinja2 is a dependency of their extras, not of the library.
"""

import re
from collections.abc import Sequence

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from signet.terminal.characters import escape_control_characters

# A narrow no-break space stands between a figure and its unit.
NARROW_SPACE = "\u202f"

_CODE = r'<code class="flag">\g<0></code>'


def page_environment(package: str) -> Environment:
    """An environment for the templates of a package, in its folder `templates`, and for the styles of all pages.

    Values are escaped, also their control characters, a name that is not defined is an error, and the filters
    `percent`, `interval` and `typeset` are there. A page adds its own filters.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("signet")]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_escape_data,
    )  # fmt: skip
    environment.filters.update(percent=percent, interval=interval, typeset=typeset)
    return environment


def _escape_data(value: object) -> object:
    """Escape control characters of a text, as on a terminal: a browser would drop, or obey, them."""
    return escape_control_characters(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def percent(share: float) -> str:
    """A share as whole per cent."""
    return f"{100 * share:.0f}{NARROW_SPACE}%"


def interval(ends: Sequence[float]) -> str:
    """An interval of shares as whole per cent."""
    low, high = ends
    return f"{100 * low:.0f}–{100 * high:.0f}{NARROW_SPACE}%"


def typeset(prose: str) -> Markup:
    """Escape plain prose; tie each unit to its figure; mark flags, and text in backticks, as code."""
    tied = re.sub(r"(?<=\d) (?=%)", NARROW_SPACE, str(escape(escape_control_characters(prose))))
    flags = re.sub(r"(?<![\w-])--[a-z][a-z-]*(?: (?:\d[\d.]*|ensemble|first|competition|sgd|val))?", _CODE, tied)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", flags))  # noqa: S704  (escaped above)
