"""Attacks of another user of this machine on the local store: its files, sockets and ports."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from services.local.seaweedfs import BUCKET, LocalStore

# The origin of a page that a browser on this machine shows.
EVIL = "http://evil.example"
_LISTEN_SECONDS = 30.0
# HTTP and gRPC of master, volume server, filer, S3 and administration.
_PORTS = 10

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
    for mode in ("rb", "ab"):
        try:
            with open(path, mode) as file:
                got.append([path, mode])
        except OSError:
            pass
for path in task.get("folders", ()):
    try:
        got.append([path, os.listdir(path)])
    except OSError:
        pass
    try:
        with open(path + "/attack", "wb"):
            got.append([path, "created a file"])
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

# Requests without a signature: method, path, body. The last one is what a browser asks before a page of another origin
# may send.
UNSIGNED = [
    ("GET", "/", ""),
    ("GET", f"/{BUCKET}?list-type=2", ""),
    ("GET", f"/{BUCKET}/private", ""),
    ("PUT", f"/{BUCKET}/attack", "attack"),
    ("DELETE", f"/{BUCKET}/private", ""),
    ("PUT", "/another-bucket", ""),
    ("POST", "/", "Action=CreateUser&UserName=thief&Version=2010-05-08"),
    ("POST", "/", "Action=AssumeRole&RoleArn=a&RoleSessionName=thief&Version=2011-06-15"),
    ("OPTIONS", f"/{BUCKET}/private", ""),
]

CALL_S3 = """
for method, path, body in task["requests"]:
    connection = http.client.HTTPConnection("127.0.0.1", task["port"], timeout=10)
    headers = {"Origin": task["origin"], "Content-Type": "application/x-www-form-urlencoded"}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status < 400:
        got.append([method, path, answer.status])
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


def attack_as_nobody(program: str, **task: object) -> list[object]:
    """Run one of these programs as the user nobody. Without the rights of root, it runs as the present user.

    Returns:
        What the attack got: files, answers of ports, or the output of a program.
    """
    done = subprocess.run(
        [sys.executable, "-c", ATTACKER + program + "\nprint(json.dumps(got))"],
        input=json.dumps(task), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got: list[object] = json.loads(done.stdout)
    return got


def s3_port(store: LocalStore) -> int:
    """The port of S3."""
    return int(store.url.split(":")[2].split("/")[0])


def started_with(store: LocalStore, name: str) -> str:
    """The value of a flag with which the server was started."""
    command: list[str] = psutil.Process(store.pid).cmdline()
    return next(word.partition("=")[2] for word in command if word.startswith(f"-{name}="))


def inner_ports(store: LocalStore) -> list[int]:
    """All ports on which the server listens, without that of S3."""
    deadline = time.monotonic() + _LISTEN_SECONDS
    while True:
        ports = {
            connection.laddr.port
            for connection in psutil.Process(store.pid).net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        if len(ports) == _PORTS:
            return sorted(ports - {s3_port(store)})
        assert time.monotonic() < deadline, ports  # the administration starts last, after the store is ready
        time.sleep(0.1)


def store_sockets(store: LocalStore) -> list[str]:
    """The sockets of this server. Others, that ended, may have left theirs with the same ports."""
    ports = [*inner_ports(store), s3_port(store)]
    started = psutil.Process(store.pid).create_time()
    paths = [path for port in ports for path in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock")]
    return [str(path) for path in paths if path.stat().st_mtime >= started - 1]


def use_shell(store: LocalStore) -> str:
    """What `weed shell` prints to an attacker who lists the buckets and makes an administrator."""
    servers = {
        name: f"127.0.0.1:{started_with(store, f'{name}.port')}.{started_with(store, f'{name}.port.grpc')}"
        for name in ("master", "filer")
    }
    (output,) = attack_as_nobody(USE_SHELL, weed=str(Path(sys.executable).parent / "weed"), **servers)
    return str(output)


@contextmanager
def foreign_certificate() -> Iterator[list[str]]:
    """A certificate and its key that an attacker made: with the same names, by another authority."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        paths = [f"{folder}/certificate.pem", f"{folder}/key.pem"]
        command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-subj", "/CN=signet-store", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], capture_output=True, check=True)
        Path(paths[1]).chmod(0o644)
        yield paths


def attack_store(store: LocalStore) -> dict[str, list[Any]]:
    """What the user nobody gets from a store with the object "private", by the way that was tried."""
    folders = [str(path) for path in (store.folder, *store.folder.rglob("*")) if path.is_dir()]
    files = [str(path) for path in store.folder.rglob("*") if path.is_file()]
    files += [f"/proc/{store.pid}/{name}" for name in ("environ", "mem", "maps")]
    ports = inner_ports(store)
    with foreign_certificate() as chain:
        got: dict[str, list[Any]] = {
            "files": attack_as_nobody(OPEN_FILES, files=files, folders=folders, sockets=store_sockets(store)),
            "inner ports, HTTP": attack_as_nobody(CALL_HTTP, ports=ports, chain=chain, origin=EVIL),
            "inner ports, gRPC": attack_as_nobody(CALL_GRPC, ports=ports, chain=chain),
            "S3 without a signature": attack_as_nobody(CALL_S3, port=s3_port(store), requests=UNSIGNED, origin=EVIL),
            "weed shell": [output] if BUCKET in (output := use_shell(store)).split() else [],
        }
    found = sorted(item.key for item in store.open().list("") if not item.key.startswith("local/"))
    untouched = found == ["private"] and store.open().get("private") == b"private"
    return {**got, "objects": [] if untouched else found}


def attack_local_store() -> dict[str, list[Any]] | None:
    """Attack a new store in a folder that all users can open; None without the rights of root."""
    if os.geteuid() != 0:
        return None
    with tempfile.TemporaryDirectory(prefix="signet-store-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "store").mkdir(mode=0o755)
        with LocalStore(Path(folder) / "store") as store:
            store.open().put("private", b"private")
            return attack_store(store)
