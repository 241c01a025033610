"""A real HTTP server on 127.0.0.1 whose pages behave as hosts of videos do, well and badly."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """A request that the server got."""

    path: str
    headers: dict[str, str]
    time: float


Page = Callable[["Handler"], None]


@dataclass
class WebServer:
    """The server. `pages` has a function for each path; any other path has status 404."""

    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    most_at_a_time: int = 0
    at_a_time: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a page."""
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        """The paths of all requests, in their order."""
        return [request.path for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    """Gives each request to its page."""

    protocol_version = "HTTP/1.1"
    web: WebServer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer a request."""
        web = self.server.web  # type: ignore[attr-defined]
        self.web = web
        web.requests.append(
            Request(self.path, {name.title(): value for name, value in self.headers.items()}, time.monotonic())
        )
        web.at_a_time += 1
        web.most_at_a_time = max(web.most_at_a_time, web.at_a_time)
        try:
            web.pages.get(self.path, status(404))(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            web.at_a_time -= 1

    def begin(self, code: int, **headers: object) -> None:
        """Send the status and the headers; _ in a name stands for -."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def video(data: bytes, *, ranges: bool = True, validator: str = "etag", delay: float = 0.0) -> Page:
    """A page that sends a video as a good host does; with a delay after each 4 KiB."""
    tags: dict[str, object] = {"etag": {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}, "weak": {"ETag": 'W/"1"'},  # noqa: S324
        "date": {"Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, "none": {}}  # fmt: skip

    def page(handler: Handler) -> None:
        headers = dict(tags[validator])  # type: ignore[call-overload]
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(found[1]) if found and ranges else 0
        if handler.headers.get("If-Range", "") not in {str(value) for value in headers.values()}:
            start = 0
        if start >= len(data):
            return handler.begin(416, Content_Range=f"bytes */{len(data)}", Content_Length=0)
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.begin(206 if start else 200, Content_Length=len(data) - start, Content_Type="video/mp4", **headers)
        send(handler, data[start:], delay)
        return None

    return page


def send(handler: Handler, data: bytes, delay: float = 0.0) -> None:
    """Send a body; with a delay after each 4 KiB."""
    if not delay:
        handler.wfile.write(data)
        return
    for start in range(0, len(data), 4096):
        handler.wfile.write(data[start : start + 4096])
        handler.wfile.flush()
        if handler.web.closing.wait(delay):
            return


def status(code: int, **headers: object) -> Page:
    """A page with a status and no body."""
    return lambda handler: handler.begin(code, Content_Length=0, **headers)


def html(text: str = "<!DOCTYPE html><html><body>Not found</body></html>") -> Page:
    """A web page with status 200."""

    def page(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(text), Content_Type="text/html; charset=utf-8")
        handler.wfile.write(text.encode())

    return page


def cut_off(data: bytes, size: int, *, then: Page | None = None) -> Page:
    """A page that ends the connection after so many bytes, once; later it is another page."""
    calls = []

    def page(handler: Handler) -> None:
        calls.append(1)
        if then is not None and len(calls) > 1:
            return then(handler)
        tag = hashlib.md5(data).hexdigest()  # noqa: S324
        handler.begin(200, Content_Length=len(data), ETag=f'"{tag}"')
        handler.wfile.write(data[:size])
        handler.wfile.flush()
        handler.close_connection = True
        return None

    return page


def in_turn(*pages: Page) -> Page:
    """The first page at the first request, and so on; the last one for ever."""
    left = list(pages)

    def page(handler: Handler) -> None:
        current = left.pop(0) if len(left) > 1 else left[0]
        current(handler)

    return page


@contextmanager
def serve_web() -> Iterator[WebServer]:
    """A running server."""
    web = WebServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.web = web  # type: ignore[attr-defined]
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def hang(handler: Handler) -> None:
    """A page that never answers."""
    handler.web.closing.wait(60)
    handler.close_connection = True
