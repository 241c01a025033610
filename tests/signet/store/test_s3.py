"""The S3 store and rare answers of a server, which a stand-in server gives."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from signet.errors import AlreadyExists, Conflict, SignetError, Unavailable
from signet.store.s3 import S3Store


class _Server(ThreadingHTTPServer):
    """An S3 server with one bucket. It answers each PUT with the next of the given statuses; the last one repeats."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = [200]
        self.puts: list[dict[str, str]] = []

    def store(self) -> S3Store:
        return S3Store(f"127.0.0.1:{self.server_port}", "bucket", "user", "secret", secure=False)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(200, b"<ListBucketResult><Name>bucket</Name></ListBucketResult>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts.append({name.lower(): value for name, value in self.headers.items()})
        statuses = self.server.statuses
        self._answer(statuses.pop(0) if len(statuses) > 1 else statuses[0], b"<Error><Code>SlowDown</Code></Error>")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"etag"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "created", "replaced"),
    [
        pytest.param(409, AlreadyExists, Conflict, id="two conditional writes met"),
        pytest.param(412, AlreadyExists, Conflict, id="the condition does not hold"),
        pytest.param(404, Unavailable, Conflict, id="nothing is there"),
        pytest.param(403, Unavailable, Unavailable, id="refused"),
        pytest.param(503, Unavailable, Unavailable, id="too busy"),
    ],
)
def test_a_conditional_write_that_is_refused_is_the_error_that_its_status_means(
    server: _Server, status: int, created: type[SignetError], replaced: type[SignetError]
) -> None:
    store = server.store()
    server.statuses = [status]
    with pytest.raises(SignetError) as error:
        store.create("k", b"data")
    assert type(error.value) is created
    with pytest.raises(SignetError) as error:
        store.replace("k", b"data", "etag")
    assert type(error.value) is replaced
    if replaced is Unavailable:
        assert f"HTTP {status}, SlowDown" in str(error.value)


def test_a_conditional_write_is_never_repeated(server: _Server) -> None:
    """The first attempt may have been stored: a repeated one would find it, and would be taken for a lost race."""
    store = server.store()
    server.statuses = [503, 412]
    with pytest.raises(Unavailable):
        store.create("k", b"data")
    server.statuses = [500, 200]
    with pytest.raises(Unavailable):
        store.replace("k", b"data", "etag")
    assert len(server.puts) == 2


def test_the_condition_of_a_write_reaches_the_server(server: _Server) -> None:
    store = server.store()
    store.create("k", b"data")
    store.replace("k", b"data", "etag")
    store.put("k", b"data")
    conditions = [(headers.get("if-none-match"), headers.get("if-match")) for headers in server.puts]
    assert conditions == [("*", None), (None, '"etag"'), (None, None)]


def test_a_write_without_a_condition_is_repeated_while_the_server_is_too_busy(server: _Server) -> None:
    store = server.store()
    server.statuses = [503, 500, 200]
    store.put("k", b"data")
    assert len(server.puts) == 3
