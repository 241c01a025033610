"""Tables on the console: drawn on a terminal, aligned text in a file or a pipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_BAR_CELLS = 24
# Wider than any table, to measure the width that a table needs.
_UNBOUNDED = 10_000
# The last cell of a bar has one of eight widths.
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class TableColumn:
    """A column's heading and layout."""

    name: str
    align: Literal["left", "right"] = "left"
    style: str = ""
    whole: bool = False  # never broken into two lines, so that a person can copy it
    optional: bool = False  # left out if the terminal is too narrow; the last optional column first


def print_table(console: Console, columns: Sequence[TableColumn], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings. Cells are plain text, not markup."""
    if console.is_terminal:
        shown = list(range(len(columns)))
        unbounded = console.options.update(max_width=_UNBOUNDED)
        while console.measure(table := _draw(columns, rows, shown), options=unbounded).maximum > console.width:
            optional = [index for index in shown if columns[index].optional]
            if not optional:
                break
            shown.remove(optional[-1])
        console.print(table)
        return
    cells = [[column.name for column in columns], *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        say(console, line.rstrip())


def _draw(columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], shown: Sequence[int]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for index in shown:
        column = columns[index]
        table.add_column(column.name, justify=column.align, style=column.style, overflow="fold", no_wrap=column.whole)
    for row in rows:
        table.add_row(*(Text(row[index]) for index in shown))
    return table


def say(console: Console, text: str, style: str = "") -> None:
    """Print one paragraph of plain text. Lines are broken only on a terminal."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def bar(share: float) -> str:
    """A bar of block characters for a share, 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * _BAR_CELLS * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
