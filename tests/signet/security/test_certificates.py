"""The certificate of a server: faults at start are named, and a renewed one is used without a restart."""

import logging
import re
import shutil
import ssl
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signet.errors import InvalidSetting
from signet.rpc.server import ServiceServer
from signet.security.certificates import CertificateFiles, ServerCertificate
from signet.security.credentials import ChannelSecurity, ClientSettings
from tests.certificates import LATER, LONG_AGO, NOW, TOMORROW, YESTERDAY, Authority, Pair
from tests.signet.security.conftest import secured


def load(pair: Pair, client_ca: Path | None = None) -> ServerCertificate:
    return ServerCertificate(CertificateFiles(pair.certificate, pair.key, client_ca))


def test_a_good_pair_is_accepted_without_a_warning(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    assert abs(load(pair).expires - LATER) < timedelta(seconds=2)
    assert caplog.text == ""


def _missing(pair: Pair) -> None:
    pair.certificate.unlink()


def _folder(pair: Pair) -> None:
    pair.key.unlink()
    pair.key.mkdir()


def _not_pem(pair: Pair) -> None:
    pair.certificate.write_text("<html>")


def _der(pair: Pair) -> None:
    loaded = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    pair.certificate.write_bytes(loaded.public_bytes(serialization.Encoding.DER))


def _no_key(pair: Pair) -> None:
    pair.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


def _protected(pair: Pair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.BestAvailableEncryption(b"password")
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))


def _other_key(pair: Pair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.NoEncryption()
    pair.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing, r"SIGNET_TLS_CERTIFICATE=.*\.crt: cannot be read \(No such file or directory\)"),
        (_folder, r"SIGNET_TLS_KEY=.*\.key: cannot be read \(Is a directory\)"),
        (_not_pem, r"SIGNET_TLS_CERTIFICATE=.*holds no certificate in PEM form"),
        (_der, r"openssl x509 -inform der"),
        (_no_key, r"SIGNET_TLS_KEY=.*holds no usable private key in PEM form"),
        (_protected, r"SIGNET_TLS_KEY=.*protected by a password"),
        (_other_key, r"SIGNET_TLS_KEY=.*: this key does not belong to the certificate SIGNET_TLS_CERTIFICATE="),
    ],
)
def test_a_fault_of_a_file_is_named(
    spoil: Callable[[Pair], None], message: str, authority: Authority, tmp_path: Path
) -> None:
    issued = authority.issue("spoilt")
    pair = Pair(tmp_path / "server.crt", tmp_path / "server.key")
    issued.copy_to(pair)
    spoil(pair)
    with pytest.raises(InvalidSetting, match=message):
        load(pair)


def test_a_certificate_out_of_its_time_is_refused(authority: Authority) -> None:
    with pytest.raises(InvalidSetting, match=r"this certificate expired at 20\d\d-"):
        load(authority.issue("expired", start=LONG_AGO, end=YESTERDAY))
    with pytest.raises(InvalidSetting, match=r"valid from 20.* and not yet\. Is the clock"):
        load(authority.issue("early", start=TOMORROW, end=LATER))


def test_the_servers_certificate_must_be_the_first(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(authority.ca.read_bytes() + pair.certificate.read_bytes())
    with pytest.raises(InvalidSetting, match=r"is number 2 in the file\. It must be the first"):
        load(Pair(chain, pair.key))
    chain.write_bytes(pair.certificate.read_bytes() + authority.ca.read_bytes())
    load(Pair(chain, pair.key))


def test_authorities_of_clients_must_have_a_valid_one(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    old = Authority(tmp_path, "old", until=YESTERDAY)
    with pytest.raises(InvalidSetting, match=r"SIGNET_TLS_CLIENT_CA=.*expired"):
        load(pair, old.ca)
    both = tmp_path / "both.pem"
    both.write_bytes(old.ca.read_bytes() + authority.ca.read_bytes())
    load(pair, both)
    with pytest.raises(InvalidSetting, match=r"SIGNET_TLS_CLIENT_CA=.*holds no certificate"):
        load(pair, pair.key)


def test_a_key_that_everybody_can_read_and_a_near_end_are_warned_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("soon", end=NOW + timedelta(days=3))
    pair.key.chmod(0o644)
    load(pair)
    assert "all users of this machine can read this secret. Run: chmod o-r" in caplog.text
    assert "expires at" in caplog.text


def test_a_changed_authority_of_clients_holds_for_new_connections(
    pair: Pair, authority: Authority, client_pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "next").mkdir()
    following, ca = Authority(tmp_path / "next", "next"), tmp_path / "ca.pem"
    new_pair = following.issue("client")
    shutil.copy(authority.ca, ca)

    def connects(own: Pair, server: ServiceServer) -> bool:
        settings = ClientSettings(ca=authority.ca, certificate=own.certificate, key=own.key)
        with ChannelSecurity(settings).open_channel(f"127.0.0.1:{server.port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=1.5)
            except grpc.FutureTimeoutError:
                return False
            return True

    with secured(tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=ca) as server:
        assert [connects(client_pair, server), connects(new_pair, server)] == [True, False]
        shutil.copy(following.ca, ca)
        time.sleep(1.1)
        assert [connects(client_pair, server), connects(new_pair, server)] == [False, True]


def _expiry(server: ServiceServer) -> float:
    """When the certificate expires, as the page of metrics says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    (text,) = re.findall(r"^signet_tls_certificate_expiry_timestamp_seconds (\S+)$", page, re.MULTILINE)
    return float(text)


def _presented(port: int, ca: Path) -> str:
    """The common name of the certificate that a new connection sees."""
    certificate = x509.load_pem_x509_certificate(
        ssl.get_server_certificate(("127.0.0.1", port), ca_certs=str(ca)).encode()
    )
    return str(certificate.subject.rfc4514_string())


def test_new_connections_see_a_renewed_certificate_and_never_a_broken_one(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    used = Pair(tmp_path / "server.crt", tmp_path / "server.key")
    authority.issue("first").copy_to(used)
    with secured(tls_certificate=used.certificate, tls_key=used.key) as server:
        assert _presented(server.port, authority.ca) == "CN=first"
        assert abs(_expiry(server) - LATER.timestamp()) < 2
        renewed = authority.issue("second", end=TOMORROW)
        # The certificate is replaced before its key: for a moment they do not belong together.
        shutil.copy(renewed.certificate, used.certificate)
        time.sleep(1.1)
        assert _presented(server.port, authority.ca) == "CN=first"
        assert "the changed TLS files are not used" in caplog.text
        renewed.copy_to(used)
        time.sleep(1.1)
        assert _presented(server.port, authority.ca) == "CN=second"
        assert abs(_expiry(server) - TOMORROW.timestamp()) < 2
        authority.issue("third", end=YESTERDAY).copy_to(used)
        time.sleep(1.1)
        assert _presented(server.port, authority.ca) == "CN=second"
        used.certificate.unlink()
        time.sleep(1.1)
        assert _presented(server.port, authority.ca) == "CN=second"
    assert "The server goes on with the old ones" in caplog.text
