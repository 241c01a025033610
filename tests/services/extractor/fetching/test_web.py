"""Requests over a real connection: redirects, secrets, certificates, hosts that are slow, and forbidden addresses."""

import base64
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from services.extractor.fetching import web as module
from services.extractor.fetching.failures import DownloadFailed
from services.extractor.fetching.web import WebClient, retry_after
from tests.services.extractor.fetching.web_server import Handler, WebServer, hang, serve_web, status, video

NAMES = ("videos.example.org", "other.example.org")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets names of the internet lead to this machine."""
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host in NAMES else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def body(client: WebClient, url: str) -> bytes:
    with client.get(url, {}) as response:
        data = b""
        while chunk := response.read_some(1000):
            data += chunk
        return data


def failure(client: WebClient, url: str) -> DownloadFailed:
    with pytest.raises(DownloadFailed) as caught:
        body(client, url)
    return caught.value


def test_a_redirect_is_followed_and_its_end_is_known(web: WebServer) -> None:
    web.pages["/a"] = status(301, Location="/b")
    web.pages["/b"] = status(307, Location=web.url("/c.mp4?token=abc"))
    web.pages["/c.mp4?token=abc"] = video(b"12345")
    with WebClient().get(web.url("/a"), {}) as response:
        assert (response.status, response.url) == (200, web.url("/c.mp4?token=***"))


def test_a_request_names_the_program_and_asks_for_plain_bytes(web: WebServer) -> None:
    web.pages["/a"] = video(b"12345")
    assert body(WebClient(), web.url("/a")) == b"12345"
    headers = web.requests[0].headers
    assert headers["User-Agent"].startswith("Signet/")
    assert headers["Accept-Encoding"] == "identity"


def test_a_circle_of_redirects_ends(web: WebServer) -> None:
    web.pages["/a"] = status(302, Location="/b")
    web.pages["/b"] = status(302, Location="/a")
    assert failure(WebClient(), web.url("/a")).reason == "redirect"
    assert len(web.requests) == 6


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://a.org/b", "http://", "http://a.org:0/", "gopher://a/", "http://[::1"]
)
def test_a_redirect_to_another_scheme_is_not_followed(web: WebServer, target: str) -> None:
    web.pages["/a"] = status(302, Location=target)
    assert failure(WebClient(), web.url("/a")).reason == "redirect"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "other.example.org", "2130706433"])
def test_a_redirect_from_the_internet_into_the_private_network_is_not_followed(
    web: WebServer, names: None, host: str
) -> None:
    web.pages["/a"] = status(302, Location=web.url("/secret", host))
    web.pages["/secret"] = video(b"12345")
    error = failure(WebClient(), web.url("/a", "videos.example.org"))
    assert error.reason == "redirect"
    assert host in str(error)
    assert web.paths() == ["/a"]


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]"])
def test_even_a_local_host_does_not_redirect_to_link_local_addresses(
    web: WebServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The connection is refused when it is open: here, the peer of an own server is renamed."""
    web.pages["/a"] = status(302, Location=f"http://{host}/meta")
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.5)
    assert failure(WebClient(), web.url("/a")).reason in {"redirect", "no_connection"}


def test_user_and_password_go_to_the_host_of_the_metadata_only(web: WebServer) -> None:
    with serve_web() as other:
        web.pages["/a"] = status(302, Location=other.url("/b"))
        other.pages["/b"] = video(b"12345")
        url = web.url("/a").replace("//", "//me:p%40ss@")
        with WebClient().get(url, {}) as response:
            assert "me" not in response.url
        expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
        assert web.requests[0].headers["Authorization"] == expected
        assert "Authorization" not in other.requests[0].headers


def test_messages_have_no_secrets(web: WebServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    error = failure(WebClient(), f"http://me:word@127.0.0.1:{port}/b.mp4?signature=abc")
    assert error.reason == "no_connection"
    assert "word" not in str(error)
    assert "abc" not in str(error)


def test_a_name_that_leads_nowhere_is_an_unknown_host() -> None:
    assert failure(WebClient(), "http://no-such-host.invalid/b.mp4").reason == "unknown_host"


def test_a_host_that_sends_nothing_is_given_up(web: WebServer) -> None:
    web.pages["/a"] = hang
    assert failure(WebClient(read_seconds=0.3), web.url("/a")).reason == "stalled"


def test_headers_that_come_drop_by_drop_are_given_up(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.web.closing.wait(0.05):
            handler.wfile.write(b"X-A: b\r\n")
            handler.wfile.flush()

    web.pages["/a"] = drip
    monkeypatch.setattr(module, "_HEADER_SECONDS", 0.4)
    began = time.monotonic()
    assert failure(WebClient(read_seconds=5), web.url("/a")).reason == "stalled"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"])
def test_an_answer_that_is_no_http_is_a_failure_of_the_connection(answer: bytes) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert failure(WebClient(), f"http://127.0.0.1:{listener.getsockname()[1]}/").reason == "interrupted"
        thread.join()


def test_a_certificate_that_nobody_has_signed_is_refused(web: WebServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            try:
                context.wrap_socket(peer, server_side=True).close()
            except OSError:
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        error = failure(WebClient(), f"https://localhost:{listener.getsockname()[1]}/")
        thread.join()
    assert error.reason == "certificate"


def test_a_connection_is_used_again(web: WebServer) -> None:
    connections = set()

    def page(handler: Handler) -> None:
        connections.add(handler.client_address)
        video(b"12345")(handler)

    web.pages["/a"] = page
    client = WebClient()
    for _ in range(3):
        assert body(client, web.url("/a")) == b"12345"
    assert len(connections) == 1


def test_a_proxy_of_the_system_is_used_but_not_for_local_redirects(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{web.port}")
    monkeypatch.setenv("no_proxy", "")
    web.pages["http://videos.example.org/a"] = video(b"12345")
    web.pages["http://videos.example.org/b"] = status(302, Location="http://10.0.0.1/c")
    client = WebClient()
    assert body(client, "http://videos.example.org/a") == b"12345"
    assert web.requests[0].headers["Proxy-Authorization"].startswith("Basic ")
    assert failure(client, "http://videos.example.org/b").reason == "redirect"
    assert len(web.requests) == 2


def test_the_time_to_wait_is_read_in_seconds_and_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": later}) == pytest.approx(60, abs=3)
    assert retry_after({"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}) == 0
    assert retry_after({"Retry-After": "9" * 400}) == 999_999_999
    for nonsense in ("", "soon", "-1", "1.5", "²", f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"):
        assert retry_after({"Retry-After": nonsense}) is None
