"""The Kubernetes manifests are valid, agree with images and settings, and restrict access as documented."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from pydantic import BaseModel

from services.evaluator.settings import EvaluatorSettings
from services.extractor import cli as extractor_cli
from services.extractor.settings import ExtractorSettings
from services.trainer.settings import TrainerSettings
from signet.datasets.corpus import Shard
from signet.rpc.metrics_server import HEALTH_PATH
from signet.rpc.settings import ServiceSettings
from signet.security.credentials import ClientSettings
from signet.store import StoreSettings
from tests.conftest import ROOT

K8S = ROOT / "deploy/k8s"
GUIDE = ROOT / "docs/kubernetes.md"

# The oldest that docs/kubernetes.md promises, and the newest whose schemas we have.
VERSIONS = ("1.30", "1.37")

# What kustomize knows and the cluster does not.
KUSTOMIZATION = "kustomization.yaml"

SETTINGS: dict[str, type[ServiceSettings]] = {
    "signet-extractor": ExtractorSettings,
    "signet-trainer": TrainerSettings,
    "signet-evaluator": EvaluatorSettings,
}
NOBODY = 10001

Document = dict[str, Any]


@dataclass(frozen=True)
class Pods:
    """The pods that one manifest makes."""

    manifest: Document
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: Document

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def containers(self) -> list[Document]:
        """All containers, those that only prepare included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Name -> number."""
        return {
            port["name"]: port["containerPort"] for container in self.containers for port in container.get("ports", [])
        }

    @property
    def serving(self) -> bool:
        return bool(self.ports)


def _documents(*folders: str) -> Iterator[tuple[Path, Document]]:
    """Every manifest of these folders, of the whole tree if none is named."""
    for path in sorted(K8S.rglob("*.yaml")):
        if path.name != KUSTOMIZATION and (not folders or str(path.parent.relative_to(K8S)) in folders):
            for document in yaml.safe_load_all(path.read_text()):
                yield path, document


def _of_kind(kind: str) -> list[Document]:
    return [document for _, document in _documents() if document["kind"] == kind]


def _pods(document: Document) -> Pods | None:
    if document["kind"] == "Pod":
        metadata, spec = document["metadata"], document["spec"]
    elif "template" in document.get("spec", {}):
        metadata, spec = document["spec"]["template"]["metadata"], document["spec"]["template"]["spec"]
    else:
        return None
    return Pods(document, metadata["labels"], metadata.get("annotations", {}), spec)


def _kustomization(folder: Path) -> Document:
    content: Document = yaml.safe_load((folder / KUSTOMIZATION).read_text())
    return content


def _named(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def _id(value: object) -> str | None:
    if isinstance(value, Pods):
        return value.name
    return str(value.relative_to(K8S)) if isinstance(value, Path) else None


MANIFESTS = [document for _, document in _documents()]
PODS = {pods.name: pods for pods in map(_pods, MANIFESTS) if pods is not None}
SERVICES = {name: pods for name, pods in PODS.items() if pods.serving and name != "store"}
FOLDERS = sorted(path.parent for path in K8S.rglob(KUSTOMIZATION))

every_pod = pytest.mark.parametrize("pods", PODS.values(), ids=_id)
every_service = pytest.mark.parametrize("pods", SERVICES.values(), ids=_id)


def test_every_expected_manifest_exists() -> None:
    assert sorted(PODS) == ["clips", "evaluator", "extract", "extractor", "reports", "store", "trainer"]
    assert sorted(SERVICES) == ["evaluator", "extractor", "reports", "trainer"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", MANIFESTS, ids=_named)
def test_a_manifest_is_valid(document: Document, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS, ids=_id)
def test_a_kustomization_lists_exactly_the_existing_files(folder: Path) -> None:
    content = _kustomization(folder)
    entries = [*content.get("resources", []), *content.get("components", [])]
    files = {entry for entry in entries if entry.endswith(".yaml")}
    assert files == {path.name for path in folder.glob("*.yaml")} - {KUSTOMIZATION}
    folders = [(folder / entry).resolve() for entry in entries if entry not in files]
    assert [path for path in folders if path not in FOLDERS] == []


def test_every_manifest_is_in_a_kustomization() -> None:
    assert {path.parent for path, _ in _documents()} <= set(FOLDERS)


@every_pod
def test_containers_have_the_least_privileges(pods: Pods) -> None:
    assert pods.spec["automountServiceAccountToken"] is False
    # Kubernetes would name a variable after every Service of the namespace, and one may well be called signet.
    assert pods.spec["enableServiceLinks"] is False
    context = pods.spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["runAsGroup"]) == (NOBODY, NOBODY)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pods.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        (scratch,) = [volume for volume in pods.spec["volumes"] if volume["name"] == mounts["/tmp"]]  # noqa: S108
        assert scratch["emptyDir"]["sizeLimit"]
        mounted = {volume["name"] for volume in pods.spec["volumes"]}
        mounted |= {claim["metadata"]["name"] for claim in pods.manifest["spec"].get("volumeClaimTemplates", [])}
        assert set(mounts.values()) <= mounted


@every_pod
def test_containers_have_resource_requests_and_limits(pods: Pods) -> None:
    for container in pods.containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        for resource, unit in (("cpu", _cores), ("memory", _bytes)):
            assert 0 < unit(requests[resource]) <= unit(limits[resource]), f"{pods.name}: {resource}"


def _cores(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(text: str) -> int:
    number, unit = text[:-2], text[-2:]
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]


def test_only_the_trainer_requests_a_gpu() -> None:
    asking = {name: str(pods.spec).count("'nvidia.com/gpu': 1") for name, pods in PODS.items()}
    assert {name: count for name, count in asking.items() if count} == {"trainer": 1}


@every_service
def test_services_are_probed_over_grpc(pods: Pods) -> None:
    (container,) = pods.spec["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["grpc"] == {"port": pods.ports["grpc"]}
        assert container[kind]["timeoutSeconds"] > 1, "a busy service takes longer than that"
    patience = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    assert patience >= 60, "torch takes its time on a cold disk"


def test_the_store_is_probed() -> None:
    (container,) = PODS["store"].spec["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["httpGet"]["port"] in PODS["store"].ports


@every_service
def test_container_ports_match_the_image(pods: Pods) -> None:
    (container,) = pods.spec["containers"]
    dockerfile = (ROOT / f"deploy/{container['image'].removeprefix('signet-')}.Dockerfile").read_text()
    (exposed,) = re.findall(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)
    assert list(pods.ports.values()) == [int(port) for port in exposed.split()]
    told = dict(re.findall(r"\b(SIGNET_\w+)=(\S+)", dockerfile))
    assert told["SIGNET_HOST"] == "0.0.0.0"  # noqa: S104
    assert pods.ports == {"grpc": int(told["SIGNET_PORT"]), "metrics": int(told["SIGNET_METRICS_PORT"])}


@pytest.mark.parametrize("pods", [*SERVICES.values(), PODS["store"]], ids=_id)
def test_pods_are_annotated_with_their_metrics_port(pods: Pods) -> None:
    assert pods.annotations["prometheus.io/scrape"] == "true"
    assert int(pods.annotations["prometheus.io/port"]) == pods.ports.get("metrics", pods.ports.get("s3"))
    assert pods.annotations["prometheus.io/path"].startswith("/")


@every_service
def test_the_grace_period_is_longer_than_the_drain(pods: Pods) -> None:
    (container,) = pods.spec["containers"]
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = ServiceSettings.model_fields["drain_seconds"].default
    assert pods.spec["terminationGracePeriodSeconds"] > pause + drain


def test_labels_follow_the_kubernetes_convention() -> None:
    for pods in PODS.values():
        for labels in (pods.labels, pods.manifest["metadata"]["labels"]):
            assert labels["app.kubernetes.io/name"]
            assert labels["app.kubernetes.io/component"] == pods.name
        selector = pods.manifest["spec"].get("selector")
        if selector is not None:
            assert _selects(selector, pods.labels)
            assert [other.name for other in PODS.values() if _selects(selector, other.labels)] == [pods.name]


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a selector without expressions (we use none) takes these labels."""
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


@pytest.mark.parametrize("service", _of_kind("Service"), ids=_named)
def test_a_kubernetes_service_selects_pods(service: Document) -> None:
    selected = [pods for pods in PODS.values() if service["spec"]["selector"].items() <= pods.labels.items()]
    assert [pods.name for pods in selected] == [service["metadata"]["name"]]
    for port in service["spec"]["ports"]:
        assert selected[0].ports[port["targetPort"]] == port["port"]


def test_at_least_one_evaluator_is_always_available() -> None:
    evaluator = PODS["evaluator"].manifest["spec"]
    assert evaluator["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (budget,) = _of_kind("PodDisruptionBudget")
    assert [name for name, pods in PODS.items() if _selects(budget["spec"]["selector"], pods.labels)] == ["evaluator"]
    assert 1 <= budget["spec"]["minAvailable"] < evaluator["replicas"], "no node could be drained"


def test_only_one_trainer_runs_at_a_time() -> None:
    trainer = PODS["trainer"].manifest["spec"]
    assert (trainer["replicas"], trainer["strategy"]) == (1, {"type": "Recreate"})


# ---- settings ----


def _environment(container: Document) -> list[str]:
    return [variable["name"] for variable in container.get("env", []) if variable["name"].startswith("SIGNET_")]


def _is_setting(kind: type[BaseModel], name: str) -> bool:
    """Whether the settings have a field of this name; a__b is field b of the model that is field a."""
    field, _, rest = name.lower().partition("__")
    if field not in kind.model_fields:
        return False
    inner = kind.model_fields[field].annotation
    return not rest or (isinstance(inner, type) and issubclass(inner, BaseModel) and _is_setting(inner, rest))


@every_service
def test_a_service_gets_only_settings_that_it_has(pods: Pods) -> None:
    (container,) = pods.spec["containers"]
    kind = SETTINGS[container["image"]]
    unknown = [name for name in _environment(container) if not _is_setting(kind, name.removeprefix("SIGNET_"))]
    assert unknown == [], f"{kind.__name__} has no such fields"


def _generated() -> dict[str, dict[str, str]]:
    """ConfigMap -> its content, as the base makes them."""
    return {
        one["name"]: dict(literal.split("=", 1) for literal in one["literals"])
        for one in _kustomization(K8S / "base")["configMapGenerator"]
    }


def test_common_settings_are_settings() -> None:
    for content in _generated().values():
        for name in content:
            kinds = [kind for kind in SETTINGS.values() if _is_setting(kind, name.removeprefix("SIGNET_"))]
            assert name.startswith("SIGNET_")
            assert kinds, f"no service has a field for {name}"


@every_pod
def test_everything_that_a_pod_refers_to_exists(pods: Pods) -> None:
    keys = {f"ConfigMap/{name}": set(content) for name, content in _generated().items()}
    keys["Secret/store"] = {"SIGNET_S3_ACCESS_KEY", "SIGNET_S3_SECRET_KEY"}
    for container in pods.containers:
        for source in container.get("envFrom", []):
            ((kind, reference),) = source.items()
            assert f"{kind.removesuffix('Ref')[0].upper()}{kind.removesuffix('Ref')[1:]}/{reference['name']}" in keys
        for variable in container.get("env", []):
            value = variable.get("valueFrom", {})
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in value:
                    assert value[field]["key"] in keys[f"{kind}/{value[field]['name']}"]
    claims = {claim["metadata"]["name"] for claim in _of_kind("PersistentVolumeClaim")}
    wanted = {
        volume["persistentVolumeClaim"]["claimName"] for volume in pods.spec["volumes"] if "emptyDir" not in volume
    }
    assert wanted <= claims


def test_manifests_contain_no_secret() -> None:
    assert _of_kind("Secret") == []
    assert [folder for folder in FOLDERS if "secretGenerator" in _kustomization(folder)] == []
    guide = GUIDE.read_text()
    assert "create secret generic store " in guide
    assert all(f"--from-literal={key}=" in guide for key in ("SIGNET_S3_ACCESS_KEY", "SIGNET_S3_SECRET_KEY"))


def test_the_extractor_of_single_clips_has_no_key_of_the_store() -> None:
    text = (K8S / "base/extractor.yaml").read_text()
    assert "secretRef" not in text
    assert "file:/tmp/store" in text


def test_images_are_our_own_or_pinned() -> None:
    set_in_one_place = {image["name"] for image in _kustomization(K8S / "base")["images"]}
    assert set_in_one_place == set(SETTINGS)
    compose = (ROOT / "docker-compose.yml").read_text()
    (store,) = re.findall(r"\$\{S3_IMAGE:-(\S+@sha256:[0-9a-f]{64})\}", compose)
    (python,) = {
        base
        for path in (ROOT / "deploy").glob("*.Dockerfile")
        for base in re.findall(r"^ARG BASE=(\S+)", path.read_text(), re.M)
    }
    used = {name: {container["image"] for container in pods.containers} for name, pods in PODS.items()}
    assert used.pop("store") == {store}
    assert used.pop("clips") == {python}
    assert set().union(*used.values()) == set_in_one_place


# ---- the Job ----

JOB = PODS["extract"].manifest["spec"]
(EXTRACT,) = PODS["extract"].spec["containers"]


def _arguments(index: int) -> list[str]:
    """The arguments as Kubernetes fills them in for the pod of this index."""
    values = _generated()["settings"] | {"JOB_COMPLETION_INDEX": str(index)}
    return [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], argument) for argument in EXTRACT["args"]]


def test_the_shards_cover_the_whole_corpus() -> None:
    assert JOB["completionMode"] == "Indexed"
    assert JOB["completions"] == JOB["parallelism"]
    shards = [
        argument for index in range(JOB["completions"]) for argument in _arguments(index) if "--shard" in argument
    ]
    parts = [Shard.parse(shard.removeprefix("--shard=")) for shard in shards]
    assert parts == [Shard(index, JOB["completions"]) for index in range(JOB["completions"])]


def test_a_failed_shard_is_retried_and_an_eviction_does_not_count() -> None:
    assert JOB["template"]["spec"]["restartPolicy"] == "Never"
    assert JOB["backoffLimitPerIndex"] > 0
    assert {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]} in JOB[
        "podFailurePolicy"
    ]["rules"]
    names = {container["name"] for container in PODS["extract"].containers}
    for rule in JOB["podFailurePolicy"]["rules"]:
        assert rule.get("onExitCodes", {}).get("containerName", "extract") in names


def test_the_clips_are_mounted_read_only() -> None:
    (mount,) = [mount for mount in EXTRACT["volumeMounts"] if mount["name"] == "wlasl"]
    assert mount["readOnly"] is True
    assert f"--wlasl={mount['mountPath']}" in EXTRACT["args"]


def test_the_command_of_the_job_exists() -> None:
    command: Any = typer.main.get_command(extractor_cli.app)
    parameters = command.commands["extract"].params
    options = {option for parameter in parameters for option in parameter.opts}
    assert {argument.partition("=")[0] for argument in EXTRACT["args"]} <= options
    read = {str(parameter.envvar) for parameter in parameters}
    unread = [name for name in _environment(EXTRACT) if name not in read]
    assert [name for name in unread if not _is_setting(StoreSettings, name.removeprefix("SIGNET_"))] == []


def _start(folder: Path, stand_in: str) -> "subprocess.Popen[bytes]":
    """Run the Job's command where `signet` is this shell script."""
    program = folder / "bin/signet"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{stand_in}\n")
    program.chmod(0o755)
    return subprocess.Popen(
        [*EXTRACT["command"], *_arguments(2)], cwd=folder, env={"PATH": f"{program.parent}:/usr/bin:/bin"}
    )


@pytest.mark.parametrize(("status", "seen"), [(0, 0), (1, 1), (2, 2), (3, 0), (130, 130), (143, 143)])
def test_broken_clips_do_not_fail_the_job(tmp_path: Path, status: int, seen: int) -> None:
    process = _start(tmp_path, f'echo "$@" >arguments; exit {status}')
    assert process.wait(timeout=30) == seen
    assert (tmp_path / "arguments").read_text() == "extract --wlasl=/data/wlasl --max-glosses=20 --shard=2/4\n"


@pytest.mark.parametrize(("status", "seen"), [(143, 143), (3, 0), (0, 0)])
def test_sigterm_reaches_the_extractor_and_the_script_waits_for_its_end(tmp_path: Path, status: int, seen: int) -> None:
    process = _start(
        tmp_path,
        f"trap 'sleep 0.5; echo done >finished; exit {status}' TERM\n"
        "echo yes >started\n"
        "i=0; while [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done",
    )
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == seen
    finally:
        process.kill()
    assert (tmp_path / "finished").exists()


# ---- the network ----

POLICIES = _of_kind("NetworkPolicy")
(DENIAL,) = [policy for policy in POLICIES if policy["metadata"]["name"] == "deny-all"]


def _rules(pods: Pods, direction: str) -> Iterator[tuple[list[Document], list[Document]]]:
    """Peers and ports that policies allow these pods; `direction` is "ingress" or "egress"."""
    for policy in POLICIES:
        if (
            _selects(policy["spec"]["podSelector"], pods.labels)
            and direction.capitalize() in policy["spec"]["policyTypes"]
        ):
            for rule in policy["spec"].get(direction, []):
                yield rule["from" if direction == "ingress" else "to"], rule["ports"]


def _span(port: Document) -> range:
    """The port numbers of one entry of a rule."""
    last: int = port.get("endPort") or port["port"]
    return range(port["port"], last + 1)


def _covers(ports: list[Document], port: int) -> bool:
    return any(port in _span(one) for one in ports if one["protocol"] == "TCP")


def _allowed(pods: Pods, direction: str, peer: Pods, port: int) -> bool:
    return any(
        _covers(ports, port)
        and any(list(one) == ["podSelector"] and _selects(one["podSelector"], peer.labels) for one in peers)
        for peers, ports in _rules(pods, direction)
    )


def test_all_traffic_is_denied_by_default() -> None:
    assert DENIAL["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_pods_reach_only_the_pods_that_they_need() -> None:
    open_ways = {
        (here.name, there.name, port)
        for here, there in product(PODS.values(), PODS.values())
        for port in there.ports.values()
        if _allowed(here, "egress", there, port) and _allowed(there, "ingress", here, port)
    }
    to_the_store = {(name, "store", 9000) for name in ("evaluator", "extract", "extractor", "reports", "trainer")}
    assert open_ways == to_the_store | {("evaluator", "extractor", 50051)}


def test_other_namespaces_reach_only_the_recogniser_and_the_metrics() -> None:
    ways = set()
    for pods in PODS.values():
        for peers, ports in _rules(pods, "ingress"):
            for peer in peers:
                assert "ipBlock" not in peer
                if "namespaceSelector" in peer:
                    ((label, value),) = peer["namespaceSelector"]["matchLabels"].items()
                    ways |= {(label, value, pods.name, port) for port in pods.ports.values() if _covers(ports, port)}
    prometheus = {
        ("kubernetes.io/metadata.name", "monitoring", name, pods.ports["metrics"]) for name, pods in SERVICES.items()
    }
    prometheus.add(("kubernetes.io/metadata.name", "monitoring", "store", 9000))
    assert ways == prometheus | {("signet.dev/client", "true", "evaluator", 50053)}


def test_pods_leave_the_namespace_only_for_dns_and_an_external_store() -> None:
    elsewhere = [
        (policy["metadata"]["name"], one["port"])
        for policy in POLICIES
        for rule in policy["spec"].get("egress", [])
        for one in rule["ports"]
        if any("podSelector" not in peer or "namespaceSelector" in peer for peer in rule["to"])
    ]
    assert sorted(set(elsewhere)) == [("services-to-s3", 443), ("to-dns", 53)]


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if "ingress" in policy["spec"]], ids=_named)
def test_a_policy_opens_only_existing_ports(policy: Document) -> None:
    selected = [pods for pods in PODS.values() if _selects(policy["spec"]["podSelector"], pods.labels)]
    assert selected
    for rule in policy["spec"]["ingress"]:
        for port in rule["ports"]:
            there = {number for pods in selected for number in pods.ports.values()}
            assert set(_span(port)) <= there


# ---- what kustomize makes of it ----


def _render(folder: Path) -> list[Document]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on PATH: what kustomize makes of the manifests is not looked at")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(done.stdout))
    for document in documents:
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"].get("labels", {})["app.kubernetes.io/part-of"] == "signet", _named(document)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "signet", _named(document)
    return documents


def _find(documents: list[Document], name: str) -> Document:
    (found,) = [document for document in documents if _named(document) == name]
    return found


@pytest.mark.parametrize(
    ("folders", "store", "gpu"),
    [
        ("base", False, True),
        ("overlays/gpu", True, True),
        ("overlays/cpu", True, False),
        ("base components/store", True, True),
        ("base components/s3", False, True),
        ("base components/cpu", False, False),
        ("base components/cpu components/s3", False, False),
        ("base components/s3 components/ca-bundle", False, True),
        ("overlays/cpu components/security components/signatures", True, False),
    ],
)
def test_the_overlays_render(tmp_path: Path, folders: str, store: bool, gpu: bool) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    own = tmp_path / "k8s/overlays/own"
    own.mkdir()
    resource, *components = [f"../../{folder}" for folder in folders.split()]
    (own / KUSTOMIZATION).write_text(
        yaml.safe_dump({"kind": "Kustomization", "resources": [resource], "components": components})
    )
    documents = _render(own)
    assert ("StatefulSet/store" in map(_named, documents)) is store
    assert ("nvidia.com/gpu" in str(_find(documents, "Deployment/trainer"))) is gpu
    (settings,) = [document["metadata"]["name"] for document in documents if document["kind"] == "ConfigMap"]
    assert f"'name': '{settings}'" in str(_find(documents, "Job/extract"))


def test_each_service_and_the_job_trust_the_certificates_of_the_component(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    own = tmp_path / "k8s/overlays/own"
    own.mkdir()
    folders = {"resources": ["../../base"], "components": ["../../components/s3", "../../components/ca-bundle"]}
    (own / KUSTOMIZATION).write_text(yaml.safe_dump({"kind": "Kustomization", **folders}))
    documents = _render(own)
    (settings,) = [document for document in documents if document["kind"] == "ConfigMap"]
    mounted = Path(settings["data"]["SIGNET_S3_CA_BUNDLE"])
    assert mounted.name == "ca-bundle.pem"
    found = [pods for pods in map(_pods, documents) if pods is not None]
    assert {pods.name for pods in found} == {"evaluator", "extract", "extractor", "reports", "trainer"}
    for pods in found:
        assert {"name": "ca-bundle", "configMap": {"name": "ca-bundle"}} in pods.spec["volumes"]
        (container,) = pods.spec["containers"]
        mount = {"name": "ca-bundle", "mountPath": str(mounted.parent), "readOnly": True}
        assert mount in container["volumeMounts"]


def _rendered_with(tmp_path: Path, *components: str) -> list[Document]:
    shutil.copytree(K8S, tmp_path / "k8s")
    own = tmp_path / "k8s/overlays/own"
    own.mkdir()
    folders = {"resources": ["../../base"], "components": [f"../../components/{name}" for name in components]}
    (own / KUSTOMIZATION).write_text(yaml.safe_dump({"kind": "Kustomization", **folders}))
    return _render(own)


def test_the_component_of_security_gives_each_service_its_own_files(tmp_path: Path) -> None:
    documents = _rendered_with(tmp_path, "security")
    (settings,) = [document["data"] for document in documents if document["kind"] == "ConfigMap"]
    for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA", "TOKENS_FILE"):
        assert settings[f"SIGNET_{name}"].startswith("/security/")
    assert settings["SIGNET_REFLECTION"] == "false"
    for name in SERVICES:
        pods = _pods(_find(documents, f"Deployment/{name}"))
        assert pods is not None
        (volume,) = [volume for volume in pods.spec["volumes"] if volume["name"] == "security"]
        assert volume["secret"] == {"secretName": f"security-{name}", "defaultMode": 0o440}
        assert pods.spec["securityContext"]["fsGroup"] == NOBODY
        (container,) = pods.spec["containers"]
        assert {"name": "security", "mountPath": "/security", "readOnly": True} in container["volumeMounts"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[kind]["httpGet"] == {"path": HEALTH_PATH, "port": "metrics"}
            assert "grpc" not in container[kind]
        known = SETTINGS[container["image"].partition(":")[0]]
        own = [name for name in _environment(container) if not name.startswith("SIGNET_CLIENT_")]
        assert all(_is_setting(known, name.removeprefix("SIGNET_")) for name in own)
        client = {name.removeprefix("SIGNET_CLIENT_").lower() for name in set(_environment(container)) - set(own)}
        assert client <= set(ClientSettings.model_fields)
        assert bool(client) == (name == "evaluator")
    assert "'/security'" not in str(_find(documents, "Job/extract"))
    for name in ("evaluator", "extractor"):
        assert _find(documents, f"Service/{name}")["spec"]["ports"][0]["appProtocol"] == "https"


def test_only_the_trainer_has_the_key_that_signs_models(tmp_path: Path) -> None:
    documents = _rendered_with(tmp_path, "signatures")
    signing = {"name": "SIGNET_MODEL_SIGNING_KEY", "value": "/model-keys/signing.pem"}
    trusted = {"name": "SIGNET_MODEL_TRUSTED_KEYS", "value": "/model-keys/trusted.pem"}
    for name, variable, source in (
        ("trainer", signing, {"secret": {"secretName": "model-signing-key", "defaultMode": 0o440}}),
        ("evaluator", trusted, {"configMap": {"name": "model-keys"}}),
        ("reports", trusted, {"configMap": {"name": "model-keys"}}),
    ):
        pods = _pods(_find(documents, f"Deployment/{name}"))
        assert pods is not None
        assert {"name": "model-keys", **source} in pods.spec["volumes"]
        assert variable in pods.spec["containers"][0]["env"]
    assert [str(document).count("model-signing-key") for document in documents if "model-keys" in str(document)] == [
        0, 0, 1,
    ]  # fmt: skip


def test_the_data_overlay_renders() -> None:
    kinds = [document["kind"] for document in _render(K8S / "data")]
    assert sorted(kinds) == ["Namespace", "PersistentVolumeClaim", "Pod"]


# ---- the guide ----


def _examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", range(len(_examples())))
def test_the_overlays_of_the_guide_render(tmp_path: Path, example: int) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    own = tmp_path / "k8s/overlays/own"
    own.mkdir()
    content = _examples()[example]
    (own / KUSTOMIZATION).write_text(content)
    rendered = str(_render(own))
    asked = yaml.safe_load(content)
    for image in asked.get("images", []):
        assert f"'{image['newName']}:{image['newTag']}'" in rendered
        assert f"'{image['name']}:" not in rendered
    for literal in asked["configMapGenerator"][0]["literals"]:
        name, _, value = literal.partition("=")
        assert f"'{name}': '{value}'" in rendered


def test_the_guide_names_existing_files() -> None:
    guide = GUIDE.read_text().replace("deploy/k8s/overlays/own", "")  # that one is the reader's to make
    paths = set(re.findall(r"\bdeploy/k8s(?:/[\w.-]*\w)*", guide))
    paths |= {f"deploy/k8s/{path}" for path in re.findall(r"`((?:base|components|data|overlays)(?:/[\w.-]+)*)`", guide)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    kinds = {"deploy": "Deployment", "svc": "Service", "pod": "Pod"}
    objects = {f"{kinds[kind]}/{name}" for kind, name in re.findall(r" (deploy|svc|pod)/([a-z]+)\b", guide)}
    assert {"Deployment/trainer", "Service/evaluator", "Pod/clips"} <= objects
    assert objects <= set(map(_named, MANIFESTS))
