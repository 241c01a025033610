"""Lines, tables and bars show names as plain text: on a terminal, in a pipe, in any encoding, however narrow."""

import io
import re
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.console import Console

from signet.errors import Unavailable
from signet.terminal import output
from signet.terminal.characters import prepare_streams
from signet.terminal.output import TableColumn, bar, print_line, print_table, progress_bar, say

NAMES = ("[wh]book", "drink[/]", "[/]", "[link=x]y", ":smile:", "http://x/[0]", "1.5", "{name}", "本", "a" * 1000)
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _console(encoding: str = "utf-8", *, terminal: bool = False, width: int = 80) -> tuple[Console, BytesIO]:
    raw = BytesIO()
    file = TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\n", write_through=True)
    return Console(file=file, force_terminal=terminal, width=width, emoji=True, markup=True, highlight=True), raw


def _text(raw: BytesIO, encoding: str = "utf-8") -> str:
    return ANSI.sub("", raw.getvalue().decode(encoding))


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_a_gloss_with_square_brackets_is_printed_as_it_is(name: str, terminal: bool) -> None:
    console, raw = _console(terminal=terminal)
    say(console, name, "bold")
    print_line(console, f"gloss {name}")
    print_table(console, [TableColumn(name, whole=True)], [[name], ["[b] [/b]"]])
    printed = "".join(_text(raw).replace("─", "").split())
    assert printed == f"{name}gloss{name}{name}{name}[b][/b]"


def test_names_do_not_change_colours_links_or_the_number_of_lines() -> None:
    console, raw = _console(terminal=True)
    print_line(console, "http://example.org 12 'x' \x1b[31mred\x1b]8;;http://evil\x07 two\nlines \x1b[2J")
    written = raw.getvalue().decode()
    assert "\x1b" not in written
    assert written.count("\n") == 1
    assert "two\\nlines" in written


def test_a_long_line_is_not_broken_and_a_long_word_is_not_cut() -> None:
    console, raw = _console(terminal=True, width=20)
    print_line(console, "path /" + "x" * 100)
    assert _text(raw) == "path /" + "x" * 100 + "\n"
    console, raw = _console(terminal=True, width=20)
    say(console, "gloss " + "y" * 100)
    assert _text(raw).count("y") == 100


def test_wide_characters_keep_the_columns_of_a_table_in_line() -> None:
    console, raw = _console()
    print_table(console, [TableColumn("gloss"), TableColumn("n", "right")], [["本本", "1"], ["book", "2"]])
    assert _text(raw).splitlines() == ["gloss  n", "本本   1", "book   2"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "shift_jis", "utf-8"])
@pytest.mark.parametrize("terminal", [False, True])
def test_output_that_is_not_utf_8_falls_back_to_ascii(encoding: str, terminal: bool) -> None:
    console, raw = _console(encoding, terminal=terminal)
    rows = [["本\udcff", bar(0.5)], ["naïve", bar(0.51)]]
    print_table(console, [TableColumn("gloss – ± …"), TableColumn("")], rows)
    say(console, "7 ± 1 … – 本")
    shown = _text(raw, encoding)
    assert ("█" if encoding == "utf-8" else "#") * 12 in shown
    assert "\\udcff" in shown
    assert ("本" if encoding in {"utf-8", "shift_jis"} else "\\u672c") in shown


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_progress_bar_shows_plain_text_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console, raw = _console(encoding, terminal=True)
    columns = (output.SpinnerColumn(), "{task.description}", output.BarColumn(), "{task.fields[name]}")
    monkeypatch.setattr("sys.stdout", console.file)
    prepare_streams()
    with progress_bar(console, *columns, transient=False) as progress:
        progress.add_task("[wh]book \x1b[2J", total=2, completed=1, name="本 {x}")
    assert "[wh]book \\x1b[2J" in _text(raw, encoding)
    assert "{x}" in _text(raw, encoding)


def test_a_full_disk_is_one_error_that_names_standard_output() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        console = Console(file=full)
        with pytest.raises(Unavailable, match=r"standard output cannot be written \(No space left on device\)"):
            say(console, "x")
        with pytest.raises(Unavailable, match="standard output"):
            print_table(console, [TableColumn("a")], [["b"]])
        output.discard_output(full)


def test_an_error_is_one_line_and_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    output.say_error("[wh] a\nb \x1b[31m")
    assert shown.getvalue() == "[wh] a\\nb \\x1b[31m\n"
    monkeypatch.setattr("sys.stderr", None)
    output.say_error("nobody sees this")
