"""Text that names something: what controls a terminal or is invisible is refused, and words of all scripts pass."""

import pytest

from signet.labels import describe_gloss_fault, describe_label_fault


@pytest.mark.parametrize(
    "text",
    [
        "book", "ice cream", "l'été", "[wh]book", "(to) go", "don't \\ 'know'", "本を読む", "كتاب ספר", "e\u0301",
        "می\u200cخواهم", "क्\u200dष", "ശില്\u200d", "র\u200dয", "👩\u200d👧 🤟🏽", "\U0010ffff\ue000", "50 %", "",
    ],
)  # fmt: skip
def test_words_of_all_scripts_pass(text: str) -> None:
    assert describe_label_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\nINFO forged", "character 2 is U+000A"), ("a\x1b[2J", "U+001B"), ("a\tb", "U+0009"), ("a\0", "U+0000"),
        ("\x7f", "U+007F"), ("\x85", "U+0085"), ("\u2028", "LINE SEPARATOR"), ("a\u202eb", "RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b", "LEFT-TO-RIGHT ISOLATE"), ("a\u200eb", "LEFT-TO-RIGHT MARK"), ("a\u200bb", "ZERO WIDTH SPACE"),
        ("\ufeffa", "ZERO WIDTH NO-BREAK SPACE"), ("a\xadb", "SOFT HYPHEN"), ("\udcff", "U+DCFF"),
        ("\u200dbook", "character 1 is U+200D"), ("bo\u200cok", "character 3 is U+200C"),
        ("本\u200d\u200d", "3 is U+200D"),
        ("a\U000e0041", "TAG LATIN CAPITAL LETTER A"),
    ],
)  # fmt: skip
def test_control_characters_and_invisible_ones_are_named(text: str, named: str) -> None:
    assert named in describe_label_fault(text)


def test_a_gloss_has_at_most_1000_characters() -> None:
    assert describe_gloss_fault("x" * 1000) == ""
    assert describe_gloss_fault("x" * 1001) == "it has 1001 characters; at most 1000 are allowed"
