"""Each service as a process with TLS, client certificates, tokens and an S3 store: refusals, and what is logged."""

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.local.child_processes import Child, free_ports
from signet.rpc.health import is_serving
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token, hash_token
from tests.certificates import YESTERDAY, Authority, Pair
from tests.signet.store.test_s3 import _Server

SECRET, SESSION = "S3-secret-0123456789", "S3-session-0123456789"

# A method that reads, and one that writes. An empty request is enough to see whether a call is let in.
METHODS = {
    "evaluator": ("signet.v1.Evaluation/ListReports", "signet.v1.Evaluation/RunEvaluation"),
    "extractor": ("signet.v1.Extractor/WatchExtraction", "signet.v1.Extractor/CancelExtraction"),
    "trainer": ("signet.v1.Trainer/ListRuns", "signet.v1.Trainer/StopRun"),
}
# What a call that was let in can end with: the server that stands in for a store has no objects.
LET_IN = {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "DATA_LOSS", "UNAVAILABLE"}


class SecuredService:
    """A running service with everything turned on."""

    def __init__(self, name: str, folder: Path, store: str) -> None:
        self.authority = Authority(folder, "authority")
        self.stranger = Authority(folder / "stranger", "stranger")
        self.client = self.authority.issue("client")
        self.tokens = {
            permission: create_token(folder / "tokens.json", str(permission), TokenLimits(permission))
            for permission in Permission
        }
        server = self.authority.issue("server")
        self.port, self.metrics_port = free_ports(2)
        environment = {
            "SIGNET_STORE": store, "SIGNET_S3_ACCESS_KEY": "user", "SIGNET_S3_SECRET_KEY": SECRET,
            "SIGNET_S3_SESSION_TOKEN": SESSION, "SIGNET_CACHE": str(folder / "cache"),
            "SIGNET_PORT": str(self.port), "SIGNET_METRICS_PORT": str(self.metrics_port),
            "SIGNET_TLS_CERTIFICATE": str(server.certificate), "SIGNET_TLS_KEY": str(server.key),
            "SIGNET_TLS_CLIENT_CA": str(self.authority.ca), "SIGNET_TOKENS_FILE": str(folder / "tokens.json"),
            "SIGNET_LOG_LEVEL": "DEBUG", "SIGNET_REFLECTION": "false", "SIGNET_WORKERS": "1",
            "SIGNET_WLASL": str(folder), "SIGNET_CLIENT_TOKEN": self.tokens[Permission.READ],
        }  # fmt: skip
        self.child = Child(name, [sys.executable, "-m", f"services.{name}"], environment, folder / "log")
        self.child.wait_until(lambda: is_serving(f"http://127.0.0.1:{self.metrics_port}/healthz", 2), 60)

    def channel(self, ca: Authority | None = None, pair: Pair | None = None) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            (ca or self.authority).ca.read_bytes(),
            pair and pair.key.read_bytes(),
            pair and pair.certificate.read_bytes(),
        )
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials)

    def call(self, channel: grpc.Channel, method: str, token: str | None = None) -> tuple[str, str]:
        """The status of a call, and its details."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            list(channel.stream_stream(f"/{method}")(iter([b""]), timeout=20, metadata=metadata))
        except grpc.RpcError as error:
            return str(error.code().name), f"{error.details()} {error.trailing_metadata()}"
        return "OK", ""


@pytest.fixture(params=sorted(METHODS))
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, SecuredService]]:
    (tmp_path / "stranger").mkdir()
    with _Server() as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running = SecuredService(request.param, tmp_path, f"http://127.0.0.1:{store.server_port}/bucket")
        try:
            yield request.param, running
        finally:
            running.child.stop(15)
            store.shutdown()
            thread.join()


def test_each_service_refuses_who_may_not_call_it_and_logs_no_secret(service: tuple[str, SecuredService]) -> None:
    name, running = service
    read, write = METHODS[name]
    wrong = "signet_" + "w" * 43
    answers = []
    with running.channel(pair=running.client) as channel:
        for method, token, expected in (
            (read, None, {"UNAUTHENTICATED"}),
            (read, wrong, {"UNAUTHENTICATED"}),
            (write, wrong, {"UNAUTHENTICATED"}),
            (write, running.tokens[Permission.READ], {"PERMISSION_DENIED"}),
            (read, running.tokens[Permission.READ], LET_IN),
            (write, running.tokens[Permission.WRITE], LET_IN),
            (write, running.tokens[Permission.ADMIN], LET_IN),
            ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", None, {"UNAUTHENTICATED"}),
        ):
            status, details = running.call(channel, method, token)
            assert status in expected, (method, details)
            answers.append(details)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    token = running.tokens[Permission.ADMIN]
    expired = running.authority.issue("expired", end=YESTERDAY)
    for refused in (
        running.channel(),
        running.channel(pair=expired),
        running.channel(pair=running.stranger.issue("stranger-client")),
        running.channel(running.stranger, running.client),
        grpc.insecure_channel(f"127.0.0.1:{running.port}"),
    ):
        with refused:
            assert running.call(refused, read, token)[0] == "UNAVAILABLE"
    running.child.stop(15)
    log = running.child.log.read_text()
    assert "Traceback" not in log
    assert re.search(r"listening on 127\.0\.0\.1:\d+", log)
    secrets = [SECRET, SESSION, wrong, *running.tokens.values(), *map(hash_token, running.tokens.values())]
    secrets += [line for path in running.authority.folder.glob("*.key") for line in path.read_text().splitlines()[1:-1]]
    for text in (log, *answers):
        assert [secret for secret in secrets if secret in text] == []
