"""Lines, tables and progress bars. Their text is plain: brackets, emoji codes and control characters mean nothing."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from signet.errors import Unavailable
from signet.terminal.characters import encodable, escape_control_characters

__all__ = [
    "BarColumn",
    "Console",
    "Group",
    "Live",
    "MofNCompleteColumn",
    "Progress",
    "RenderableType",
    "SpinnerColumn",
    "TableColumn",
    "TextTable",
    "TimeElapsedColumn",
    "TimeRemainingColumn",
    "bar",
    "discard_output",
    "open_console",
    "plain_text",
    "print_line",
    "print_table",
    "progress_bar",
    "say",
    "say_error",
]

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


# The columns of a table, and its rows of cells.
TextTable = tuple[list[TableColumn], list[list[str]]]


def open_console(*, stderr: bool = False, min_width: int = 0) -> Console:
    """Standard output, or standard error. A terminal that is narrower than `min_width` wraps the lines itself."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    console.width = max(console.width, min_width)
    return console


def say(console: Console, text: str, style: str = "") -> None:
    """Print one paragraph of plain text. On a terminal, lines are broken between words.

    Raises:
        Unavailable: the output cannot be written, for example because the disk is full.
    """
    with _explain_failed_writes("standard output"):
        console.print(plain_text(console, text, style), soft_wrap=not console.is_terminal)


def print_line(console: Console, text: str) -> None:
    """Print one line of plain text, which is never broken, so that a person can copy it.

    Raises:
        Unavailable: the output cannot be written, for example because the disk is full.
    """
    with _explain_failed_writes("standard output"):
        console.print(plain_text(console, text), soft_wrap=True)


def say_error(text: str) -> None:
    """Print one line of plain text to standard error, and nothing if that cannot be written."""
    stream = sys.stderr
    if stream is None:
        return
    line = encodable(escape_control_characters(text), stream.encoding or "ascii")
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except (OSError, ValueError):
        discard_output(stream)


def print_table(console: Console, columns: Sequence[TableColumn], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings: drawn on a terminal, aligned text in a file or a pipe. Cells are plain text.

    Raises:
        Unavailable: the output cannot be written, for example because the disk is full.
    """
    if console.is_terminal:
        shown = list(range(len(columns)))
        unbounded = console.options.update(max_width=_UNBOUNDED)
        while console.measure(table := _draw(console, columns, rows, shown), options=unbounded).maximum > console.width:
            optional = [index for index in shown if columns[index].optional]
            if not optional:  # then even whole columns are broken: nothing is cut off
                table = _draw(console, [replace(column, whole=False) for column in columns], rows, shown)
                break
            shown.remove(optional[-1])
        with _explain_failed_writes("standard output"):
            console.print(table)
        return
    cells = [[plain_text(console, cell).plain for cell in row] for row in ([column.name for column in columns], *rows)]
    widths = [max(cell_len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        line = "  ".join(
            " " * (width - cell_len(cell)) + cell if column.align == "right" else cell + " " * (width - cell_len(cell))
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        say(console, line.rstrip())


def progress_bar(console: Console, *columns: str | ProgressColumn, transient: bool = True) -> Progress:
    """A progress bar, which is shown on a terminal only.

    Args:
        console: where it is shown.
        columns: its parts; a string is a format of plain text, such as "{task.description}".
        transient: whether it disappears at its end.
    """
    shown = [_PlainTextColumn(column) if isinstance(column, str) else column for column in columns]
    return Progress(*shown, console=console, transient=transient, disable=not console.is_terminal)


def bar(share: float) -> str:
    """A bar of block characters for a share, 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * _BAR_CELLS * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def discard_output(stream: TextIO | None) -> None:
    """Discard what a stream could not write. Otherwise Python tries again at exit, and fails with a traceback."""
    try:
        if stream is not None:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    except (OSError, ValueError):  # a stream without a file, as in tests: there is nothing to write at exit
        return


class _PlainTextColumn(ProgressColumn):
    """A part of a progress bar that shows data of the task as plain text."""

    def __init__(self, text_format: str) -> None:
        super().__init__()
        self._format = text_format

    def render(self, task: Task) -> Text:
        """The text of a task."""
        return Text(escape_control_characters(self._format.format(task=task)), no_wrap=True)


def plain_text(console: Console, text: str, style: str = "") -> Text:
    """A text to draw, without control characters and what the console's encoding lacks."""
    return Text(encodable(escape_control_characters(text), console.encoding), style=style)


def _draw(
    console: Console, columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], shown: Sequence[int]
) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for index in shown:
        column = columns[index]
        table.add_column(
            plain_text(console, column.name), justify=column.align, style=column.style, overflow="fold",
            no_wrap=column.whole,
        )  # fmt: skip
    for row in rows:
        table.add_row(*(plain_text(console, row[index]) for index in shown))
    return table


@contextmanager
def _explain_failed_writes(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        discard_output(sys.stdout)
        raise Unavailable(f"{name} cannot be written ({error.strerror}). Write it to another place.") from error
