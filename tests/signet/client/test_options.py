"""TLS, certificates and tokens of both clients, from arguments and from the environment."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from signet.client import AsyncSignetClient, ClientSettings, RetryPolicy, SignetClient
from signet.errors import InvalidSetting, Unauthenticated, Unavailable
from signet.security.permissions import Permission
from signet.security.tokens import TokenLimits, create_token
from tests.certificates import Authority
from tests.conftest import ROOT
from tests.signet.security.conftest import secured

if TYPE_CHECKING:
    from tests.signet.client.conftest import Caller

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def test_a_client_with_a_certificate_and_a_token_is_answered(
    caller: "Caller", authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, own, tokens, saved = authority.issue("server"), authority.issue("client"), tmp_path / "t.json", tmp_path / "t"
    saved.write_text(create_token(tokens, "phone", TokenLimits(Permission.READ)))
    files = {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": authority.ca}
    with secured(tokens_file=tokens, **files) as server:
        address = f"127.0.0.1:{server.port}"
        settings = ClientSettings(ca=authority.ca, certificate=own.certificate, key=own.key, token_file=saved)
        answer = caller.recognise(address, b"book", security=settings)
        assert [prediction.gloss for prediction in answer.predictions] == ["book"]
        for name, path in (("CA", authority.ca), ("CERTIFICATE", own.certificate), ("KEY", own.key)):
            monkeypatch.setenv(f"SIGNET_CLIENT_{name}", str(path))
        with pytest.raises(Unauthenticated, match="asks for a token"):
            caller.recognise(address, b"book")
        monkeypatch.setenv("SIGNET_CLIENT_TOKEN_FILE", str(saved))
        assert caller.recognise(address, b"book").predictions


def test_a_client_is_told_why_it_has_no_connection(caller: "Caller", authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger, pair = Authority(tmp_path / "stranger", "stranger"), authority.issue("server")
    with secured(tls_certificate=pair.certificate, tls_key=pair.key) as server:
        address = f"127.0.0.1:{server.port}"
        with pytest.raises(Unavailable, match=r"wants TLS\. Set SIGNET_CLIENT_CA"):
            caller.recognise(address, b"book", retry=ONCE)
        with pytest.raises(Unavailable, match=r"the certificate of the server there is refused: unable to get local"):
            caller.recognise(address, b"book", retry=ONCE, security=ClientSettings(ca=stranger.ca))
    with secured() as server, pytest.raises(Unavailable, match="the server there speaks no TLS"):
        caller.recognise(f"127.0.0.1:{server.port}", b"book", retry=ONCE, security=ClientSettings(ca=authority.ca))


@pytest.mark.parametrize("client", [SignetClient, AsyncSignetClient])
def test_a_token_for_another_machine_needs_tls(client: type[SignetClient | AsyncSignetClient]) -> None:
    with pytest.raises(InvalidSetting, match="the token would be sent without TLS"):
        client("evaluator.example:50053", security=ClientSettings(token=SecretStr("x")))
    with pytest.raises(InvalidSetting, match=r"extractor\.example:50051: the token would be sent without TLS"):
        client("localhost:1", extractor="extractor.example:50051", security=ClientSettings(token=SecretStr("x")))


def test_the_client_needs_no_module_that_windows_lacks() -> None:
    program = "import sys; sys.modules.update(fcntl=None, resource=None); import signet.client"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=60)
