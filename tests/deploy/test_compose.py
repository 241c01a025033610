"""Images and compose files, checked without a container engine. tests/stack checks them with an engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from services.evaluator.settings import EvaluatorSettings
from services.extractor.settings import ExtractorSettings
from services.trainer.settings import TrainerSettings
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
SERVICES = ("extractor", "trainer", "evaluator")
SETTINGS: dict[str, type[BaseModel]] = {
    "extractor": ExtractorSettings,
    "trainer": TrainerSettings,
    "evaluator": EvaluatorSettings,
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml, its anchors resolved and its variables not."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_the_dockerfiles_are_linted() -> None:
    files = [*(ROOT / "deploy").glob("*.Dockerfile"), *(ROOT / "tests/stack").glob("*.Dockerfile")]
    assert len(files) == len(SERVICES) + 2
    done = subprocess.run([str(BIN / "hadolint"), *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_dockerfile_needs_a_frontend_from_a_registry() -> None:
    assert not [path for path in ROOT.glob("deploy/*.Dockerfile") if "syntax=" in path.read_text()]


def test_only_ports_that_users_need_are_published_and_only_for_this_host(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert sorted(port.rpartition(":")[2] for port in ports) == ["3000", "50053", "9001"]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_compose_file_contains_no_secret(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD", key):
                assert value.startswith("/credentials/") or re.fullmatch(r"\$\{\w+:-\}", value), f"{name}: {key}"


def test_every_setting_in_the_compose_file_exists(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        for key in compose["services"][name]["environment"]:
            fields = SETTINGS[name].model_fields
            for part in key.removeprefix("SIGNET_").lower().split("__"):
                assert part in fields, f"{name}: {key}"
                fields = getattr(fields[part].annotation, "model_fields", {})


def test_the_example_names_every_variable() -> None:
    used = set(re.findall(r"\$\{(\w+):-", (ROOT / "docker-compose.yml").read_text()))
    shown = set(re.findall(r"^#(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    # Images and the commit are not choices of everyday use; the operating guide has the retention.
    assert used - shown == {"S3_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE", "SIGNET_REVISION", "PROMETHEUS_RETENTION"}
    assert shown - used == {"COMPOSE_FILE"}


def test_containers_have_the_least_privileges_in_compose(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        service = compose["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"


def test_the_image_of_the_extractor_has_the_locked_versions_and_all_imports_of_mediapipe() -> None:
    """Its requirements leave out most of what MediaPipe asks for; what is named must still be what is locked."""
    lines = (ROOT / "deploy/extractor-requirements.txt").read_text().splitlines()
    named = {re.split(r"[<=]", line)[0] for line in lines if line and not line.startswith("#")}
    locked = dict(
        line.lower().split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    headless = {"opencv-contrib-python-headless"}
    assert named - headless <= set(locked)
    assert f"opencv-contrib-python-headless=={locked['opencv-contrib-python']}" in lines
    dockerfile = (ROOT / "deploy/extractor.Dockerfile").read_text()
    assert f"mediapipe=={locked['mediapipe']}" in dockerfile


def test_secrets_are_created_once_and_replaced_only_by_given_values(tmp_path: Path) -> None:
    script = (ROOT / "deploy/make-credentials").read_text().replace("/credentials/", f"{tmp_path}/")
    for name in ("store", "grafana"):
        (tmp_path / name).mkdir()

    def make(store: str = "", grafana: str = "") -> tuple[str, str]:
        environment = {"PATH": "/usr/bin:/bin", "STORE_SECRET": store, "GRAFANA_PASSWORD": grafana}
        subprocess.run(["sh", "-c", script], env=environment, check=True, capture_output=True)
        return (tmp_path / "store/secret-key").read_text(), (tmp_path / "grafana/password").read_text()

    cut_off = tmp_path / "store/secret-key.new"
    cut_off.touch(0o444)
    first = make()
    assert not cut_off.exists()
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in first)
    assert first[0] != first[1]
    assert make() == first
    assert make(store="chosen by a person") == ("chosen by a person", first[1])
    assert make() == ("chosen by a person", first[1])


def test_the_operating_guide_explains_every_alert() -> None:
    guide = (ROOT / "docs/operating.md").read_text()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) > 8
    for alert in alerts:
        assert f"\n### {alert['alert']}\n" in guide
        assert alert["annotations"]["runbook"] == f"docs/operating.md#{alert['alert'].lower()}"
