"""TLS over a real socket, the rules between the settings, and the message for each refused client."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from signet.errors import InvalidSetting, Unavailable
from signet.rpc.client import signet_errors
from signet.rpc.server import ServiceServer
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from signet.v1 import extractor_pb2, extractor_pb2_grpc
from tests.certificates import YESTERDAY, Authority, Pair
from tests.signet.security.conftest import secured

ANY = "0.0.0.0"  # noqa: S104  (a test of the setting; only this machine's own tests reach the port)


def call(channel: grpc.Channel, metadata: Any = ()) -> str:
    """The name of the status of one call, and its details."""
    stub = extractor_pb2_grpc.ExtractorStub(channel)
    with channel:
        try:
            stub.ExtractClip(extractor_pb2.ExtractClipRequest(video=b"v"), timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def trusting(server: ServiceServer, ca: Path, pair: Pair | None = None) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(), pair and pair.key.read_bytes(), pair and pair.certificate.read_bytes()
    )
    return grpc.secure_channel(f"127.0.0.1:{server.port}", credentials)


@pytest.fixture(scope="module")
def tls(pair: Pair) -> Iterator[ServiceServer]:
    with secured(tls_certificate=pair.certificate, tls_key=pair.key) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(pair: Pair, authority: Authority) -> Iterator[ServiceServer]:
    with secured(tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=authority.ca) as server:
        yield server


def test_a_client_that_trusts_the_authority_is_served(tls: ServiceServer, authority: Authority) -> None:
    assert call(trusting(tls, authority.ca)) == "OK"


def test_a_client_with_another_authority_refuses_the_server(tls: ServiceServer, stranger: Authority) -> None:
    assert call(trusting(tls, stranger.ca)) == "UNAVAILABLE"


def test_plain_text_to_a_tls_port_is_refused(tls: ServiceServer, authority: Authority) -> None:
    assert call(grpc.insecure_channel(f"127.0.0.1:{tls.port}")) == "UNAVAILABLE"
    assert call(trusting(tls, authority.ca)) == "OK", "and it serves on"


def test_tls_to_a_plain_port_is_refused(authority: Authority) -> None:
    with secured() as server:
        assert call(trusting(server, authority.ca)) == "UNAVAILABLE"


def test_a_client_refuses_a_certificate_for_another_host(authority: Authority) -> None:
    pair = authority.issue("elsewhere", hosts=("elsewhere.example",))
    with secured(tls_certificate=pair.certificate, tls_key=pair.key) as server:
        assert call(trusting(server, authority.ca)) == "UNAVAILABLE"


def test_under_mutual_tls_only_a_client_of_the_authority_is_served(
    mutual: ServiceServer, authority: Authority, stranger: Authority, client_pair: Pair
) -> None:
    assert call(trusting(mutual, authority.ca, client_pair)) == "OK"
    assert call(trusting(mutual, authority.ca)) == "UNAVAILABLE", "no certificate"
    assert call(trusting(mutual, authority.ca, stranger.issue("other"))) == "UNAVAILABLE", "another authority"
    expired = authority.issue("expired-client", end=YESTERDAY)
    assert call(trusting(mutual, authority.ca, expired)) == "UNAVAILABLE", "expired"


def test_tokens_and_tls_work_together(pair: Pair, authority: Authority, tokens_file: Path) -> None:
    token = create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    with secured(tls_certificate=pair.certificate, tls_key=pair.key, tokens_file=tokens_file, host=ANY) as server:
        assert call(trusting(server, authority.ca)) == "UNAUTHENTICATED"
        assert call(trusting(server, authority.ca), (("authorization", f"Bearer {token}"),)) == "OK"


def test_the_page_of_health_answers_without_tls(mutual: ServiceServer) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{mutual.metrics_port}/healthz", timeout=5) as answer:
        assert (answer.status, answer.read()) == (200, b"SERVING\n")


def test_tokens_without_tls_are_refused_where_others_reach_the_port(tokens_file: Path) -> None:
    create_token(tokens_file, "phone", TokenLimits(Permission.READ))
    with (
        pytest.raises(InvalidSetting, match=r"listens on 0\.0\.0\.0 without TLS.*SIGNET_TLS_AT_PROXY=true"),
        secured(tokens_file=tokens_file, host=ANY),
    ):
        pass
    with secured(tokens_file=tokens_file, host=ANY, tls_at_proxy=True) as server:
        assert call(grpc.insecure_channel(f"127.0.0.1:{server.port}")) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_certificate"}, "SIGNET_TLS_CERTIFICATE is set without SIGNET_TLS_KEY"),
        ({"tls_key"}, "SIGNET_TLS_KEY is set without SIGNET_TLS_CERTIFICATE"),
        ({"tls_client_ca"}, "SIGNET_TLS_CLIENT_CA is set without SIGNET_TLS_CERTIFICATE and SIGNET_TLS_KEY"),
        ({"tls_client_ca", "tls_key"}, "is set without SIGNET_TLS_CERTIFICATE"),
    ],
)
def test_half_a_configuration_is_refused(given: set[str], message: str, pair: Pair, authority: Authority) -> None:
    files = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": authority.ca}
    with pytest.raises(InvalidSetting, match=message), secured(**{name: files[name] for name in given}):
        pass


def test_a_client_is_told_why_tls_fails(tls: ServiceServer, stranger: Authority, authority: Authority) -> None:
    pair = authority.issue("other-host", hosts=("elsewhere.example",))
    with secured() as plain, secured(tls_certificate=pair.certificate, tls_key=pair.key) as elsewhere:
        for server, ca, words in (
            (tls, stranger.ca, "comes from an authority that is not trusted. Set SIGNET_CLIENT_CA"),
            (plain, authority.ca, "the server speaks no TLS. Unset SIGNET_CLIENT_CA"),
            (elsewhere, authority.ca, "is for another host"),
        ):
            stub = extractor_pb2_grpc.ExtractorStub(trusting(server, ca))
            with pytest.raises(Unavailable, match=words) as refused, signet_errors("evaluator:1"):
                stub.ExtractClip(extractor_pb2.ExtractClipRequest(), timeout=10)
            assert str(refused.value).startswith("evaluator:1: ")
