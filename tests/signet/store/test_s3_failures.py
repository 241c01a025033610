"""Each request that gets no complete answer becomes a sentence that names the store, the fault and the way out."""

import socket
import threading
from collections.abc import Callable

import pytest
import urllib3

from signet.errors import Unavailable
from signet.store import s3
from signet.store.s3 import S3Store
from tests.signet.store.conftest import LISTING, Answer, ScriptedServer

StartServer = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once, and a server that is silent for half a second is given up."""
    monkeypatch.setattr(s3, "_RETRIES", s3._RETRIES.new(backoff_factor=0))
    monkeypatch.setattr(s3, "_READ_SECONDS", 0.5)


def message_at_open(endpoint: str, *parts: str, secure: bool = False) -> str:
    with pytest.raises(Unavailable) as error:
        S3Store(endpoint, "bucket", "user", "secret", secure=secure)
    message = str(error.value)
    assert message.startswith(f"{'https' if secure else 'http'}://{endpoint}/bucket: the store cannot be reached: ")
    assert [part for part in parts if part not in message] == [], message
    assert "object at 0x" not in message
    return message


def test_a_host_name_that_does_not_exist_is_named() -> None:
    message_at_open("no-such-host.invalid:9000", "'no-such-host.invalid' cannot be resolved", "DNS")


def test_a_port_where_nothing_listens_is_named() -> None:
    message_at_open("127.0.0.1:9", "nothing listens at 127.0.0.1:9", "connection refused")


def test_an_address_that_drops_packets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_CONNECT_SECONDS", 0.2)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    endpoint = f"127.0.0.1:{full.getsockname()[1]}"
    # A full queue of connections drops the first packet of each further one, as a firewall does.
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    message_at_open(endpoint, "does not accept a connection in time", "firewalls")
    for opened in (full, *waiting):
        opened.close()


def test_a_server_that_does_not_answer_is_given_up(silent_server: str) -> None:
    message_at_open(silent_server, "accepts connections, and does not answer in time")


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\x00\x18\x04\x00\x00\x00\x00\x00"])
def test_a_server_of_another_protocol_is_no_store(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(greeting)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        message_at_open(f"127.0.0.1:{server.getsockname()[1]}", "without a complete HTTP answer", "https://")
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_self_signed_certificate_is_named_as_untrusted(tls_server: StartServer) -> None:
    message_at_open(tls_server().endpoint, "does not trust the certificate", "self-signed", secure=True)


def test_plain_http_where_tls_is_spoken_is_explained(tls_server: StartServer) -> None:
    message_at_open(tls_server().endpoint, "without a complete HTTP answer", "https://")


def test_https_where_plain_http_is_spoken_is_explained(scripted_server: ScriptedServer) -> None:
    message_at_open(scripted_server.endpoint, "does not speak https", "http:// instead of https://", secure=True)


@pytest.mark.parametrize("method", ["get", "get_head"])
def test_an_object_that_is_cut_off_is_not_read(scripted_server: ScriptedServer, method: str) -> None:
    store = scripted_server.open()
    scripted_server.answer = Answer(200, b"half", headers={"ETag": '"e"'}, length=8)
    with pytest.raises(Unavailable, match=r"cut off after 4 of 8 bytes\. Try again"):
        getattr(store, method)("k", *([8] if method == "get_head" else []))


def test_a_list_that_is_cut_off_is_not_taken_for_a_short_one(scripted_server: ScriptedServer) -> None:
    store = scripted_server.open()
    scripted_server.listing = Answer(200, LISTING, length=len(LISTING) + 100)
    with pytest.raises(Unavailable, match="cut off after"):
        list(store.list("k"))
    scripted_server.listing = Answer(200, LISTING[:-20])
    with pytest.raises(Unavailable, match="cannot be read"):
        list(store.list("k"))


def test_a_list_with_a_size_that_is_none_is_an_error_and_no_traceback(scripted_server: ScriptedServer) -> None:
    store = scripted_server.open()
    entry = b"<Contents><Key>k</Key><LastModified>yesterday</LastModified><Size>1</Size></Contents></ListBucketResult>"
    scripted_server.listing = Answer(200, LISTING.replace(b"</ListBucketResult>", entry))
    assert [info.key for info in store.list("k")] == ["k"], "times are not read"
    entry = entry.replace(b"<Size>1<", b"<Size>large<")
    scripted_server.listing = Answer(200, LISTING.replace(b"</ListBucketResult>", entry))
    with pytest.raises(Unavailable, match="the answer of the store cannot be read"):
        list(store.list("k"))


def test_a_fault_that_stays_has_the_same_sentence_each_time() -> None:
    """A log leaves out a line that is the same as the one before."""
    assert message_at_open("127.0.0.1:9") == message_at_open("127.0.0.1:9")


def test_no_failure_of_the_http_client_is_without_a_sentence() -> None:
    from signet.store.s3_failures import explain_failure  # noqa: PLC0415
    from signet.store.s3_http import S3Address  # noqa: PLC0415

    address = S3Address("http://h:1/bucket", "h:1", "bucket", "user", False, "us-east-1")
    for error in (urllib3.exceptions.HTTPError(), urllib3.exceptions.DecodeError("x"), ValueError("y\nz")):
        assert explain_failure(address, error).startswith("http://h:1/bucket: the ")
