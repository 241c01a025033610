"""The kinds of panel in the dashboards. All have the same look and read the same data source.

Each function that makes a panel takes:

    title    unique in its dashboard
    about    what the panel shows and what is good or bad, for somebody who sees it for the first time
    asks     the queries, one series each
    unit     Grafana's name of the unit
    width    columns, of 24
    empty    what the panel shows while Prometheus has no data for it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    gauge,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat_look
from grafana_foundation_sdk.models import prometheus as query_look

# provisioning/datasources/prometheus.yml sets this uid.
SOURCE = model.DataSourceRef(type_val="prometheus", uid="prometheus")

# The dashboards link to every dashboard with this tag.
TAG = "signet"

GOOD, WARN, BAD, PLAIN = "green", "orange", "red", "blue"

# Colours by value. Each applies from its number on; the first has no number and applies to all smaller values.
Colours = Sequence[tuple[float | None, str]]
_PLAIN: Colours = ((None, PLAIN),)

# The text to print for a value, and its colour.
Words = Mapping[str, tuple[str, str]]

# Heights of panels, in rows of the grid.
_SMALL, _LARGE = 4, 8

_NO_DATA = "no data yet"


@dataclass(frozen=True)
class Ask:
    """One query of a panel: PromQL, and the name of its series. {{label}} in the name stands for the label's value."""

    expression: str
    legend: str = ""


def figure(
    title: str,
    about: str,
    *asks: Ask,
    unit: str,
    width: int,
    empty: str = _NO_DATA,
    colours: Colours = _PLAIN,
    words: Words | None = None,
    latest: bool = False,
) -> Any:
    """Values in large print; with their names if there are several.

    `words` are printed instead of a value. With `latest`, the value is the last one in the chosen time range, and not
    that of its end.
    """
    show = look.BigValueTextMode.VALUE_AND_NAME if len(asks) > 1 else look.BigValueTextMode.VALUE
    panel = _large_print(show).mappings(_mappings(words or {}))
    return _complete(panel, title, about, asks, unit, width, _SMALL, empty, colours, instant=not latest)


def name(title: str, about: str, ask: Ask, *, width: int, empty: str = _NO_DATA) -> Any:
    """The legend of each series in large print, without its value."""
    panel = _large_print(look.BigValueTextMode.NAME)
    return _complete(panel, title, about, (ask,), "none", width, _SMALL, empty, instant=True)


def share(title: str, about: str, ask: Ask, *, width: int) -> Any:
    """A share, as a dial from 0 to 100 %."""
    panel = gauge.Panel().min(0).max(1).reduce_options(_latest())
    return _complete(panel, title, about, (ask,), "percentunit", width, _SMALL, instant=True)


def lines(
    title: str,
    about: str,
    *asks: Ask,
    unit: str,
    width: int,
    empty: str = _NO_DATA,
    limit: float | None = None,
    top: float | None = None,
    join: bool = False,
) -> Any:
    """Series over time, from 0 up.

    Good values stay below `limit`, which is drawn as a dashed line. `top` is the end of the axis, if larger values are
    impossible. `join` connects points across gaps, for values that are measured less often than Prometheus asks.
    """
    panel = (
        timeseries.Panel()
        .min(0)
        .line_width(2)
        .fill_opacity(5)
        .show_points(look.VisibilityMode.NEVER)
        .span_nulls(join)
        .legend(
            common.VizLegendOptions()
            .display_mode(look.LegendDisplayMode.LIST)
            .placement(look.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING))
    )
    if top is not None:
        panel.max(top)
    colours: Colours = ((None, GOOD),)
    if limit is not None:
        colours = ((None, GOOD), (limit, BAD))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(look.GraphThresholdsStyleMode.DASHED))
    panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    return _complete(panel, title, about, asks, unit, width, _LARGE, empty, colours)


def dashed(panel: Any, series: str) -> Any:
    """The same panel of lines, with one series drawn as a limit."""
    style = [
        model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": BAD}),
        model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        model.DynamicConfigValue("custom.fillOpacity", 0),
    ]
    return panel.override_by_name(series, style)


def measured(panel: Any, series: str, unit: str) -> Any:
    """The same panel, with one series in a unit of its own."""
    return panel.override_by_name(series, [model.DynamicConfigValue("unit", unit)])


def bars(
    title: str,
    about: str,
    *asks: Ask,
    unit: str,
    width: int,
    empty: str = _NO_DATA,
    top: float | None = None,
    colours: Colours = _PLAIN,
) -> Any:
    """One bar for each series."""
    panel = (
        bargauge.Panel()
        .orientation(look.VizOrientation.HORIZONTAL)
        .display_mode(look.BarGaugeDisplayMode.BASIC)
        .value_mode(look.BarGaugeValueMode.TEXT)
        .reduce_options(_latest())
        .min(0)
    )
    if top is not None:
        panel.max(top)
    return _complete(panel, title, about, asks, unit, width, _LARGE, empty, colours, instant=True)


def states(title: str, about: str, *asks: Ask, width: int, words: Words, empty: str = _NO_DATA) -> Any:
    """One band for each series, coloured by its value over time."""
    panel = (
        statetimeline.Panel()
        .show_value(look.VisibilityMode.NEVER)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(70)
        .merge_values(True)
        .mappings(_mappings(words))
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    )
    return _complete(panel, title, about, asks, "bool_yes_no", width, _LARGE, empty)


def spread(title: str, about: str, buckets: Ask, *, unit: str, width: int, empty: str = _NO_DATA) -> Any:
    """A histogram over time. A darker cell means more values in that bucket."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat_look.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .exponent(0.5)
            .steps(64)
        )
        .cell_values(heatmap.CellValues().unit("short"))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .scale_distribution(common.ScaleDistributionConfig().type(look.ScaleDistribution.LINEAR))
    )
    form = query_look.PromQueryFormat.HEATMAP
    return _complete(panel, title, about, (buckets,), unit, width, _LARGE, empty, form=form)


def alerts(width: int) -> Any:
    """The number of alerts that fire. Every dashboard has this panel."""
    return figure(
        "Alerts firing",
        "Alerts that fire now, anywhere in Signet; 0 is good. Alerting, in the menu, lists them; each names the part "
        "of docs/operating.md that says what to do.",
        Ask('count(ALERTS{alertstate="firing"}) or vector(0)'),
        unit="short",
        width=width,
        colours=((None, GOOD), (1, BAD)),
    )


def dashboard(
    uid: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[Any]]], variables: Sequence[Any] = ()
) -> Any:
    """A dashboard of titled rows, whose panels fill each line of the grid from the left."""
    board = (
        build.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .time("now-30m", "now")
        .refresh("5s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .variables(list(variables))
        .annotations([])
        .link(build.DashboardLink("Signet").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
    )
    number = 0
    for heading, panels in rows:
        number += 1
        board.with_row(build.Row(heading).id(number))
        for panel in panels:
            number += 1
            board.with_panel(panel.id(number))
    return board.build()


def _complete(
    panel: Any,
    title: str,
    about: str,
    asks: Sequence[Ask],
    unit: str,
    width: int,
    height: int,
    empty: str = _NO_DATA,
    colours: Colours = _PLAIN,
    *,
    instant: bool = False,
    form: str = query_look.PromQueryFormat.TIME_SERIES,
) -> Any:
    """Add what panels of every kind have."""
    for ref, ask in zip(ascii_uppercase, asks, strict=False):
        query = prometheus.Dataquery().ref_id(ref).datasource(SOURCE).expr(ask.expression).format(form)
        query.editor_mode(query_look.QueryEditorMode.CODE)
        if ask.legend:
            query.legend_format(ask.legend)
        panel.with_target(query.instant() if instant else query.range())
    steps = [model.Threshold(value, colour) for value, colour in colours]
    return (
        panel.title(title)
        .description(about)
        .no_value(empty)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(height)
        .thresholds(build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _large_print(show: look.BigValueTextMode) -> Any:
    return (
        stat.Panel()
        .graph_mode(look.BigValueGraphMode.NONE)
        .color_mode(look.BigValueColorMode.VALUE)
        .text_mode(show)
        .reduce_options(_latest())
    )


def _latest() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _mappings(words: Words) -> list[Any]:
    results = {value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()}
    return [model.ValueMap(options=results)] if results else []
