"""Nothing but the S3 port of the local store answers, and that port only with the secret."""

import http.client
import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from services.local.seaweedfs import BUCKET, LocalStore
from services.local.store_protection import protect_store
from signet.errors import NotReady, SignetError
from signet.store import StoreSettings, open_store

EVIL = "http://evil.example"

# Each attack runs in a process that becomes the user nobody, if it can. It prints what it got as JSON.
ATTACKER = """
import encodings.idna, http.client, json, os, socket, ssl, subprocess, sys
import grpc
grpc.insecure_channel("127.0.0.1:1").close()  # nobody may be unable to read modules that load late
task = json.load(sys.stdin)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
got = []
"""

OPEN_FILES = """
for path in task["files"]:
    try:
        with open(path, "rb") as file:
            got.append(path)
    except OSError:
        pass
for path in task["sockets"]:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        got.append(path)
    except OSError:
        pass
"""

CALL_HTTP = """
def insecure_context(*chain):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if chain:
        context.load_cert_chain(*chain)
    return context

REQUESTS = [("GET", path) for path in (
    "/", "/buckets/?limit=9", "/buckets/signet/private", "/dir/assign", "/dir/status", "/cluster/status", "/status",
    "/ui/index.html", "/metrics", "/debug/pprof/", "/vol/status", "/stats/memory", "/login", "/api/users")]
REQUESTS += [("PUT", "/buckets/signet/attack"), ("POST", "/buckets/signet/attack"), ("POST", "/submit"),
             ("DELETE", "/buckets/signet/private"), ("OPTIONS", "/buckets/signet/private")]
for port in task["ports"]:
    for way, context in (("plain", None), ("tls", insecure_context()), ("foreign", insecure_context(*task["chain"]))):
        for method, path in REQUESTS:
            if context is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            else:
                connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
            try:
                connection.request(method, path, body=b"attack", headers={"Origin": task["origin"]})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
            # Go's TLS server answers a plain request with this status and text, before any handler of SeaweedFS.
            if (answer.status, body.strip()) != (400, b"Client sent an HTTP request to an HTTPS server."):
                got.append([port, way, method, path, answer.status, answer.getheader("Access-Control-Allow-Origin")])
"""

CALL_GRPC = """
METHODS = ("/filer_pb.SeaweedFiler/GetFilerConfiguration", "/filer_pb.SeaweedFiler/CreateEntry",
           "/filer_pb.SeaweedFiler/KvGet", "/iam_pb.SeaweedIdentityAccessManagement/ListUsers",
           "/master_pb.Seaweed/VolumeList", "/master_pb.Seaweed/Assign",
           "/volume_server_pb.VolumeServer/VolumeServerStatus", "/s3_pb.SeaweedS3/Configure",
           "/worker_pb.WorkerService/WorkerStream")
chain = [open(path, "rb").read() for path in task["chain"]]
for port in task["ports"]:
    address = f"127.0.0.1:{port}"
    channels = {"plain": grpc.insecure_channel(address)}
    try:
        root = ssl.get_server_certificate(("127.0.0.1", port), timeout=5).encode()
    except (OSError, ValueError):
        pass
    else:
        channels["tls"] = grpc.secure_channel(address, grpc.ssl_channel_credentials(root))
        channels["foreign"] = grpc.secure_channel(address, grpc.ssl_channel_credentials(root, chain[1], chain[0]))
    for way, channel in channels.items():
        with channel:
            for method in METHODS:
                try:
                    channel.unary_unary(method)(b"", timeout=5)
                    got.append([port, way, method, "OK"])
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        got.append([port, way, method, error.code().name])
"""

USE_SHELL = """
commands = "fs.ls /buckets\\ns3.configure -user=thief -access_key=thief -secret_key=thiefthief -actions=Admin -apply\\n"
try:
    shell = subprocess.run([task["weed"], "shell", "-master=" + task["master"], "-filer=" + task["filer"]],
        input=commands, capture_output=True, text=True, timeout=6, cwd="/", env={"HOME": "/nowhere"})
    got.append(shell.stdout + shell.stderr)
except subprocess.TimeoutExpired as error:
    got.append(((error.stdout or b"") + (error.stderr or b"")).decode())
"""


def _attack(program: str, **task: object) -> list[object]:
    """What an attack got."""
    done = subprocess.run(
        [sys.executable, "-c", ATTACKER + program + "\nprint(json.dumps(got))"],
        input=json.dumps(task), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got: list[object] = json.loads(done.stdout)
    return got


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
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        paths = [f"{folder}/certificate.pem", f"{folder}/key.pem"]
        command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-subj", "/CN=signet-store", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], capture_output=True, check=True)
        Path(paths[1]).chmod(0o644)
        yield paths


def _s3_port(store: LocalStore) -> int:
    return int(store.url.split(":")[2].split("/")[0])


def _flag(store: LocalStore, name: str) -> str:
    """The value of a flag with which the server was started."""
    command: list[str] = psutil.Process(store.pid).cmdline()
    return next(word.partition("=")[2] for word in command if word.startswith(f"-{name}="))


def _inner_ports(store: LocalStore) -> list[int]:
    """All ports on which the server listens, without that of S3."""
    deadline = time.monotonic() + 30
    while True:
        ports = {
            connection.laddr.port
            for connection in psutil.Process(store.pid).net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        if len(ports) == 10:
            return sorted(ports - {_s3_port(store)})
        assert time.monotonic() < deadline, ports  # the administration starts last, after the store is ready
        time.sleep(0.1)


def _sockets(store: LocalStore) -> list[str]:
    """The sockets of this server. Others, that ended, may have left theirs with the same ports."""
    ports = [*_inner_ports(store), _s3_port(store)]
    started = psutil.Process(store.pid).create_time()
    paths = [path for port in ports for path in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock")]
    return [str(path) for path in paths if path.stat().st_mtime >= started - 1]


def _check_untouched(store: LocalStore) -> None:
    """Signet's own access works, and the bucket holds what Signet stored."""
    store.open().put("own", b"own")
    assert {item.key for item in store.open().list("") if not item.key.startswith("local/")} == {"own", "private"}
    assert store.open().get("private") == b"private"


def test_another_user_opens_no_file_and_no_socket_of_the_store(store: LocalStore) -> None:
    files = [str(path) for path in store.folder.rglob("*") if path.is_file()]
    assert files
    assert _sockets(store)
    if os.geteuid() == 0:
        assert _attack(OPEN_FILES, files=files, sockets=_sockets(store)) == []
    for path in (store.folder, store.folder / "tls", store.folder / "tls/key.pem", *map(Path, _sockets(store))):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_inner_port_answers_http_without_the_certificate(store: LocalStore, foreign_chain: list[str]) -> None:
    assert _attack(CALL_HTTP, ports=_inner_ports(store), chain=foreign_chain, origin=EVIL) == []
    _check_untouched(store)


def test_with_the_certificate_alone_the_filer_still_asks_for_a_signed_token(store: LocalStore) -> None:
    context = ssl.create_default_context(cafile=str(store.folder / "tls/certificate.pem"))
    context.load_cert_chain(store.folder / "tls/certificate.pem", store.folder / "tls/key.pem")
    port = int(_flag(store, "filer.port"))
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)) as connection:
            connection.request(method, f"/buckets/{BUCKET}/private", body=b"attack", headers={"Origin": EVIL})
            answer = connection.getresponse()
            assert answer.status >= 400, method
            assert answer.getheader("Access-Control-Allow-Origin") not in {"*", EVIL}
    _check_untouched(store)


def test_no_inner_port_answers_grpc_without_the_certificate(store: LocalStore, foreign_chain: list[str]) -> None:
    assert _attack(CALL_GRPC, ports=_inner_ports(store), chain=foreign_chain) == []
    _check_untouched(store)


def test_the_shell_of_seaweedfs_makes_no_administrator_of_the_store(store: LocalStore) -> None:
    servers = {
        name: f"127.0.0.1:{_flag(store, f'{name}.port')}.{_flag(store, f'{name}.port.grpc')}"
        for name in ("master", "filer")
    }
    (output,) = _attack(USE_SHELL, weed=str(Path(sys.executable).parent / "weed"), **servers)
    assert BUCKET not in str(output).split()
    thief = StoreSettings(store=store.url, s3_access_key="thief", s3_secret_key=SecretStr("thiefthief"))
    with pytest.raises(SignetError):
        open_store(thief).get("private")
    _check_untouched(store)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/", ""),
        ("GET", f"/{BUCKET}?list-type=2", ""),
        ("GET", f"/{BUCKET}/private", ""),
        ("PUT", f"/{BUCKET}/attack", "attack"),
        ("DELETE", f"/{BUCKET}/private", ""),
        ("PUT", "/another-bucket", ""),
        ("POST", "/", "Action=CreateUser&UserName=thief&Version=2010-05-08"),
        ("POST", "/", "Action=AssumeRole&RoleArn=a&RoleSessionName=thief&Version=2011-06-15"),
        ("OPTIONS", f"/{BUCKET}/private", ""),  # what a browser asks before a page of another origin may send
    ],
)
def test_the_s3_port_refuses_a_call_without_a_signature(store: LocalStore, method: str, path: str, body: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", _s3_port(store), timeout=10)
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
