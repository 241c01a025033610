"""The gloss error rate, on sequences that can be checked by hand."""

from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signet.statistics.gloss_errors import GlossErrors, gloss_errors

sequences = st.lists(st.sampled_from("abc"), max_size=5)


@pytest.mark.parametrize(
    ("signed", "recognised", "edits"),
    [
        ("book go drink", "book go drink", (0, 0, 0)),
        ("book go drink", "book who drink", (1, 0, 0)),
        ("book go drink", "book drink", (0, 1, 0)),
        ("book go drink", "book go go drink", (0, 0, 1)),
        ("book go drink", "", (0, 3, 0)),
        ("", "book", (0, 0, 1)),
        ("book go drink", "go drink book", (0, 1, 1)),
        ("book go", "go who", (2, 0, 0)),
        ("book book", "book", (0, 1, 0)),
    ],
)
def test_errors_are_those_counted_by_hand(signed: str, recognised: str, edits: tuple[int, int, int]) -> None:
    errors = gloss_errors(signed.split(), recognised.split())
    assert (errors.substitutions, errors.deletions, errors.insertions) == edits
    assert errors.signed == len(signed.split())


def test_counts_of_sequences_add_up_and_the_rate_is_errors_per_signed_gloss() -> None:
    total = sum((gloss_errors("abc", "abd"), gloss_errors("ab", "")), GlossErrors())
    assert total == GlossErrors(substitutions=1, deletions=2, insertions=0, signed=5)
    assert total.rate == 3 / 5
    assert gloss_errors("a", "abc").rate == 2
    assert isnan(GlossErrors().rate)


def _distance(one: list[str], other: list[str]) -> int:
    """Levenshtein's distance by its definition."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        _distance(one[1:], other[1:]) + (one[0] != other[0]),
        _distance(one[1:], other) + 1,
        _distance(one, other[1:]) + 1,
    )


@given(sequences, sequences)
@settings(max_examples=100, deadline=None)
def test_the_number_of_edits_is_minimal_and_fits_the_lengths(signed: list[str], recognised: list[str]) -> None:
    errors = gloss_errors(signed, recognised)
    assert errors.substitutions + errors.deletions + errors.insertions == _distance(signed, recognised)
    assert len(recognised) - len(signed) == errors.insertions - errors.deletions
