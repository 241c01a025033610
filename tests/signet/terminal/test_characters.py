"""Names are written as they are, but cannot control a terminal."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from signet.terminal.characters import encodable, escape_control_characters, prepare_streams

KEPT = (
    "book", "[wh]book", "drink[/]", "[bold]x[/bold]", "[red", "]", ":smile:", "{0}", "%s", "a\\b", "C:\\clips", "'\"`",
    "naïve", "शब्द", "كتاب", "ספר", "本", "🤟🏽", "👩‍👧", "e\u0301", "می‌خواهم", "$x^2$", "<b>", "&amp;",
)  # fmt: skip
ESCAPED = {
    "a\nb": "a\\nb", "a\tb": "a\\tb", "\r": "\\r", "\0": "\\x00", "\x1b[31mred": "\\x1b[31mred", "\x9b31m": "\\x9b31m",
    "\x07": "\\x07", "\x7f": "\\x7f", "a\u2028b": "a\\u2028b", "\u202egnp": "\\u202egnp", "a\u200bb": "a\\u200bb",
    "\ufeffa": "\\ufeffa", "\udcff": "\\udcff", "\U000e0041": "\\U000e0041", "\u2066a": "\\u2066a",
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_name_is_written_as_it_is(name: str) -> None:
    assert escape_control_characters(name) == name


@pytest.mark.parametrize("name", ESCAPED, ids=ascii)
def test_a_character_that_controls_a_terminal_is_escaped(name: str) -> None:
    assert escape_control_characters(name) == ESCAPED[name]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "koi8-r", "shift_jis", "idna", "rot13"])
def test_every_text_can_be_written_in_every_encoding(encoding: str) -> None:
    for text in (*KEPT, *ESCAPED, "███▌ 79–89 % ± 1 … ⠋ ─│╭"):
        written = encodable(escape_control_characters(text), encoding)
        assert written.isprintable() or written == escape_control_characters(text)
        if encoding not in {"idna", "rot13"}:
            written.encode(encoding)


def test_our_own_characters_fall_back_to_ascii_and_data_are_escaped() -> None:
    assert encodable("go ██▌ 0.5", "ascii") == "go ### 0.5"
    assert encodable("go ██▌ 79–89 ± 1", "cp1252") == "go ### 79–89 ± 1"
    assert encodable("79–89 ± 1…", "ascii") == "79-89 +- 1..."
    assert encodable("本 naïve", "cp1252") == "\\u672c naïve"


def test_standard_output_and_error_write_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, TextIOWrapper(written, encoding="cp1252", errors="strict", newline="\n"))
    prepare_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.write("█本\udcff\n")
        stream.flush()
    assert written.getvalue() == b"#\\u672c\\udcff\n" * 2
