"""Attacks of another user of this machine on the local store."""

import json
import subprocess
import sys

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
