r"""Which characters are written as they are, and which are escaped: `\n`, `\x1b`, `\udcff`.

Names come from files that anybody can write. An unescaped line break forges a line of a log, an escape sequence moves
the cursor or changes colours, and a bidirectional override shows a name in another order than it has.
"""

import codecs
import sys
import unicodedata
from io import TextIOWrapper

# Control characters, invisible formatting (bidirectional overrides, zero width), lone surrogates (bytes of a file name
# that are not UTF-8), and the line and paragraph separators.
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# These two join letters and emoji. They cannot move or hide anything else.
JOINERS = frozenset("\u200c\u200d")

# What stands for our own characters on a terminal whose encoding lacks them.
_ASCII = {
    "–": "-", "—": "-", "−": "-", "±": "+-", "…": "...", "·": ".", "×": "x", "→": "->", "≤": "<=", "≥": ">=",
    "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": "", "▎": "", "▏": "",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "•": "*", "\u202f": " ", "\xa0": " ",
}  # fmt: skip
_BOX_DRAWING = range(0x2500, 0x2580)
_BRAILLE = range(0x2800, 0x2900)  # frames of a spinner

_ERRORS = "signet.ascii"


def escape_control_characters(text: str) -> str:
    """The text in one line: characters that control a terminal, hide or reorder text are escaped as Python does it.

    Everything else, such as brackets, quotes, backslashes, emoji and letters of any script, stays as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if is_control(character) else character for character in text)


def is_control(character: str) -> bool:
    """Whether a character controls a terminal, or hides or reorders text."""
    return unicodedata.category(character) in _ESCAPED_CATEGORIES and character not in JOINERS


def encodable(text: str, encoding: str) -> str:
    """The text with ASCII characters for those of our own characters that the encoding lacks, and others escaped."""
    try:
        return text.encode(encoding, _ERRORS).decode(encoding)
    except (LookupError, UnicodeError):  # an encoding that Python cannot write
        return text.encode("ascii", _ERRORS).decode("ascii")


def prepare_streams() -> None:
    """Let no character fail to be written to standard output and standard error, in any encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The error handler of a codec: what is written for the characters that it cannot encode."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_to_ascii, error.object[error.start : error.end])), error.end


def _to_ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if ord(character) in _BOX_DRAWING:
        return "+"
    return "*" if ord(character) in _BRAILLE else _escape(character)


codecs.register_error(_ERRORS, _replace)
