"""Nothing but the S3 port of the local store answers, and that port only with the secret."""

import http.client
import os
import shutil
import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from bench.hostile.nobody import (
    CALL_GRPC,
    CALL_HTTP,
    EVIL,
    OPEN_FILES,
    UNSIGNED,
    attack_as_nobody,
    foreign_certificate,
    inner_ports,
    s3_port,
    started_with,
    store_sockets,
    use_shell,
)
from services.local.seaweedfs import BUCKET, LocalStore
from services.local.store_protection import protect_store
from signet.errors import NotReady, SignetError
from signet.store import StoreSettings, open_store


@pytest.fixture(scope="module")
def store() -> Iterator[LocalStore]:
    """A store in a folder that all users can open, with one object."""
    with tempfile.TemporaryDirectory(prefix="signet-store-test-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "store").mkdir(mode=0o755)
        with LocalStore(Path(folder) / "store") as store:
            store.open().put("private", b"private")
            yield store


@pytest.fixture(scope="module")
def foreign_chain() -> Iterator[list[str]]:
    """A certificate and its key that an attacker made: with the same names, by another authority."""
    with foreign_certificate() as paths:
        yield paths


def _check_untouched(store: LocalStore) -> None:
    """Signet's own access works, and the bucket holds what Signet stored."""
    store.open().put("own", b"own")
    assert {item.key for item in store.open().list("") if not item.key.startswith("local/")} == {"own", "private"}
    assert store.open().get("private") == b"private"


def test_another_user_opens_no_file_and_no_socket_of_the_store(store: LocalStore) -> None:
    files = [str(path) for path in store.folder.rglob("*") if path.is_file()]
    assert files
    assert store_sockets(store)
    if os.geteuid() == 0:
        assert attack_as_nobody(OPEN_FILES, files=files, sockets=store_sockets(store)) == []
    for path in (store.folder, store.folder / "tls", store.folder / "tls/key.pem", *map(Path, store_sockets(store))):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_inner_port_answers_http_without_the_certificate(store: LocalStore, foreign_chain: list[str]) -> None:
    assert attack_as_nobody(CALL_HTTP, ports=inner_ports(store), chain=foreign_chain, origin=EVIL) == []
    _check_untouched(store)


def test_with_the_certificate_alone_the_filer_still_asks_for_a_signed_token(store: LocalStore) -> None:
    context = ssl.create_default_context(cafile=str(store.folder / "tls/certificate.pem"))
    context.load_cert_chain(store.folder / "tls/certificate.pem", store.folder / "tls/key.pem")
    port = int(started_with(store, "filer.port"))
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)) as connection:
            connection.request(method, f"/buckets/{BUCKET}/private", body=b"attack", headers={"Origin": EVIL})
            answer = connection.getresponse()
            assert answer.status >= 400, method
            assert answer.getheader("Access-Control-Allow-Origin") not in {"*", EVIL}
    _check_untouched(store)


def test_no_inner_port_answers_grpc_without_the_certificate(store: LocalStore, foreign_chain: list[str]) -> None:
    assert attack_as_nobody(CALL_GRPC, ports=inner_ports(store), chain=foreign_chain) == []
    _check_untouched(store)


def test_the_shell_of_seaweedfs_makes_no_administrator_of_the_store(store: LocalStore) -> None:
    assert BUCKET not in use_shell(store).split()
    thief = StoreSettings(store=store.url, s3_access_key="thief", s3_secret_key=SecretStr("thiefthief"))
    with pytest.raises(SignetError):
        open_store(thief).get("private")
    _check_untouched(store)


@pytest.mark.parametrize(("method", "path", "body"), UNSIGNED)
def test_the_s3_port_refuses_a_call_without_a_signature(store: LocalStore, method: str, path: str, body: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", s3_port(store), timeout=10)
    headers = {"Origin": EVIL, "Content-Type": "application/x-www-form-urlencoded"}
    with closing(connection):
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
    assert answer.status >= 400
    _check_untouched(store)


def test_no_key_of_the_store_is_on_its_command_line_or_in_its_log(store: LocalStore) -> None:
    environment = psutil.Process(store.pid).environ()
    keys = {name: value for name, value in environment.items() if name.startswith("WEED_JWT_")}
    assert len(set(keys.values())) == 4
    for place in (" ".join(psutil.Process(store.pid).cmdline()), (store.folder / "store.log").read_text()):
        for value in (*keys.values(), environment["AWS_SECRET_ACCESS_KEY"]):
            assert value not in place


def test_each_start_makes_other_keys(tmp_path: Path) -> None:
    first = protect_store(tmp_path), (tmp_path / "key.pem").read_text()
    second = protect_store(tmp_path), (tmp_path / "key.pem").read_text()
    assert first[1] != second[1]
    assert all(first[0][name] != second[0][name] for name in first[0] if "_JWT_" in name)


def test_without_openssl_a_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReady, match="The program openssl is not installed"):
        LocalStore(tmp_path / "store").start()
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho no entropy >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('sh', path='/bin:/usr/bin') or '/bin/sh').parent}")
    with pytest.raises(NotReady, match="no entropy"):
        LocalStore(tmp_path / "store").start()
