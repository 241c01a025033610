"""A server whose answers a test chooses: for faults of servers and proxies that no real S3 server makes on demand."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from signet.store.s3 import S3Store

LISTING = (
    b'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>'
)


@dataclass(frozen=True)
class Answer:
    """One answer. `length` is what Content-Length claims, if it is another length than that of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/xml"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]  # the names are in lower case
    body: bytes


def s3_error(status: int, code: str, message: str = "", **elements: str) -> Answer:
    """An error of S3."""
    more = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'
    return Answer(status, body.encode())


def page(status: int, title: str, **headers: str) -> Answer:
    """A web page."""
    body = f"<!doctype html><html><head><title>{title}</title></head><body>hello</body></html>"
    return Answer(status, body.encode(), "text/html; charset=utf-8", headers)


class ScriptedServer(ThreadingHTTPServer):
    """Lists an empty bucket, and gives each other request `answer`; `listing` replaces the list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.listing: Answer | None = Answer(body=LISTING)
        self.answer = Answer()
        self.requests: list[Received] = []
        self.scheme = "http"

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.endpoint}/bucket"

    def fault(self, answer: Answer) -> None:
        """Give this answer to each request, also to the first one."""
        self.answer, self.listing = answer, None

    def open(self, **settings: Any) -> S3Store:
        settings = {"secure": self.scheme == "https", **settings}
        return S3Store(settings.pop("endpoint", self.endpoint), "bucket", "user", "secret", **settings)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Received(self.command, self.path, headers, body))
        listing = self.server.listing if "list-type=2" in self.path and self.command == "GET" else None
        answer = listing or self.server.answer
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        if answer.length is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """A test can choose the date; then it is the only one."""
        return self.server.answer.headers.get("Date") or super().date_time_string(timestamp)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def _running(server: ScriptedServer) -> Iterator[ScriptedServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with server:
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """A server on 127.0.0.1 whose answers the test chooses."""
    with _running(ScriptedServer()) as server:
        yield server


MakeCertificate = Callable[..., Path]


@pytest.fixture
def make_certificate(tmp_path: Path) -> MakeCertificate:
    """Makes a self-signed certificate: one PEM file with the key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the program openssl is not installed")

    def run(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, capture_output=True)

    def make(names: str = "IP:127.0.0.1,DNS:localhost", *, expired: bool = False) -> Path:
        file = tmp_path / f"certificate-{len(list(tmp_path.glob('*.pem')))}.pem"
        key, request = file.with_suffix(".key"), file.with_suffix(".csr")
        subject = ["-subj", "/CN=signet-test", "-addext", f"subjectAltName={names}"]
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject, "-keyout", str(key)]
        if expired:
            run("req", "-new", *made, "-out", str(request))
            signed = ["-signkey", str(key), "-days", "-1", "-copy_extensions", "copy"]
            run("x509", "-req", "-in", str(request), *signed, "-out", str(file))
        else:
            run("req", "-x509", *made, "-out", str(file))
        with file.open("a") as pem:
            pem.write(key.read_text())
        return file

    return make


@pytest.fixture
def tls_server(make_certificate: MakeCertificate) -> Iterator[Callable[..., ScriptedServer]]:
    """Starts a `ScriptedServer` that speaks https with a new certificate, the only *.pem in `tmp_path`."""
    servers = []

    def start(*names: str, expired: bool = False) -> ScriptedServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = make_certificate(*names, expired=expired)
        context.load_cert_chain(certificate)
        server = ScriptedServer()
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
        running = _running(server)
        running.__enter__()
        servers.append(running)
        return server

    yield start
    for running in servers:
        running.__exit__(None, None, None)


RunSignet = Callable[..., str]


@pytest.fixture
def run_signet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunSignet:
    """Runs the command line in this process, and returns what a failed command writes to standard error."""
    from services import cli  # noqa: PLC0415

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["signet", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The host:port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"
