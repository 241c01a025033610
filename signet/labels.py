"""The rule for glosses and for all other text that names something: which characters it cannot have.

The rule holds where such text enters: in requests, in metadata, and in objects of the store. What it refuses is what
`signet.terminal.characters` escapes: a line break forges a line of a log, and a bidirectional override shows a name in
another order than it has.
"""

import unicodedata

from signet.terminal.characters import JOINERS, is_control

# The longest gloss. A model's card accepts no longer one.
MAX_GLOSS_CHARACTERS = 1000


def describe_label_fault(text: str) -> str:
    """Why a text cannot name anything; "" if it can.

    Letters of all scripts, marks, spaces, punctuation and emoji are allowed. A joiner (U+200C, U+200D) is allowed after
    a visible character outside ASCII: Persian and Indic words and emoji need it there, and elsewhere it is invisible.
    """
    if text.isascii() and text.isprintable():
        return ""
    before = ""
    for position, character in enumerate(text, start=1):
        refused = before.isascii() or before in JOINERS if character in JOINERS else is_control(character)
        if refused:
            name = unicodedata.name(character, "a control character")
            return f"character {position} is U+{ord(character):04X} ({name}), which is invisible or controls a terminal"
        before = character
    return ""


def describe_gloss_fault(gloss: str) -> str:
    """Why a text cannot be a gloss; "" if it can."""
    if len(gloss) > MAX_GLOSS_CHARACTERS:
        return f"it has {len(gloss)} characters; at most {MAX_GLOSS_CHARACTERS} are allowed"
    return describe_label_fault(gloss)
