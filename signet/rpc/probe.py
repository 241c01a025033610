"""What answers at an address that has no usable gRPC server, in words for an error message."""

import re
import socket

from signet.errors import InvalidSetting

# The start of a connection in HTTP/2 (RFC 9113, 3.4), and an empty SETTINGS frame. A gRPC server answers with its own
# SETTINGS frame, whose type is the fourth byte.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
_SETTINGS_TYPE = 4
# A TLS record of the type alert (RFC 8446, 5.1): the answer to bytes that are not TLS.
_TLS_ALERT = b"\x15\x03"

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


def describe_listener(address: str, timeout: float) -> str:
    """Say why a client cannot speak gRPC with a host:port: a part of a sentence; "" if that is not known."""
    found = _HOST_AND_PORT.fullmatch(address)
    if not found:
        return ""
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(_PREFACE)
            return _describe_answer(connection.recv(64))
    except socket.gaierror:
        return "the host's name is not known"
    except ConnectionRefusedError:
        return "nothing listens there"
    except TimeoutError:
        return "there is no answer; a firewall may be in between, or the server speaks another protocol"
    except OSError as error:
        return f"{error.strerror or error}".lower()


def _describe_answer(answer: bytes) -> str:
    if answer.startswith((b"HTTP/", b"<")):
        return "a web server listens there, not a gRPC server. Is it the port of metrics or of a web page?"
    if answer.startswith(_TLS_ALERT):
        return "the server there wants TLS, which Signet's clients do not speak"
    if len(answer) > 3 and answer[3] == _SETTINGS_TYPE:
        return "a gRPC server listens there, but it was not ready in time"
    if not answer:
        return "the server there closes the connection; it does not speak gRPC"
    return f"the server there does not speak gRPC; it answers {answer[:20]!r}"
