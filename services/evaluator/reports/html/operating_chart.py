"""The operating curve of continuous signing: positions of its points in pixels; the template draws them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

from services.evaluator.reports.continuous_figures import ContinuousSigning, OperatingPoint
from signet.html import percent

# Width and height of the chart.
_SIDE = 240.0
# The thresholds that the table below the charts lists, with the one that is marked.
_LISTED = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

# With fewer false alarms at the lowest threshold there is no curve to see.
_FEWEST_ALARMS = 10

# A name, and the false alarms a minute at a point of the curve; None if they were not measured.
AlarmSource = tuple[str, Callable[[OperatingPoint], float | None]]


@dataclass(frozen=True)
class PointMark:
    """The dot of one threshold."""

    x: float
    y: float
    title: str
    chosen: bool  # whether it is the threshold of the model's card


@dataclass(frozen=True)
class OperatingChart:
    """Signs found (upwards) against false alarms a minute (to the right)."""

    name: str  # where the false alarms were measured
    side: float
    marks: tuple[PointMark, ...]  # in the order of the curve
    ticks: tuple[tuple[float, str], ...]  # positions on the axis to the right, and their labels


def list_alarm_sources(signing: ContinuousSigning) -> tuple[AlarmSource, ...]:
    """The materials on which false alarms were measured: the name of each, and its rate at a point of the curve."""
    sources: tuple[AlarmSource, ...] = (
        ("other signs", lambda point: point.on_other_signs),
        ("silence", lambda point: point.on_silence),
    )
    return tuple(
        (name, rate_at) for name, rate_at in sources if signing.curve and rate_at(signing.curve[0]) is not None
    )


def draw_operating_charts(signing: ContinuousSigning) -> tuple[OperatingChart, ...]:
    """One chart for each material with enough false alarms."""
    seconds = {
        "other signs": signing.other_signs.seconds if signing.other_signs else 0.0,
        "silence": signing.silence.seconds if signing.silence else 0.0,
    }
    charts = []
    for name, rate_at in list_alarm_sources(signing):
        rates = [rate_at(point) or 0.0 for point in signing.curve]
        if rates[0] * seconds[name] / 60 >= _FEWEST_ALARMS:
            charts.append(_draw(name, signing, rates))
    return tuple(charts)


def list_points(signing: ContinuousSigning) -> tuple[OperatingPoint, ...]:
    """The points that the table has."""
    return tuple(point for point in signing.curve if point is signing.chosen or round(point.threshold, 9) in _LISTED)


def _draw(name: str, signing: ContinuousSigning, rates: Sequence[float]) -> OperatingChart:
    end = _round_up(max(rates))
    marks = tuple(
        PointMark(
            x=rate / end * _SIDE,
            y=(1 - point.found) * _SIDE,
            title=f"Threshold {point.threshold:.2f}: {percent(point.found)} found, {rate:.1f} false alarms a minute",
            chosen=point is signing.chosen,
        )
        for point, rate in zip(signing.curve, rates, strict=True)
    )
    ticks = tuple((share * _SIDE, f"{share * end:g}") for share in (0.0, 0.5, 1.0))
    return OperatingChart(name, _SIDE, marks, ticks)


def _round_up(rate: float) -> float:
    """An end of the axis that is not lower, with one digit that is not 0; at least 1."""
    power = 10.0 ** max(0, floor(log10(max(rate, 1.0))))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= rate)
