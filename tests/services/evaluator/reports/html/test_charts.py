"""Drawings put their marks where the figures are."""

import itertools

import pytest

from services.evaluator.reports.html.charts import reliability_diagram, signer_strip
from services.evaluator.reports.report import CalibrationBin, CalibrationFigures, Proportion, SignerResult, SignerSpread


def test_a_bin_is_drawn_at_what_it_says_and_how_often_it_is_right() -> None:
    bins = [
        CalibrationBin(low=0.0, high=0.5, confidence=0.25, right=Proportion(correct=1, n=4)),
        CalibrationBin(low=0.5, high=1.0, confidence=0.75, right=Proportion(correct=16, n=16)),
    ]
    empty = CalibrationBin(low=0.5, high=1.0, confidence=0.0, right=Proportion(correct=0, n=0))
    diagram = reliability_diagram(
        CalibrationFigures(expected_error=0.2, negative_log_likelihood=1, brier=0.5, bins=(*bins, empty))
    )
    low, high = diagram.marks
    assert (low.x, low.y) == pytest.approx((0.25 * diagram.side, 0.75 * diagram.side)), "on the diagonal"
    assert (high.x, high.y) == pytest.approx((0.75 * diagram.side, 0.0)), "above it"
    assert low.high < low.y < low.low, "the interval is around the dot, upwards on the page"
    assert high.radius == 2 * low.radius, "four times the clips, four times the area"
    assert high.bar_height > low.bar_height
    assert low.title == "Probability 25 %, right in 1 of 4"


def test_signers_of_one_accuracy_stand_above_one_another() -> None:
    results = [(3, 4), (3, 4), (6, 8), (4, 4), (0, 3), (20, 30)]
    spread = SignerSpread(
        least_clips=3,
        signers=tuple(
            SignerResult(signer=str(index), recognised=Proportion(correct=correct, n=n))
            for index, (correct, n) in enumerate(results)
        ),
        minimum=0,
        median=0.75,
        maximum=1,
        rare_signers=0,
        rare_clips=0,
        unknown_clips=0,
    )
    strip = signer_strip(spread, 0.7)
    assert len(strip.marks) == len(results)
    for one, other in itertools.combinations(strip.marks, 2):
        apart = ((one.x - other.x) ** 2 + (one.y - other.y) ** 2) ** 0.5
        assert apart >= one.radius + other.radius
    for mark in strip.marks:
        assert mark.y - mark.radius >= 0
        assert mark.y + mark.radius <= strip.height + 1e-9
    assert (
        len({round(mark.x, 6) for mark in strip.marks if mark.title.startswith(("Signer 0", "Signer 1", "Signer 2"))})
        == 1
    )
