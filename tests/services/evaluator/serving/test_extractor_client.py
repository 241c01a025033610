"""The evaluator's calls of an extractor that asks for TLS, a client certificate and a token."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.evaluator.serving.extractor_client import ExtractorClient
from signet.errors import InvalidSetting, Unavailable
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token, revoke_token
from tests.certificates import Authority
from tests.signet.security.conftest import secured


def ask(address: str, between: Callable[[], None] | None = None) -> list[bytes]:
    """The answers to two calls; `between` runs between them."""

    async def calls() -> list[bytes]:
        client = ExtractorClient(address)
        try:
            answers = [await client.landmarks(b"first", 10)]
            if between is not None:
                between()
            answers.append(await client.landmarks(b"second", 10))
            return answers
        finally:
            await client.aclose()

    return asyncio.run(calls())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def test_the_settings_of_clients_are_used_and_new_certificates_and_tokens_too(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, used, tokens, saved = authority.issue("server"), authority.issue("one"), tmp_path / "t.json", tmp_path / "t"
    saved.touch(0o600)
    saved.write_text(create_token(tokens, "old", TokenLimits(Permission.READ)))
    for name, path in (
        ("CA", authority.ca),
        ("CERTIFICATE", used.certificate),
        ("KEY", used.key),
        ("TOKEN_FILE", saved),
    ):
        monkeypatch.setenv(f"SIGNET_CLIENT_{name}", str(path))

    def renew() -> None:
        authority.issue("two").copy_to(used)
        saved.write_text(create_token(tokens, "new", TokenLimits(Permission.READ)))
        revoke_token(tokens, "old")
        time.sleep(1.1)  # until the server looks at its file

    files = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": authority.ca}
    with secured(tokens_file=tokens, **files) as server:
        assert ask(f"127.0.0.1:{server.port}") == [b"first", b"second"]
        assert ask(f"127.0.0.1:{server.port}", renew) == [b"first", b"second"]


def test_an_evaluator_without_a_token_says_what_it_needs(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    create_token(tokens, "a", TokenLimits(Permission.READ))
    with secured(tokens_file=tokens) as server, pytest.raises(Unavailable, match="SIGNET_CLIENT_TOKEN_FILE") as refused:
        ask(f"127.0.0.1:{server.port}")
    assert "this server asks for a token" in str(refused.value)


def test_settings_that_cannot_be_used_stop_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIGNET_CLIENT_CA", str(tmp_path / "missing.pem"))
    with pytest.raises(InvalidSetting, match=r"SIGNET_CLIENT_CA=.*missing\.pem: cannot be read"):
        ask("127.0.0.1:1")
    monkeypatch.setenv("SIGNET_CLIENT_CA", "")
    monkeypatch.setenv("SIGNET_CLIENT_TOKEN", "secret")
    with pytest.raises(InvalidSetting, match="would be sent without TLS"):
        ask("extractor:50051")
