"""What answers at an address that has no usable gRPC server, in words for an error message."""

import re
import socket
import ssl

from signet.errors import InvalidSetting

# The start of a connection in HTTP/2 (RFC 9113, 3.4), and an empty SETTINGS frame. A gRPC server answers with its own
# SETTINGS frame, whose type is the fourth byte.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
_SETTINGS_TYPE = 4
# A TLS record of the type alert (RFC 8446, 5.1): the answer to bytes that are not TLS. gRPC closes the connection.
_TLS_ALERT = b"\x15\x03"
_WANTS_TLS = (
    "the server there wants TLS. Set SIGNET_CLIENT_CA to the PEM file of its authority, or SIGNET_CLIENT_TLS=true for "
    "a public authority"
)

_REFUSED_CLIENT = (
    "the server there closes the connection after TLS was agreed. It may ask for a certificate of an authority that it "
    "trusts: SIGNET_CLIENT_CERTIFICATE and SIGNET_CLIENT_KEY"
)

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_GRPC_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:")


def check_address(address: str, option: str) -> None:
    """Refuse what is not host:port and no other address that gRPC knows. `option` is named in the message.

    Raises:
        InvalidSetting: the address cannot be used.
    """
    if address.startswith(_GRPC_SCHEMES):
        return
    found = _HOST_AND_PORT.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 65536:
        raise InvalidSetting(f"{option} {address!r}: not an address. Give host:port, for example localhost:50053.")


def describe_listener(address: str, timeout: float, tls: ssl.SSLContext | None = None, server_name: str = "") -> str:
    """Say why a client cannot speak gRPC with a host:port: a part of a sentence; "" if that is not known.

    `tls` is what the client uses; None for a client without TLS. `server_name` is the name that it expects in the
    server's certificate; "" for the host of the address.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if not found:
        return ""
    host, port = found["host"].strip("[]"), int(found["port"])
    try:
        if tls is not None:
            answer = _exchange(host, port, timeout, tls, server_name or host)
            return _describe_answer(answer) if answer else _REFUSED_CLIENT
        answer = _exchange(host, port, timeout)
        return _WANTS_TLS if not answer and _speaks_tls(host, port, timeout) else _describe_answer(answer)
    except OSError as error:
        return _describe_failure(error)


def _describe_failure(error: OSError) -> str:
    reason = f"{error.strerror or error}".lower()
    match error:
        case ssl.SSLCertVerificationError():
            reason = f"the certificate of the server there is refused: {error.verify_message}. Check SIGNET_CLIENT_CA"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            reason = "the server there speaks no TLS"
        case ssl.SSLError():
            reason = f"the TLS connection fails ({error.reason or error})"
        case socket.gaierror():
            reason = "the host's name is not known"
        case ConnectionRefusedError():
            reason = "nothing listens there"
        case TimeoutError():
            reason = "there is no answer; a firewall may be in between, or the server speaks another protocol"
    return reason


def _exchange(host: str, port: int, timeout: float, tls: ssl.SSLContext | None = None, server_name: str = "") -> bytes:
    """Send the start of a connection in HTTP/2, and return the first bytes of the answer."""
    with socket.create_connection((host, port), timeout) as connection:
        connection.settimeout(timeout)
        used = connection if tls is None else tls.wrap_socket(connection, server_hostname=server_name)
        with used:
            used.sendall(_PREFACE)
            return used.recv(64)


def _speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Whether a server accepts TLS connections. Its certificate does not matter, since nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        _exchange(host, port, timeout, context, host)
    except OSError:
        return False
    return True


def _describe_answer(answer: bytes) -> str:
    if answer.startswith((b"HTTP/", b"<")):
        return "a web server listens there, not a gRPC server. Is it the port of metrics or of a web page?"
    if answer.startswith(_TLS_ALERT):
        return _WANTS_TLS
    if len(answer) > 3 and answer[3] == _SETTINGS_TYPE:
        return "a gRPC server listens there, but it was not ready in time"
    if not answer:
        return "the server there closes the connection; it does not speak gRPC"
    return f"the server there does not speak gRPC; it answers {answer[:20]!r}"
