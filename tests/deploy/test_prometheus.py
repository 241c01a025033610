"""The configuration of Prometheus is valid, every alert is tested, and every query is PromQL."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from deploy.grafana.queries import metrics, queries
from services.evaluator.metrics import EvaluatorMetrics
from services.evaluator.streaming.metrics import StreamMetrics
from services.extractor.metrics import ExtractorMetrics
from services.trainer.runs.metrics import TrainerMetrics
from tests.conftest import ROOT

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))

# What get-prometheus says where there is no apt-get or no network.
UNAVAILABLE = 69

# Labels that Prometheus itself adds.
OWN_LABELS = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Debian's promtool."""
    got = subprocess.run(["sh", PROMETHEUS / "get-prometheus"], capture_output=True, text=True, check=False)
    if got.returncode == UNAVAILABLE:
        pytest.skip(f"no Prometheus here: {got.stderr.strip().splitlines()[-1]}")
    assert got.returncode == 0, got.stderr
    return Path(got.stdout.strip()) / "promtool"


def _check(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "WARNING" not in done.stdout, done.stdout


def _rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


@pytest.mark.parametrize("store", ["minio", "seaweedfs"])
def test_the_configuration_is_valid(promtool: Path, tmp_path: Path, store: str) -> None:
    # As in the container, where the folder is /etc/prometheus.
    shutil.copytree(PROMETHEUS / "rules", tmp_path / "rules")
    shutil.copy(PROMETHEUS / f"store-{store}.yml", tmp_path / "store.yml")
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    _check(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_every_service_is_scraped_at_its_metrics_port() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    asked = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in config["scrape_configs"]
        if "static_configs" in job
    }
    assert asked == {
        "extractor": ["extractor:9101"],
        "trainer": ["trainer:9102"],
        "evaluator": ["evaluator:9103"],
        "prometheus": ["localhost:9090"],
    }


def test_the_rules_are_valid(promtool: Path) -> None:
    _check(promtool, "check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(promtool: Path, path: Path) -> None:
    _check(promtool, "test", "rules", path)


def test_every_alert_has_tests_that_it_fires_and_does_not_fire() -> None:
    proved: dict[str, set[bool]] = defaultdict(set)
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", []):
                proved[check["alertname"]].add(bool(check["exp_alerts"]))
    assert dict(proved) == {alert: {True, False} for alert in _alerts()}


@pytest.mark.parametrize("alert", _alerts())
def test_an_alert_has_a_description_and_a_link_to_the_guide(alert: str) -> None:
    rule = _alerts()[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/operating.md#{alert.lower()}"
    assert "{{" in rule["annotations"]["description"], "it names no value"


def test_the_metrics_listed_are_those_that_the_services_expose() -> None:
    registry = CollectorRegistry()
    for service in (ExtractorMetrics, TrainerMetrics, EvaluatorMetrics, StreamMetrics):
        service(registry)
    exposed = {(family.type, family.name) for family in registry.collect()}
    listed = re.findall(
        r"^(\w+) +(signet_(?:extractor|trainer|evaluator)_\w+?)(?:_total)?\{",
        (PROMETHEUS / "metrics.txt").read_text(),
        re.MULTILINE,
    )
    assert set(listed) == exposed


def test_rules_read_only_existing_metrics() -> None:
    known = _contract().keys() | {rule["record"] for rule in _rules() if "record" in rule} | {"up"}
    asked = {name for rule in _rules() for name in metrics(rule["expr"])}
    assert asked <= known


def test_rules_and_dashboards_select_by_existing_labels() -> None:
    expressions = [rule["expr"] for rule in _rules()]
    expressions += [query.expression for query in queries(ROOT / "deploy/grafana/dashboards")]
    contract = _contract()
    for expression in expressions:
        for name, selector in re.findall(r"([\w:]+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selector)))
            if name in contract:
                assert labels <= contract[name] | OWN_LABELS, expression


def test_every_query_of_a_dashboard_is_promql(promtool: Path, tmp_path: Path) -> None:
    rules = [
        {
            "record": "query",
            "expr": expression,
            "labels": {"panel": f"{query.dashboard} {query.panel} {query.ref} {form}"},
        }
        for query in queries(ROOT / "deploy/grafana/dashboards")
        for form, expression in (("asked", query.expression), ("in view", query.in_view))
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    _check(promtool, "check", "rules", path)


@pytest.fixture
def without_apt_get(tmp_path: Path) -> dict[str, str]:
    """An environment with little more than a shell."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "basename", "mkdir"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    return {"PATH": str(tools)}


def _get(environment: dict[str, str], cache: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = ["sh", PROMETHEUS / "get-prometheus", cache]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_fetched_program_is_not_fetched_again(without_apt_get: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "cache/usr/bin"
    folder.mkdir(parents=True)
    for program in ("prometheus", "promtool"):
        (folder / program).touch(mode=0o755)
    assert _get(without_apt_get, tmp_path / "cache").stdout == f"{folder}\n"


def test_a_program_on_the_path_is_used(without_apt_get: dict[str, str], tmp_path: Path) -> None:
    for program in ("prometheus", "promtool"):
        (tmp_path / "bin" / program).touch(mode=0o755)
    assert _get(without_apt_get, tmp_path / "cache").stdout == f"{tmp_path / 'bin'}\n"


def test_without_apt_get_the_message_says_what_to_do(without_apt_get: dict[str, str], tmp_path: Path) -> None:
    done = _get(without_apt_get, tmp_path / "cache")
    assert done.returncode == UNAVAILABLE
    assert "Put prometheus and promtool on PATH" in done.stderr


def _contract() -> dict[str, set[str]]:
    """The labels of every series that the services expose."""
    series: dict[str, set[str]] = {}
    pattern = re.compile(r"^(\w+) +(\w+)\{(.*)\}$", re.MULTILINE)
    for kind, metric, labels in pattern.findall((PROMETHEUS / "metrics.txt").read_text()):
        names = [f"{metric}_{part}" for part in ("bucket", "sum", "count")] if kind == "histogram" else [metric]
        series |= {name: set(labels.split(",")) - {""} for name in names}
    return series
