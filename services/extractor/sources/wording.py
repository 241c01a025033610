"""Words for notes and errors about many files."""

from collections.abc import Sequence

# The number of names that a message lists.
_MOST_NAMED = 5


def count(items: Sequence[object], noun: str) -> str:
    """The number of items with their noun."""
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def name_some(items: Sequence[object], separator: str = ", ") -> str:
    """The items, or the first of them if there are many."""
    more = len(items) - _MOST_NAMED
    return separator.join(map(str, items[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
