"""Names that nobody expects, for the tests that give them to every command and every call."""

import re

NAMES = (
    "[wh]book", "drink[/]", "a\nrun forged\t", "", ".", "../../etc/passwd", "a//b", "-x", "--help", "~", "a" * 1000,
    "本" * 1000, "%s%n%00%2e", "{0}{name}", "\u202egnp\ufeff", "e\u0301🤟🏽👩‍👧", "كتاب ספר", "\udcff\udc80",
    "\x1b[31mred\x1b[2J\r\x85\u2028", "CON", "a:b\\c*?", "'\"`$(id)", "$x^2$", "<script>alert(1)</script>&amp;",
    "latest", " ", " lead and trail ", "[", "[]", "[red]x[/red]", "\\[x]", ":smile:", "a'b", 'say "a"', "null", "NaN",
    "00123", "-1", "1e999", "..", "/", "/dev/null", "a/../b", "name.", "~root", "~nobody-here/x", "%2e%2e%2f",
    "{{ 7 * 7 }}", "${HOME}", "file:x", "http://[", "s3://b/k", "a=b&c", "*", "#frag", "\\\\server\\share", "a,b;c",
    "=1+1", "a" * 129, "a" * 256, "é" * 128, "\u2066rtl\u2069\u200b", "ﷺİßK", "\U0010ffff\uffff\ue000", "\r\n",
)  # fmt: skip

# Names that UTF-8 can write, and one that no command line can have.
TEXTS = (*(name for name in NAMES if "\udcff" not in name), "a\0b")

# What no output has: control characters, and those that reorder or hide text. A line feed ends a line.
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\u2066\u2069\ufeff\udc80-\udfff]")


# Glosses are any text without such characters that the header of a landmark tensor has room for. White space around a
# gloss does not count.
_STRIPPED = tuple(dict.fromkeys(name[:300].strip() for name in TEXTS if name.strip()))
REFUSED_GLOSSES = tuple(name for name in _STRIPPED if CONTROLS.search(name) or "\n" in name)
GLOSSES = (
    *(name for name in _STRIPPED if name not in REFUSED_GLOSSES),
    "می\u200cخواهم", "क्\u200dष", "ശില്\u200d", "l'été", "(to) go", "ice cream",
)  # fmt: skip


def choose(place: int, names: tuple[str, ...] = NAMES, parts: int = 4) -> tuple[str, ...]:
    """A part of the names. Places that follow one another get different parts, and together all names."""
    return names[place % parts :: parts]
