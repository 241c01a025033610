"""What a stream finds in a sequence."""

import pytest

from signet.landmarks.concatenation import SignedSpan
from signet.statistics.gloss_errors import GlossErrors
from signet.streaming import FinalSign
from signet.streaming.evaluation.findings import count_reaching, error_rate, match, overlap, rate_interval
from signet.streaming.evaluation.streams import FoundSign


def found(gloss: str, start: float = 0.0, end: float = 1.0) -> FoundSign:
    sign = FinalSign(
        number=0,
        gloss=gloss,
        probability=1.0,
        alternatives=(),
        start=start,
        end=end,
        vocabulary_score=None,
        rejected=False,
    )
    return FoundSign(sign, end)


def spans(glosses: str) -> list[SignedSpan]:
    return [SignedSpan(gloss, float(number), number + 0.8) for number, gloss in enumerate(glosses)]


@pytest.mark.parametrize(
    ("signed", "recognised", "right"),
    [
        ("abc", "abc", "abc"),
        ("abc", "ac", "ac"),
        ("abc", "axbc", "abc"),
        ("abc", "xyz", ""),
        ("aa", "a", "a"),
        ("", "a", ""),
    ],
)
def test_right_signs_are_those_of_an_alignment_with_the_fewest_errors(signed: str, recognised: str, right: str) -> None:
    pairs = match(spans(signed), [found(gloss) for gloss in recognised])
    assert "".join(span.gloss for span, _ in pairs) == right
    assert all(span.gloss == each.sign.gloss for span, each in pairs)


def test_the_overlap_is_intersection_over_union() -> None:
    assert overlap(SignedSpan("a", 1.0, 2.0), found("a", 1.5, 3.0).sign) == pytest.approx(0.25)
    assert overlap(SignedSpan("a", 1.0, 2.0), found("a", 4.0, 5.0).sign) == 0


def test_an_interval_contains_the_rate_and_that_of_no_difference_is_zero() -> None:
    errors = [GlossErrors(substitutions=number % 3, signed=5) for number in range(30)]
    low, high = rate_interval(errors)
    assert low < error_rate(errors) < high
    assert rate_interval(errors, errors) == (0.0, 0.0)


def test_the_scores_that_reach_a_threshold_are_counted_and_equal_ones_reach_it() -> None:
    assert count_reaching([0.2, 0.5, 0.5, 0.9], [0.0, 0.5, 0.6, 1.0]) == [4, 3, 1, 0]
    assert count_reaching([], [0.0, 0.5]) == [0, 0]
