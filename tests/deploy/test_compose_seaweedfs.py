"""SeaweedFS as compose starts it: its inner ports need a certificate, its console a password of its own."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from pydantic import SecretStr

from services.evaluator.__main__ import evaluator
from services.local.child_processes import Child, free_ports
from signet import landmarks, registry
from signet.errors import Unavailable
from signet.store import ObjectStore, StoreSettings, keys, open_store
from signet.v1 import enrolment_pb2, enrolment_pb2_grpc
from tests.conftest import ROOT
from tests.servers import serving
from tests.services.evaluator.conftest import World, everyday_clips, make_clip
from tests.services.evaluator.enrolment.conftest import NEW_PLACE, publish_open_model
from tests.signet.registry.models import FILES, make_card

# The folders that a service may write to, and all that it may read.
WRITES = {
    "extractor": {"landmarks", "corpora"},
    "trainer": {"datasets", "runs", "models"},
    "evaluator": {"reports"},
}
FOLDERS = {"landmarks", "corpora", "datasets", "runs", "models", "reports"}
READS = {"extractor": WRITES["extractor"], "trainer": FOLDERS, "evaluator": FOLDERS}

INNER = ("master", "volume", "filer")
GRPC = ("master", "volume", "filer", "s3", "admin")


class ComposedStore:
    """The store that the command of the compose file started, with the credentials that its script made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("store", "grafana", "seaweedfs", "data", *WRITES):
            (folder / name).mkdir()
        script = (ROOT / "deploy/make-credentials").read_text()
        self.script = script.replace("/credentials/", f"{folder}/").replace('"/seaweedfs/', f'"{folder}/seaweedfs/')
        self.make_credentials()
        names = [*(f"{name}.port" for name in (*INNER, "s3", "admin")), *(f"{name}.port.grpc" for name in GRPC)]
        names.append("metricsPort")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.child = Child("store", ["/bin/sh", "-c", self._command()], self._environment(), folder / "log")

    def make_credentials(self) -> None:
        """Run the script as the step `credentials` of compose does."""
        script = self.script
        environment = {"PATH": os.environ["PATH"], "STORE_USER": "signet", "STORE_BUCKET": "signet"}
        subprocess.run(["sh", "-c", script], env=environment, check=True, capture_output=True)

    def secret(self, path: str) -> str:
        """The text of a file that the script made."""
        return (self.folder / path).read_text()

    def open(self, user: str = "signet", folder: str = "store") -> ObjectStore:
        """The store, as a user opens it whose secret is in this folder."""
        url = f"http://127.0.0.1:{self.ports['s3.port']}/signet"
        secret = SecretStr(self.secret(f"{folder}/secret-key"))
        return open_store(StoreSettings(store=url, s3_access_key=user, s3_secret_key=secret, cache=None))

    def ready(self) -> bool:
        """Whether a put succeeds, and the console, which starts last, has written its options and answers."""
        try:
            self.open().put("ready", b"ready")
            socket.create_connection(("127.0.0.1", self.ports["admin.port"]), timeout=5).close()
        except (Unavailable, OSError):
            return False
        return (self.folder / "data/mini.options").exists()

    def _command(self) -> str:
        """The command of the compose file with this test's folders and ports."""
        text = (ROOT / "deploy/compose.seaweedfs.yaml").read_text().replace("!override", "")  # a tag of Compose
        override: dict[str, Any] = yaml.safe_load(text)
        service = override["services"]["minio"]
        (command,) = service["command"]
        assert service["working_dir"] == "/seaweedfs"
        assert "seaweedfs-credentials:/seaweedfs:ro" in service["volumes"]
        command = command.replace("$$", "$").replace("-dir=/data", f"-dir={self.folder}/data")
        command = command.replace("=/seaweedfs/", f"={self.folder}/seaweedfs/")
        command = command.replace("-ip=minio", "-ip=127.0.0.1").replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        command = re.sub(r" -(s3\.port|admin\.port|metricsPort)=\d+", "", command)
        command += "".join(f" -{name}={port}" for name, port in self.ports.items())
        return f'cd "{self.folder}/seaweedfs"; {command}'

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedStore]:
    """A running store."""
    store = ComposedStore(tmp_path_factory.mktemp("composed"))
    try:
        store.child.wait_until(store.ready, 60)
        yield store
    finally:
        store.child.stop(15)


def _anonymous_answer(port: int, method: str, *, tls: bool) -> bytes:
    """The body of an answer without a certificate; nothing if there is no answer."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl._create_unverified_context()  # noqa: S323  (an attacker does not ask who answers)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, "/buckets/signet/attack", body=b"attack")
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def test_no_inner_port_of_the_composed_store_answers_without_the_certificate(composed: ComposedStore) -> None:
    inner = [f"{name}.port" for name in INNER] + [f"{name}.port.grpc" for name in GRPC]
    for name in inner:
        for method in ("GET", "PUT", "DELETE"):
            assert _anonymous_answer(composed.ports[name], method, tls=True) == b"", name
            plain = _anonymous_answer(composed.ports[name], method, tls=False).strip()
            assert plain in {b"", b"Client sent an HTTP request to an HTTPS server."}, name
    assert {item.key for item in composed.open().list("")} == {"ready"}


def test_no_secret_of_the_composed_store_is_on_its_command_line_or_in_its_files(composed: ComposedStore) -> None:
    (weed,) = (process for process in [psutil.Process(composed.child.pid)] if "weed" in process.name())
    secrets = [composed.secret("store/secret-key"), composed.secret("seaweedfs/console-password")]
    secrets += [composed.secret(f"{service}/secret-key") for service in WRITES]
    secrets += re.findall(r'key = "([0-9a-f]{48})"', composed.secret("seaweedfs/security.toml"))
    assert len(set(secrets)) == 9
    places = [" ".join(weed.cmdline()), composed.secret("log"), composed.secret("data/mini.options")]
    assert [secret for secret in secrets for place in places if secret in place] == []


def test_the_console_takes_its_own_password_and_not_the_secret_of_the_store(composed: ComposedStore) -> None:
    pages = {}
    for path in ("store/secret-key", "seaweedfs/console-password"):
        connection = http.client.HTTPConnection("127.0.0.1", composed.ports["admin.port"], timeout=10)
        connection.request("GET", "/login")
        page = connection.getresponse()
        cookie = (page.getheader("Set-Cookie") or "").partition(";")[0]
        (token,) = re.findall(r'name="csrf_token" value="(\w+)"', page.read().decode())
        form = f"username=admin&password={composed.secret(path)}&csrf_token={token}"
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request("POST", "/login", body=form, headers=headers)
        answer = connection.getresponse()
        answer.read()
        pages[path] = answer.getheader("Location") or ""
        connection.close()
    assert "error" in pages["store/secret-key"]
    assert "error" not in pages["seaweedfs/console-password"]


def test_a_second_start_keeps_the_keys_of_seaweedfs(composed: ComposedStore) -> None:
    names = ("security.toml", "key.pem", "certificate.pem", "console-password", "users.json")
    before = [composed.secret(f"seaweedfs/{name}") for name in names]
    composed.make_credentials()
    assert [composed.secret(f"seaweedfs/{name}") for name in names] == before


@pytest.mark.parametrize("service", WRITES)
def test_a_service_may_do_in_the_store_only_what_it_does(composed: ComposedStore, service: str) -> None:
    """Its key is not the key of the store: a service that is broken into cannot change the work of another one."""
    root, store = composed.open(), composed.open(f"signet-{service}", service)
    allowed: dict[str, set[str]] = {"read": set(), "write": set(), "create": set(), "delete": set()}
    for folder in sorted(FOLDERS | {"probe"}):
        for key in ("old", "deleted"):
            root.put(f"{folder}/{service}/{key}", b"old")
        attempts: dict[str, tuple[Callable[..., object], tuple[str | bytes, ...]]] = {
            "read": (store.get, (f"{folder}/{service}/old",)),
            "write": (store.put, (f"{folder}/{service}/old", b"new")),
            "create": (store.create, (f"{folder}/{service}/new", b"new")),
            "delete": (store.delete, (f"{folder}/{service}/deleted",)),
        }
        for name, (attempt, arguments) in attempts.items():
            with contextlib.suppress(Unavailable):
                attempt(*arguments)
                allowed[name].add(folder)
        left = {item.key.rpartition("/")[2] for item in root.list(f"{folder}/{service}/")}
        assert left == ({"old", "new"} if folder in WRITES[service] else {"old", "deleted"})
        for key in left:
            root.delete(f"{folder}/{service}/{key}")
    assert allowed.pop("read") == READS[service]
    assert allowed == dict.fromkeys(("write", "create", "delete"), WRITES[service])


def test_the_evaluator_may_move_and_delete_aliases_and_change_no_trained_version(composed: ComposedStore) -> None:
    root, store = composed.open(), composed.open("signet-evaluator", "evaluator")
    for version in ("v1", "v2"):
        registry.publish(root, make_card(version), FILES)
    registry.promote(store, "signet", "v1")
    registry.promote(store, "signet", "v2", reason="over gRPC")
    registry.rollback(store, "signet", expected_from="v2")
    registry.delete_alias(store, "signet", "production")
    registry.promote(store, "signet", "v2", "production", expected_from="")
    assert registry.aliases(root, "signet") == {"latest": "v2", "production": "v2"}
    with pytest.raises(Unavailable, match=r"AccessDenied|may not|not allowed"):
        registry.delete(store, "signet", "v1")
    for key in (
        keys.model("signet", "v1", "model.json"),
        keys.model("signet", "v3", "model.json"),
        keys.model("x-enrolled", "v1", "model.json"),
        keys.model("signet", "v1-enrolled-", "model.json"),
        "models/signet/model-enrolled",
        "runs/aliases/x",
        "runs/r1-enrolled/x",
    ):
        with pytest.raises(Unavailable):
            store.put(key, b"{}")
    assert registry.versions(root, "signet") == ["v1", "v2"]


def test_a_sign_is_enrolled_and_forgotten_over_grpc_with_the_rights_of_the_evaluator(
    composed: ComposedStore, tmp_path: Path
) -> None:
    world = World(tmp_path / "none")
    world.store = composed.open()
    trained = publish_open_model(world, world.snapshot(everyday_clips()))
    user = {
        "s3_access_key": "signet-evaluator",
        "s3_secret_key": SecretStr(composed.secret("evaluator/secret-key")),
        "cache": None,
    }
    before = {info.key: info.etag for info in world.store.list("") if not info.key.startswith("models/signet/aliases/")}
    with serving(lambda: evaluator(world.settings(registry_writes=True, **user))) as channel:
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)
        examples = [make_clip(f"mine{shift}", "", NEW_PLACE + 0.02 * shift, frames=60) for shift in (-1, 0, 1)]
        requests = [enrolment_pb2.EnrollRequest(gloss="my sign", landmarks=landmarks.dump(clip)) for clip in examples]
        enrolled = stub.Enroll(iter(requests)).result
        assert (enrolled.parent_version, enrolled.vocabulary_size) == (trained.version, 7)
        forgotten = stub.Forget(enrolment_pb2.ForgetRequest(gloss="my sign")).result
        assert (forgotten.parent_version, forgotten.vocabulary_size) == (enrolled.model_version, 6)
    assert registry.resolve(world.store, "signet", "latest") == forgotten.model_version
    after = {info.key: info.etag for info in world.store.list("") if info.key in before}
    assert after == before, "everything that was in the store is unchanged"
    mine = composed.open("signet-evaluator", "evaluator")
    assert registry.delete(mine, "signet", enrolled.model_version) == 4
    with pytest.raises(Unavailable):
        registry.delete(mine, "signet", trained.version)
