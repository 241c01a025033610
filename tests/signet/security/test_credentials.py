"""What our own clients send: TLS, a certificate, a token; and never a token over an open network."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from signet.errors import InvalidSetting
from signet.security.credentials import ChannelSecurity, ClientSettings, read_client_settings
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from signet.v1 import extractor_pb2, extractor_pb2_grpc
from tests.certificates import YESTERDAY, Authority, Pair
from tests.signet.security.conftest import secured

REQUEST = extractor_pb2.ExtractClipRequest(video=b"v")


def security(**settings: Any) -> ChannelSecurity:
    return ChannelSecurity(ClientSettings(**settings))


def test_a_client_with_certificate_and_token_is_served_in_both_ways(
    pair: Pair, client_pair: Pair, authority: Authority, tokens_file: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "token"
    saved.write_text(create_token(tokens_file, "phone", TokenLimits(Permission.READ)) + "\n")
    saved.chmod(0o600)
    files = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": authority.ca}
    client = security(ca=authority.ca, certificate=client_pair.certificate, key=client_pair.key, token_file=saved)
    with secured(tokens_file=tokens_file, **files) as server:
        address = f"127.0.0.1:{server.port}"
        with client.open_channel(address) as channel:
            stub = extractor_pb2_grpc.ExtractorStub(channel)
            assert stub.ExtractClip(REQUEST, timeout=10, metadata=client.metadata()).landmarks == b"v"

        async def call() -> bytes:
            async with client.open_async_channel(address) as channel:
                stub = extractor_pb2_grpc.ExtractorStub(channel)
                return bytes((await stub.ExtractClip(REQUEST, timeout=10, metadata=client.metadata())).landmarks)

        assert asyncio.run(call()) == b"v"


def test_a_server_under_another_name_is_trusted_by_the_name_in_its_certificate(authority: Authority) -> None:
    pair = authority.issue("named", hosts=("signet.example",))
    with secured(tls_certificate=pair.certificate, tls_key=pair.key) as server:
        client = security(ca=authority.ca, server_name="signet.example")
        with client.open_channel(f"127.0.0.1:{server.port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=10)


def test_without_settings_there_is_no_tls_and_no_token() -> None:
    client = security()
    assert not client.uses_tls
    assert client.metadata() == ()
    assert client.tls_context() is None


def test_a_token_is_not_sent_to_another_machine_without_tls() -> None:
    client = security(token="signet_secret")  # noqa: S106
    for address in ("10.0.0.1:50051", "evaluator:50053", "dns:///localhost:1", "[fd00::1]:1"):
        with pytest.raises(InvalidSetting, match="the token would be sent without TLS") as refused:
            client.open_channel(address)
        assert "signet_secret" not in str(refused.value)
        security(token="signet_secret", plain_token=True).open_channel(address).close()  # noqa: S106
        security(token="signet_secret", tls=True).open_channel(address).close()  # noqa: S106
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/signet"):
        client.open_channel(address).close()


def test_a_changed_token_is_sent_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = tmp_path / "token"
    saved.touch(0o600)
    saved.write_text("first\n")
    client = security(token_file=saved)
    assert client.metadata() == (("authorization", "Bearer first"),)
    saved.write_text("the second")
    assert client.metadata() == (("authorization", "Bearer the second"),)
    saved.unlink()
    assert client.metadata() == (("authorization", "Bearer the second"),)
    assert "the changed token is not used" in caplog.text
    assert "the second" not in caplog.text


def test_changed_certificates_are_read_again(authority: Authority, tmp_path: Path) -> None:
    used = Pair(tmp_path / "c.crt", tmp_path / "c.key")
    authority.issue("one").copy_to(used)
    client = security(ca=authority.ca, certificate=used.certificate, key=used.key)
    assert not client.reload()
    authority.issue("two").copy_to(used)
    assert client.reload()
    assert not client.reload()
    authority.issue("three", end=YESTERDAY).copy_to(used)
    assert not client.reload()


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"\xff\xfe", b"x" * 5000, b"a\x00b"])
def test_a_file_without_a_token_is_refused(content: bytes, tmp_path: Path) -> None:
    saved = tmp_path / "token"
    saved.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"SIGNET_CLIENT_TOKEN_FILE=.*holds no token"):
        security(token_file=saved)


def test_half_a_configuration_is_refused(client_pair: Pair, authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="SIGNET_CLIENT_CERTIFICATE is set without SIGNET_CLIENT_KEY"):
        security(certificate=client_pair.certificate)
    with pytest.raises(InvalidSetting, match="SIGNET_CLIENT_KEY is set without SIGNET_CLIENT_CERTIFICATE"):
        security(key=client_pair.key)
    with pytest.raises(InvalidSetting, match="are both set"):
        security(token=SecretStr("a"), token_file=tmp_path)
    with pytest.raises(InvalidSetting, match=r"SIGNET_CLIENT_CA=.*cannot be read"):
        security(ca=tmp_path / "missing")
    with pytest.raises(InvalidSetting, match=r"SIGNET_CLIENT_KEY=.*does not belong"):
        security(certificate=client_pair.certificate, key=authority.issue("another").key)


def test_settings_come_from_the_environment_and_arguments_replace_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIGNET_CLIENT_CA", "a.pem")
    monkeypatch.setenv("SIGNET_CLIENT_TOKEN", "secret")
    settings = read_client_settings(ca=tmp_path / "b.pem")
    assert settings.ca == tmp_path / "b.pem"
    assert "secret" not in repr(settings)
    monkeypatch.setenv("SIGNET_CLIENT_TLS", "perhaps")
    with pytest.raises(InvalidSetting, match="SIGNET_CLIENT_TLS: "):
        read_client_settings()
