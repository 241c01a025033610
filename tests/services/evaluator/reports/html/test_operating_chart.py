"""The operating curve: positions of its points, and which charts are drawn."""

from typing import Any

import pytest

from services.evaluator.reports.continuous_figures import ContinuousSigning, FalseAlarms, OperatingPoint
from services.evaluator.reports.html.operating_chart import draw_operating_charts, list_alarm_sources, list_points

CURVE = (
    OperatingPoint(threshold=0.0, found=0.8, on_silence=0.0, on_other_signs=30.0),
    OperatingPoint(threshold=0.37, found=0.75, on_silence=0.0, on_other_signs=12.0),
    OperatingPoint(threshold=0.45, found=0.7, on_silence=0.0, on_other_signs=6.0),
    OperatingPoint(threshold=0.9, found=0.1, on_silence=0.0, on_other_signs=0.0),
)


def signing(**changes: Any) -> ContinuousSigning:
    material = FalseAlarms(clips=20, seconds=120.0, alarms=24, a_minute=12.0)
    fields = {"clips": 20, "of_clips": 20, "silence": material, "other_signs": material, "threshold": 0.37}
    return ContinuousSigning.model_validate({**fields, "signs": 60, "curve": CURVE, **changes})


def test_a_point_is_drawn_at_its_rate_and_its_share_and_the_chosen_one_is_marked() -> None:
    (chart,) = draw_operating_charts(signing())
    assert chart.name == "other signs", "there are no alarms on silence, so it has no curve"
    assert [label for _, label in chart.ticks] == ["0", "20", "40"]
    positions = [(mark.x, mark.y) for mark in chart.marks]
    assert positions == [pytest.approx(place) for place in ((180, 48), (72, 60), (36, 72), (0, 216))]
    assert [mark.chosen for mark in chart.marks] == [False, True, False, False]
    assert chart.marks[1].title == "Threshold 0.37: 75\u202f% found, 12.0 false alarms a minute"


def test_without_a_threshold_the_point_at_which_nothing_is_rejected_is_marked() -> None:
    (chart,) = draw_operating_charts(signing(threshold=None))
    assert [mark.chosen for mark in chart.marks] == [True, False, False, False]


def test_the_table_has_some_thresholds_and_the_chosen_one() -> None:
    assert [point.threshold for point in list_points(signing())] == [0.0, 0.37, 0.9]


def test_what_was_not_measured_has_neither_a_chart_nor_a_column() -> None:
    curve = [point.model_copy(update={"on_other_signs": None}) for point in CURVE]
    made = signing(curve=curve)
    assert [name for name, _ in list_alarm_sources(made)] == ["silence"]
    assert draw_operating_charts(made) == ()
    assert list_alarm_sources(signing(curve=())) == ()
