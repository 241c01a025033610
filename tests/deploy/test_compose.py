"""Images and compose files, checked without a container engine. tests/stack checks them with an engine."""

import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from pydantic import BaseModel

from services.evaluator.settings import EvaluatorSettings
from services.extractor.settings import ExtractorSettings
from services.trainer.settings import TrainerSettings
from signet.rpc.metrics_server import HEALTH_PATH
from signet.security.certificates import CertificateFiles, ServerCertificate
from signet.security.credentials import ChannelSecurity, ClientSettings
from tests.conftest import ROOT
from tests.signet.security.conftest import secured

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


def test_the_gpu_variant_of_the_extractor_is_the_other_build_of_its_image(compose: dict[str, Any]) -> None:
    override = yaml.safe_load((ROOT / "deploy/compose.extractor-gpu.yaml").read_text())["services"]
    assert list(override) == ["extractor"]
    extractor = override["extractor"]
    device = extractor["build"]["args"]["DEVICE"]
    assert f'if [ "$DEVICE" = {device} ]' in (ROOT / "deploy/extractor.Dockerfile").read_text()
    assert extractor["deploy"] == compose["services"]["trainer"]["deploy"]
    assert extractor["image"] != compose["services"]["extractor"]["image"]


def test_the_example_names_every_variable() -> None:
    used = set(re.findall(r"\$\{(\w+):-", (ROOT / "docker-compose.yml").read_text()))
    shown = set(re.findall(r"^#(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    # Images and the commit are not choices of everyday use; the operating guide has the retention.
    assert used - shown == {"S3_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE", "SIGNET_REVISION", "PROMETHEUS_RETENTION"}
    assert shown - used == {"COMPOSE_FILE"}


def test_every_container_has_the_least_privileges_in_compose(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["init"], name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # Only the step that makes the secrets is root: volumes are made for root. It has no network.
        step = name == "credentials"
        assert service["user"].startswith("0:") == step, name
        assert service.get("cap_add", []) == (["CHOWN", "DAC_OVERRIDE"] if step else []), name
        assert service.get("network_mode") == ("none" if step else None), name
        assert "privileged" not in service
        assert service.get("restart") == (None if name in {"credentials", "bucket"} else "unless-stopped"), name


def test_every_container_has_a_limit_of_memory_and_of_processes(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"512m|\$\{[A-Z_]+_MEMORY:-\d+g\}", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 16384, name


def test_every_folder_in_memory_has_a_size_and_runs_no_program(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for folder in service.get("tmpfs", []):
            assert re.fullmatch(r"/tmp:size=\d+[mg],mode=1777,noexec,nosuid,nodev", folder), name  # noqa: S108


def test_the_limits_of_compose_are_those_of_the_example(compose: dict[str, Any]) -> None:
    shown = dict(re.findall(r"^#(\w+_MEMORY)=(\w+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    limits = (service["mem_limit"] for service in compose["services"].values())
    used = dict(limit[2:-1].split(":-") for limit in limits if limit.startswith("$"))
    assert shown == used
    assert len(used) == 6


def test_the_data_of_the_store_are_given_to_its_user(tmp_path: Path) -> None:
    """As the first start does, and a start after one that was cut off."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    script = (ROOT / "deploy/make-credentials").read_text().replace("/credentials/", f"{tmp_path}/")
    for folder in ("store", "grafana", "data/bucket"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/bucket/object").touch()
    (tmp_path / "data/bucket/link").symlink_to("/etc/hostname")
    os.chown(tmp_path / "data/bucket/object", 10001, 10001)
    environment = {"PATH": "/usr/bin:/bin", "STORE_DATA": f"{tmp_path}/data"}
    owner = Path("/etc/hostname").stat().st_uid
    subprocess.run(["sh", "-c", script], env=environment, check=True, capture_output=True)
    paths = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(paths) == 4
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in paths} == {(10001, 10001)}
    assert Path("/etc/hostname").stat().st_uid == owner, "a link leads nowhere"


def test_every_image_is_named_with_its_digest() -> None:
    for path in (ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.y*ml")):
        for image in re.findall(r"^ *(?:- )?image: (\S+)$", path.read_text(), re.MULTILINE):
            if not image.startswith("signet-"):  # built from this repository
                assert re.fullmatch(r"(\$\{\w+:-)?[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}\}?", image), path
    for path in (ROOT / "deploy").glob("*.Dockerfile"):
        bases = re.findall(r"^(?:FROM|ARG BASE=)\s*(\S+)", path.read_text(), re.MULTILINE)
        named = [base for base in bases if base != "${BASE}"]
        assert [bool(re.fullmatch(r"[\w.:-]+@sha256:[0-9a-f]{64}", base)) for base in named] == [True], path


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


def test_every_image_has_the_command_line_and_asks_the_page_of_health() -> None:
    imported = set(re.findall(r"^from services import (\w+)$", (ROOT / "services/cli.py").read_text(), re.MULTILINE))
    for name in SERVICES:
        text = (ROOT / f"deploy/{name}.Dockerfile").read_text()
        assert all(f"services/{module}.py" in text for module in {"__init__", "cli", *imported})
        (port,) = re.findall(r"SIGNET_METRICS_PORT=(\d+)", text)
        assert f'"signet.rpc.health", "http://127.0.0.1:{port}{HEALTH_PATH}"' in text


def test_each_service_gets_only_its_own_folder_of_keys() -> None:
    override = yaml.safe_load((ROOT / "deploy/compose.security.yaml").read_text())["services"]
    assert set(override) == set(SERVICES)
    for name, service in override.items():
        assert service["volumes"] == [f"${{SIGNET_SECURITY_DIR:-./data/security}}/{name}:/security:ro"]
        for key, value in service["environment"].items():
            field = key.removeprefix("SIGNET_").lower()
            known = SETTINGS[name].model_fields
            assert field in known or field.removeprefix("client_") in ClientSettings.model_fields, key
            assert value.startswith("/security/") or re.fullmatch(r"\$\{SIGNET_\w+:-\}", value), key
    assert [name for name in SERVICES if "SIGNET_MODEL_SIGNING_KEY" in override[name]["environment"]] == ["trainer"]


def _make_certificates(folder: Path, *names: str) -> None:
    command = ["sh", str(ROOT / "deploy/make-certificates"), str(folder), *names]
    subprocess.run(command, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)


def test_the_certificates_of_the_script_work_and_can_be_renewed(tmp_path: Path) -> None:
    folder = tmp_path / "security"
    _make_certificates(folder, "evaluator", "extractor")
    own = folder / "evaluator"
    assert {path.name for path in own.iterdir()} == {"ca.crt", "tls.crt", "tls.key"}
    assert stat.S_IMODE((own / "tls.key").stat().st_mode) == stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    files = CertificateFiles(own / "tls.crt", own / "tls.key", own / "ca.crt")
    assert 80 < (ServerCertificate(files).expires - datetime.now(UTC)).days < 100
    client = folder / "extractor"
    settings = ClientSettings(ca=client / "ca.crt", certificate=client / "tls.crt", key=client / "tls.key")
    with (
        secured(tls_certificate=files.certificate, tls_key=files.key, tls_client_ca=files.client_ca) as server,
        ChannelSecurity(settings).open_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=10)
    authority, first = (folder / "ca.crt").read_bytes(), (own / "tls.crt").read_bytes()
    _make_certificates(folder, "evaluator")
    assert (folder / "ca.crt").read_bytes() == authority
    assert (own / "tls.crt").read_bytes() != first
    ServerCertificate(files)


def test_the_operating_guide_explains_every_alert() -> None:
    guide = (ROOT / "docs/operating.md").read_text()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len(alerts) > 8
    for alert in alerts:
        assert f"\n### {alert['alert']}\n" in guide
        assert alert["annotations"]["runbook"] == f"docs/operating.md#{alert['alert'].lower()}"
