"""What our client says about an address at which no Signet server answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.local.child_processes import free_ports
from signet.errors import InvalidSetting
from signet.rpc.probe import check_address, describe_listener
from signet.rpc.server import ServiceServer
from signet.security.credentials import ChannelSecurity, ClientSettings
from tests.certificates import Authority, Pair
from tests.signet.rpc.conftest import Served
from tests.signet.security.conftest import secured


@contextmanager
def listener(answer: bytes) -> Iterator[str]:
    """A server that sends these bytes to each client and closes the connection."""

    def serve(server: socket.socket) -> None:
        try:
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(answer)
                    connection.recv(4096)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server listens there"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "wants TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak gRPC; it answers b'SSH-2.0"),
        (b"", "closes the connection"),
    ],
)
def test_a_server_of_another_protocol_is_named(answer: bytes, words: str) -> None:
    with listener(answer) as address:
        assert words in describe_listener(address, 2.0)


def test_an_address_without_a_listener_is_named(served: Served) -> None:
    (port,) = free_ports(1)
    assert describe_listener(f"127.0.0.1:{port}", 2.0) == "nothing listens there"
    assert describe_listener("no-such-host.invalid:1", 2.0) == "the host's name is not known"
    assert "a web server listens there" in describe_listener(f"127.0.0.1:{served.metrics_port}", 2.0)
    assert "a gRPC server listens there" in describe_listener(served.address, 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "there is no answer" in describe_listener(f"127.0.0.1:{silent.getsockname()[1]}", 0.3)


@pytest.mark.parametrize("address", ["localhost:50053", "[::1]:80", "10.0.0.1:1", "unix:/run/x", "dns:///a:1"])
def test_addresses_that_grpc_knows_are_accepted(address: str) -> None:
    check_address(address, "--server")


@pytest.mark.parametrize("address", ["", "localhost", "http://localhost:50053", "a:b", "a:0", "a:99999", "a b:1", ":1"])
def test_other_addresses_are_refused_with_an_example(address: str) -> None:
    with pytest.raises(InvalidSetting, match=r"--server .*Give host:port, for example localhost:50053"):
        check_address(address, "--server")


def test_a_failed_tls_connection_is_explained(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path / "other", "other")
    pair, client = authority.issue("server"), authority.issue("client")

    def ask(server: ServiceServer, ca: Authority, pair: Pair | None = None, name: str = "") -> str:
        settings = ClientSettings(ca=ca.ca, certificate=pair and pair.certificate, key=pair and pair.key)
        return describe_listener(f"127.0.0.1:{server.port}", 2.0, ChannelSecurity(settings).tls_context(), name)

    with secured(tls_certificate=pair.certificate, tls_key=pair.key) as server:
        assert "wants TLS. Set SIGNET_CLIENT_CA" in describe_listener(f"127.0.0.1:{server.port}", 2.0)
        assert "it was not ready in time" in ask(server, authority)
        assert "is refused: unable to get local issuer certificate. Check SIGNET_CLIENT_CA" in ask(server, other)
        assert "certificate is not valid for 'signet.example'" in ask(server, authority, name="signet.example")
    with secured(tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=authority.ca) as server:
        assert "It may ask for a certificate" in ask(server, authority)
        assert "It may ask for a certificate" in ask(server, authority, other.issue("client"))
        assert "it was not ready in time" in ask(server, authority, client)
    with secured() as server:
        assert ask(server, authority) == "the server there speaks no TLS"
