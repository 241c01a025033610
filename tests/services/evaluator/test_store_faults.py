"""A real evaluator process whose store is slow, answers nonsense, is damaged or full, or whose disk is full."""

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest

from services.local.seaweedfs import LocalStore
from signet import landmarks, registry
from signet.datasets.snapshot import Dataset
from signet.registry import LATEST, ModelCard
from signet.store import keys
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, registry_pb2, registry_pb2_grpc
from tests.services.evaluator.conftest import place_of
from tests.services.evaluator.test_process import Process, started, wait_for
from tests.services.evaluator.test_reloads import SECONDS, Load, grpc_status

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

# No file can grow, as on a full disk.
FULL_DISK = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh")
WRITES = {"PUT", "POST", "DELETE"}
SLOW_SECONDS = 1.0


class FaultyStore:
    """A proxy before an S3 server, whose `fault` decides what becomes of each request; "" for none."""

    def __init__(self, url: str) -> None:
        self.fault = ""
        self.failed = 0
        upstream = urlsplit(url)
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if store.fault and self.spoil(store.fault):
                    store.failed += 1
                    return
                connection = http.client.HTTPConnection(upstream.netloc, timeout=SECONDS)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"transfer-encoding", "date", "server", "connection"}:
                        self.send_header(name, value)
                if answer.getheader("Content-Length") is None:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if store.fault == "cut" else data)
                self.close_connection = store.fault == "cut"

            def spoil(self, fault: str) -> bool:
                """Answer in place of the store; False if the store is to answer."""
                if fault == "slow":
                    time.sleep(SLOW_SECONDS)
                if fault == "garbage":
                    self.wfile.write(b"\x00\xff nonsense \r\n\r\n")
                elif fault == "page":
                    self.reply(200, b"<!DOCTYPE html><h1>Welcome</h1>", "text/html")
                elif fault == "full" and self.command in WRITES:
                    self.reply(507, b"<Error><Code>InsufficientStorage</Code><Message>disk full</Message></Error>")
                elif fault == "read-only" and self.command in WRITES:
                    self.reply(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>")
                else:
                    return False
                self.close_connection = True
                return True

            def reply(self, status: int, body: bytes, kind: str = "application/xml") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{upstream.path}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def clip(sign: Any) -> bytes:
    """A clip of `drink`."""
    return landmarks.dump(sign("new", "", place_of(2, 6), frames=40))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with LocalStore(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def faulty(server: LocalStore) -> Iterator[FaultyStore]:
    for info in list(server.open().list("")):
        server.open().delete(info.key)
    proxy = FaultyStore(server.url)
    yield proxy
    proxy.close()


def recognised(process: Process, clip: bytes) -> tuple[str, str]:
    """The version that answers, and the gloss."""
    with grpc.insecure_channel(process.address) as channel:
        answer = evaluator_pb2_grpc.RecognizerStub(channel).Recognize(
            evaluator_pb2.RecognizeRequest(landmarks=clip), timeout=SECONDS
        )
        return answer.model_version, answer.predictions[0].gloss


def refused(process: Process) -> list[tuple[str, str]]:
    """The status and message of two calls that write to the store: an evaluation and a promotion."""
    with grpc.insecure_channel(process.address) as channel:
        calls: list[tuple[Any, Any]] = [
            (evaluator_pb2_grpc.EvaluationStub(channel).RunEvaluation, evaluator_pb2.RunEvaluationRequest()),
            (registry_pb2_grpc.RegistryStub(channel).Promote, registry_pb2.PromoteRequest(model_version=LATEST)),
        ]
        found = []
        for call, request in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=SECONDS)
            found.append((caught.value.code().name, str(caught.value.details())))
        return found


@pytest.mark.parametrize("fault", ["slow", "garbage", "page", "cut"])
def test_serving_goes_on_beside_a_store_that_answers_late_or_nonsense(
    world: "World", clip: bytes, server: LocalStore, faulty: FaultyStore, fault: str
) -> None:
    world.store = server.open()
    snapshot = world.snapshot(world.everyday_clips())
    card = world.publish(snapshot)
    with started(world, **server.environment | {"SIGNET_STORE": faulty.url}) as process:
        assert recognised(process, clip) == (card.version, "drink")
        faulty.fault = fault
        with Load(process.address, clip, callers=2) as load:
            newer = world.publish(snapshot)
            if fault == "slow":
                wait_for(lambda: load.answers[-1].version == newer.version)
            else:
                wait_for(lambda: bool(grpc_status(process.address).reason))
                wait_for(lambda: len(load.answers) > 50)
                assert {answer.version for answer in load.answers} == {card.version}
                faulty.fault = ""
                wait_for(lambda: load.answers[-1].version == newer.version)
        assert load.errors == []
        assert max(answer.ended - answer.begun for answer in load.answers) < SLOW_SECONDS + 4
        assert grpc_status(process.address).reason == ""
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)


@pytest.mark.parametrize(("fault", "words"), [("full", "disk full"), ("read-only", "AccessDenied")])
def test_calls_that_write_are_refused_and_recognition_goes_on_if_the_store_takes_no_objects(
    world: "World", clip: bytes, server: LocalStore, faulty: FaultyStore, fault: str, words: str
) -> None:
    world.store = server.open()
    snapshot = world.snapshot(world.everyday_clips())
    card = world.publish(snapshot)
    settings = server.environment | {"SIGNET_STORE": faulty.url, "SIGNET_REGISTRY_WRITES": "true"}
    with started(world, **settings) as process:
        faulty.fault = fault
        for status, message in refused(process):
            assert status == "UNAVAILABLE", message
            assert words in message
        assert "production" not in registry.aliases(world.store, "signet")
        newer = world.publish(snapshot)
        assert card.version != newer.version
        wait_for(lambda: recognised(process, clip) == (newer.version, "drink"))
        faulty.fault = ""
        with grpc.insecure_channel(process.address) as channel:
            report = evaluator_pb2_grpc.EvaluationStub(channel).RunEvaluation(
                evaluator_pb2.RunEvaluationRequest(), timeout=SECONDS
            )
        assert report.summary.model_version == newer.version
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)


@pytest.mark.parametrize("damaged", ["model.json", "model.onnx", "alias"])
def test_a_damaged_object_is_named_and_the_old_version_serves_until_it_is_restored(
    world: "World", snapshot: Dataset, card: ModelCard, clip: bytes, damaged: str
) -> None:
    with started(world) as process:
        newer = world.publish(snapshot)
        wait_for(lambda: recognised(process, clip)[0] == newer.version)
        key = keys.alias("signet", LATEST) if damaged == "alias" else keys.model("signet", card.version, damaged)
        if damaged == "alias":
            whole = world.store.get(key)
            world.store.put(key, b"\x00" * 100)
        else:
            whole = world.store.get(key)
            world.store.put(key, whole[:-10] + b"\xff" * 10)
            # As another program would move it, without a look at the card.
            alias = world.store.get(keys.alias("signet", LATEST)).replace(newer.version.encode(), card.version.encode())
            world.store.put(keys.alias("signet", LATEST), alias)
        wait_for(lambda: bool(grpc_status(process.address).reason))
        assert damaged.replace("alias", "aliases/latest.json") in grpc_status(process.address).reason
        assert recognised(process, clip) == (newer.version, "drink")
        world.store.put(key, whole)
        if damaged != "alias":  # a refused version is tried again after a minute, another one at once
            registry.promote(world.store, "signet", newer.version, LATEST)
        wait_for(lambda: grpc_status(process.address).reason == "")
        assert recognised(process, clip) == (newer.version, "drink")
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)


def test_a_full_disk_stops_no_recognition(world: "World", snapshot: Dataset, clip: bytes, tmp_path: Path) -> None:
    """The cache and the store are on it: objects that were stored before can be read, and none can be written."""
    card = world.publish(snapshot)
    settings = {"SIGNET_CACHE": str(tmp_path / "cache"), "SIGNET_REGISTRY_WRITES": "true"}
    with started(world, FULL_DISK, **settings) as process:
        assert recognised(process, clip) == (card.version, "drink")
        for status, message in refused(process):
            assert status == "UNAVAILABLE", message
            assert "File too large" in message
        newer = world.publish(snapshot)
        wait_for(lambda: recognised(process, clip) == (newer.version, "drink"))
        assert process.stop() == 0
    assert "Traceback" not in "".join(process.log)
    assert registry.aliases(world.store, "signet") == {LATEST: newer.version}
