"""Tokens over a real socket: none, wrong, read for a write, revoked, expired, too many; and reloads of the file."""

import json
import logging
import random
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from signet.errors import Busy, InvalidSetting, Unauthenticated
from signet.rpc.client import to_signet_error
from signet.security.access import AccessControl
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token, hash_token, revoke_token
from signet.v1 import extractor_pb2, extractor_pb2_grpc
from tests.signet.security.conftest import secured

METHOD = "signet.v1.Extractor/ExtractClip"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


class Caller:
    """Calls the service of conftest with a token, and returns the names of statuses."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = extractor_pb2_grpc.ExtractorStub(self.channel)

    def read(self, metadata: Any = ()) -> Any:
        return self.stub.ExtractClip(extractor_pb2.ExtractClipRequest(video=b"v"), timeout=10, metadata=metadata)

    def write(self, metadata: Any = ()) -> Any:
        return self.stub.StartExtraction(extractor_pb2.StartExtractionRequest(), timeout=10, metadata=metadata)

    def watch(self, metadata: Any = ()) -> Any:
        return list(self.stub.WatchExtraction(extractor_pb2.WatchExtractionRequest(), timeout=10, metadata=metadata))

    def upload(self, metadata: Any = ()) -> Any:
        requests = iter([extractor_pb2.ExtractClipStreamRequest(chunk=b"c")])
        return list(self.stub.ExtractClipStream(requests, timeout=10, metadata=metadata))


@contextmanager
def guarded(tokens_file: Path, **settings: Any) -> Iterator[Caller]:
    with secured(tokens_file=tokens_file, **settings) as server:
        caller = Caller(server.port)
        with caller.channel:
            yield caller


def refusal(call: Any, *arguments: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments)
    return refused.value


def status(call: Any, *arguments: Any) -> str:
    """The name of the status of a call."""
    try:
        call(*arguments)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_a_call_without_a_valid_token_is_unauthenticated(tokens_file: Path) -> None:
    token = create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    with guarded(tokens_file) as caller:
        for call in (caller.read, caller.write, caller.watch, caller.upload):
            assert status(call) == "UNAUTHENTICATED"
            assert status(call, bearer(token[:-1] + "x")) == "UNAUTHENTICATED"
        for value in (
            "",
            "Bearer",
            "Bearer ",
            token,
            f"Basic {token}",
            f"Bearer {hash_token(token)}",
            f"Bearer {token} x",
        ):
            error = refusal(caller.read, (("authorization", value),))
            assert error.code().name == "UNAUTHENTICATED", value
            assert token not in error.details()
        assert status(caller.read, bearer(token) * 2) == "UNAUTHENTICATED", "which of two would count?"
        assert caller.read(bearer(token)).landmarks == b"v"
        assert status(caller.read, (("authorization", f"bearer {token}"),)) == "OK", "RFC 7235: any case"
        assert status(caller.upload, bearer(token)) == "OK"
        assert status(caller.watch, bearer(token)) == "OK"


def test_no_value_of_the_metadata_confuses_the_check(tokens_file: Path) -> None:
    token = create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    access, signs = AccessControl(tokens_file), random.Random(1)  # noqa: S311
    alphabet = [*map(chr, range(0x20, 0x7F)), token, "Bearer", " ", "\t", ",", "signet_", "\ud800", "é", "\0"]
    for _ in range(3000):
        value = "".join(signs.choices(alphabet, k=signs.randrange(12)))
        if value.lower().split() == ["bearer", token.lower()] and token in value:
            continue
        with pytest.raises(Unauthenticated):
            access.check(METHOD, (("authorization", value),))
    long, half, in_bytes = "Bearer " + "x" * 1_000_000, "Bearer \ud800", b"Bearer " + token.encode()
    for other in (long, half, in_bytes, b"\xff\xfe"):
        with pytest.raises(Unauthenticated):
            access.check(METHOD, (("authorization", other),))


def test_a_token_that_may_read_may_not_write(tokens_file: Path) -> None:
    tokens = {name: create_token(tokens_file, str(name), TokenLimits(name)) for name in Permission}
    with guarded(tokens_file) as caller:
        error = refusal(caller.write, bearer(tokens[Permission.READ]))
        assert error.code().name == "PERMISSION_DENIED"
        assert error.details() == (
            "signet.v1.Extractor/StartExtraction: needs a token with the permission write. The token 'read' has read."
        )
        assert status(caller.write, bearer(tokens[Permission.WRITE])) == "OK"
        assert status(caller.write, bearer(tokens[Permission.ADMIN])) == "OK"
        assert status(caller.read, bearer(tokens[Permission.ADMIN])) == "OK"


def test_a_request_is_refused_before_it_is_received(tokens_file: Path) -> None:
    create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    with guarded(tokens_file) as caller:
        started = time.monotonic()
        call = caller.stub.ExtractClipStream(_endless(), timeout=20)
        error = refusal(list, call)
        assert error.code().name == "UNAUTHENTICATED"
        assert time.monotonic() - started < 10


def _endless() -> Iterator[Any]:
    while True:
        yield extractor_pb2.ExtractClipStreamRequest(chunk=bytes(1 << 20))


def test_health_is_open_and_reflection_and_unknown_methods_are_not(tokens_file: Path) -> None:
    token = create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    with guarded(tokens_file) as caller:
        health = health_pb2_grpc.HealthStub(caller.channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        assert next(iter(health.Watch(health_pb2.HealthCheckRequest(), timeout=10))).status == 1
        assert _reflection(caller) == "UNAUTHENTICATED"
        assert _reflection(caller, bearer(token)) == "OK"
        unknown = caller.channel.unary_unary("/signet.v1.Extractor/Nothing")
        error = refusal(lambda: unknown(b"", timeout=10))
        assert (error.code().name, "ExtractClip" in error.details()) == ("UNAUTHENTICATED", False)
        error = refusal(lambda: unknown(b"", timeout=10, metadata=bearer(token)))
        assert (error.code().name, "ExtractClip" in error.details()) == ("UNIMPLEMENTED", True)


def _reflection(caller: Caller, metadata: Any = ()) -> str:
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    return status(lambda: list(stub.ServerReflectionInfo(requests, timeout=10, metadata=metadata)))


def test_reflection_can_be_turned_off() -> None:
    with secured(reflection=False) as server:
        caller = Caller(server.port)
        with caller.channel:
            assert _reflection(caller) == "UNIMPLEMENTED"
            assert status(caller.read) == "OK"
    with secured() as server:
        caller = Caller(server.port)
        with caller.channel:
            assert _reflection(caller) == "OK"


def test_too_many_calls_of_a_token_are_told_when_to_retry(tokens_file: Path) -> None:
    slow = create_token(tokens_file, "slow", TokenLimits(Permission.READ, 0.1, 3))
    fast = create_token(tokens_file, "fast", TokenLimits(Permission.READ))
    with guarded(tokens_file) as caller:
        assert [status(caller.read, bearer(slow)) for _ in range(4)] == ["OK", "OK", "OK", "RESOURCE_EXHAUSTED"]
        error = to_signet_error(refusal(caller.read, bearer(slow)))
        assert isinstance(error, Busy)
        assert error.retry_seconds is not None
        assert 0 < error.retry_seconds <= 10
        assert "the token 'slow' may make 0.1 calls a second" in str(error)
        assert status(caller.read, bearer(fast)) == "OK"


def test_a_revoked_token_is_refused_within_a_second_and_a_new_one_accepted(tokens_file: Path) -> None:
    old = create_token(tokens_file, "old", TokenLimits(Permission.READ))
    with guarded(tokens_file) as caller:
        assert status(caller.read, bearer(old)) == "OK"
        new = create_token(tokens_file, "new", TokenLimits(Permission.READ))
        revoke_token(tokens_file, "old")
        time.sleep(1.1)
        assert status(caller.read, bearer(new)) == "OK"
        assert status(caller.read, bearer(old)) == "UNAUTHENTICATED"


def test_no_token_is_in_an_error_a_metric_or_the_log(tokens_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = create_token(tokens_file, "phone", TokenLimits(Permission.READ, 0.001, 2))
    wrong = "signet_" + "W" * 43
    details = []
    with secured(tokens_file=tokens_file) as server:
        caller = Caller(server.port)
        with caller.channel:
            for sent in (token, token, token, wrong, f"{wrong} {token}"):
                for call in (caller.read, caller.write):
                    try:
                        call(bearer(sent))
                    except grpc.RpcError as error:
                        details.append(f"{error.details()} {error.trailing_metadata()}")
            with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=5) as answer:
                page = answer.read().decode()
    assert len(details) >= 6
    for text in (*details, page, caplog.text):
        for secret in (token, wrong, hash_token(token)):
            assert secret not in text
    assert 'code="UNAUTHENTICATED",method="signet.v1.Extractor/ExtractClip"' in page, "refusals are counted"


# ---- without a server ----


def test_without_a_file_every_call_is_allowed() -> None:
    AccessControl(None).check(METHOD, ())
    AccessControl(None).check("signet.v1.Nothing/Unknown", None)


def test_a_file_without_tokens_lets_no_call_in(tokens_file: Path) -> None:
    tokens_file.write_text('{"tokens": []}')
    with pytest.raises(Unauthenticated):
        AccessControl(tokens_file).check(METHOD, bearer("x"))


def test_an_expired_token_is_refused_with_its_time(tokens_file: Path) -> None:
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    entry = {"name": "old", "sha256": hash_token("t"), "permission": "read", "expires": past}
    tokens_file.write_text(json.dumps({"tokens": [entry]}))
    with pytest.raises(Unauthenticated, match=r"the token 'old' expired at 20\d\d-"):
        AccessControl(tokens_file).check(METHOD, bearer("t"))


def test_a_broken_file_keeps_the_tokens_of_before_and_is_named_once(
    tokens_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = create_token(tokens_file, "a", TokenLimits(Permission.READ))
    good = tokens_file.read_bytes()
    now = [0.0]
    access = AccessControl(tokens_file, lambda: now[0])
    for content in (b"{", b"{ ", None):
        if content is None:
            tokens_file.unlink()
        else:
            tokens_file.write_bytes(content)
        for _ in range(3):
            now[0] += 1.1
            access.check(METHOD, bearer(token))
    assert caplog.text.count("the changed file of tokens is not used") == 3, "once for each content"
    assert "The tokens of before stay valid" in caplog.text
    tokens_file.write_bytes(good)
    second = create_token(tokens_file, "b", TokenLimits(Permission.READ))
    now[0] += 1.1
    access.check(METHOD, bearer(second))


def test_a_missing_or_broken_file_stops_the_start(tokens_file: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot be read"):
        AccessControl(tokens_file)
    tokens_file.write_text("{}x")
    with pytest.raises(InvalidSetting, match="cannot be used"):
        AccessControl(tokens_file)


def test_a_file_that_everybody_can_write_is_named(tokens_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    create_token(tokens_file, "a", TokenLimits(Permission.READ))
    tokens_file.chmod(0o666)
    AccessControl(tokens_file)
    assert "all users of this machine can add tokens" in caplog.text
