"""The dashboards are current, can be loaded, explain their panels, and query existing metrics only."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import extraction, serving, training
from deploy.grafana.build import FOLDER, dashboards
from deploy.grafana.queries import metrics, queries
from tests.conftest import ROOT

NAMES = ("training", "extraction", "serving")
UNITS = {"percentunit", "s", "bytes", "celsius", "watt", "hertz", "reqps", "short", "none", "bool_yes_no"}


def _board(name: str) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return board


def _panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in _board(name)["panels"] if panel["type"] != "row"]


def _exposed() -> set[str]:
    """Every series name that Prometheus can have from the services."""
    names = set()
    for kind, metric in re.findall(
        r"^(\w+) +(\w+)\{", (ROOT / "deploy/prometheus/metrics.txt").read_text(), re.MULTILINE
    ):
        names |= {f"{metric}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {metric}
    return names


def _recorded() -> set[str]:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/recording.yml").read_text())
    return {rule["record"] for group in rules["groups"] for rule in group["rules"]}


def test_the_stored_dashboards_are_current() -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert kept == dashboards(), "run `python -m deploy.grafana.build`"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_survives_the_sdk_unchanged(name: str) -> None:
    register_default_plugins()
    loaded = Dashboard.from_json(_board(name))
    assert json.loads(json.dumps(loaded, cls=JSONEncoder)) == _board(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_the_common_settings(name: str) -> None:
    board = _board(name)
    assert board["uid"] == f"signet-{name}"
    assert board["tags"] == ["signet"]
    assert board["time"] == {"from": "now-30m", "to": "now"}
    assert (board["refresh"], board["timezone"], board["graphTooltip"]) == ("5s", "browser", 1)
    assert [(link["type"], link["tags"], link["keepTime"]) for link in board["links"]] == [
        ("dashboards", ["signet"], True)
    ]
    assert "id" not in board, "Grafana gives it"


@pytest.mark.parametrize("name", NAMES)
def test_titles_and_ids_are_unique(name: str) -> None:
    panels = _board(name)["panels"]
    for field in ("title", "id"):
        counts = Counter(panel[field] for panel in panels)
        assert [value for value, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in _board(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]
    # Every line of the grid is full: no panel is alone beside a hole.
    assert len(taken) == 24 * (1 + max(y for _, y in taken))


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_has_a_description(name: str) -> None:
    for panel in _panels(name):
        assert re.fullmatch(r"[^.]+(\.[^.]+){0,2}\.", panel["description"].replace("operating.md", "")), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["noValue"]
        assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix:"), panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_queries_prometheus(name: str) -> None:
    source = {"type": "prometheus", "uid": "prometheus"}
    for panel in _panels(name):
        assert panel["targets"], panel["title"]
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["expr"].strip()
            assert target["instant"] != target["range"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))
        if len(refs) > 1:
            assert all(target.get("legendFormat") for target in panel["targets"]), panel["title"]


def test_every_metric_is_exposed_or_recorded() -> None:
    known = _exposed() | _recorded() | {"ALERTS"}
    asked = {name: query for query in queries(FOLDER) for name in metrics(query.expression)}
    assert {name: query for name, query in asked.items() if name not in known} == {}


def test_every_recorded_series_is_used() -> None:
    used = {name for query in queries(FOLDER) for name in metrics(query.expression)}
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            used |= {name for rule in group["rules"] for name in metrics(rule["expr"])}
    assert _recorded() <= used


def test_queries_have_no_variables_left_and_lose_no_target() -> None:
    listed = queries(FOLDER)
    assert [query for query in listed if "$" in query.expression] == []
    assert len(listed) == sum(len(panel["targets"]) for name in NAMES for panel in _panels(name))


def test_a_query_of_a_graph_looks_back_over_its_range() -> None:
    graph = next(query for query in queries(FOLDER) if query.panel == "Time per epoch")
    assert graph.in_view == f"last_over_time(({graph.expression})[30m:5s])"
    dial = next(query for query in queries(FOLDER) if query.panel == "Progress")
    assert dial.in_view == dial.expression


def test_metrics_are_found_in_expressions() -> None:
    expression = 'max by (gpu) (a_b{c="d"}) / on (e) group_left (f) rate(g:h[5m] offset 10m) > 0.5 or vector(0) * 1e3'
    assert metrics(expression) == {"a_b", "g:h"}


def test_limits_in_panels_equal_limits_of_alerts() -> None:
    rules: dict[str, str] = {}
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            rules |= {rule.get("alert") or rule["record"]: rule["expr"] for rule in group["rules"]}
    assert rules["GpuTooHot"].endswith(f"> {training.HOT_CELSIUS}")
    assert f"exact_greedy_gap_ratio > {training.COLLAPSED_GAP:.2f}" in rules["BlankCollapse"]
    assert f"ratio15m > {extraction.FAILING_RATIO:.2f}" in rules["ExtractionFailing"]
    assert rules["signet:recognize_seconds:objective"] == f"vector({serving.OBJECTIVE_SECONDS})"


def test_the_run_picker_lists_the_runs_of_the_time_range() -> None:
    (picker,) = _board("training")["templating"]["list"]
    assert (picker["name"], picker["multi"], picker["includeAll"], picker["allValue"]) == ("run", True, True, ".*")
    assert picker["query"]["query"] == "label_values(signet_trainer_run_info, run_id)"


def test_grafana_is_provisioned_with_dashboards_and_data_source() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    interval = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = yaml.safe_load((folder / "dashboards/signet.yml").read_text())["providers"]
    assert (provider["folder"], provider["allowUiUpdates"]) == ("Signet", False)
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in service["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in service["volumes"]
