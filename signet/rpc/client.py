"""A client of the three services, and the translation of their errors to Signet's."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from signet.errors import Busy, DeadlineExceeded, InvalidInput, SignetError, Unavailable, from_code
from signet.rpc.limits import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES, MAX_PLAIN_MESSAGE_BYTES
from signet.rpc.retry import read_retry_seconds
from signet.telemetry.request_ids import read_request_id
from signet.v1 import evaluator_pb2_grpc, extractor_pb2_grpc, registry_pb2_grpc, trainer_pb2_grpc

# The details of a deadline that gRPC itself noticed, in the client or in the server.
_OWN_DEADLINE = re.compile(r"(Stream removed \()?Deadline Exceeded\)?")

# The details of TLS connections that gRPC could not make, and what to do.
_TLS_FAILURES = {
    "WRONG_VERSION_NUMBER": "the server speaks no TLS. Unset SIGNET_CLIENT_CA and SIGNET_CLIENT_TLS, if that is right",
    "certificate has expired": "the certificate of the server has expired. It must be renewed there",
    "Hostname Verification": "the certificate of the server is for another host. Call the server by a name in its "
    "certificate, or set SIGNET_CLIENT_SERVER_NAME to one",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the server comes from an authority that is not trusted. Set "
    "SIGNET_CLIENT_CA to the PEM file of its authority",
    "handshake failed": "the TLS connection failed",
}

# The details of connections that end during a call.
_LOST_CONNECTION = re.compile(
    r"^(Stream removed|Socket closed|ping timeout|Connection reset|recvmsg:|GOAWAY)", re.IGNORECASE
)


class Client:
    """The stubs of the services, each at its own host:port; "" if it is not needed. Use it as a context manager."""

    def __init__(self, *, extractor: str = "", trainer: str = "", evaluator: str = "") -> None:
        self._channels: list[Any] = []
        self.extractor: Any = extractor_pb2_grpc.ExtractorStub(self._open(extractor)) if extractor else None
        self.trainer: Any = trainer_pb2_grpc.TrainerStub(self._open(trainer)) if trainer else None
        self.recognizer: Any = evaluator_pb2_grpc.RecognizerStub(self._open(evaluator)) if evaluator else None
        self.evaluation: Any = evaluator_pb2_grpc.EvaluationStub(self._open(evaluator)) if evaluator else None
        self.registry: Any = registry_pb2_grpc.RegistryStub(self._open(evaluator)) if evaluator else None

    def _open(self, address: str) -> Any:
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._channels.append(channel)
        return channel

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels:
            channel.close()


@contextmanager
def signet_errors(server: str = "") -> Iterator[None]:
    """Turn the error status of an answer into the `SignetError` that the server raised.

    The messages of errors that come from gRPC itself name the `server`.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise to_signet_error(error, server) from error


def to_signet_error(error: Any, server: str = "") -> SignetError:
    """The `SignetError` for the error of a call. The statuses of gRPC itself get messages that say what to do."""
    raised = _translate(error, server)
    raised.request_id = read_request_id(error.trailing_metadata())
    return raised


def _translate(error: Any, server: str) -> SignetError:
    code, details = error.code(), error.details() or "no details"
    at = f"{server}: " if server else ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and _OWN_DEADLINE.fullmatch(details):
        return DeadlineExceeded(f"{at}no answer came within the deadline of the call. Allow more time.")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        limit = (
            "Send fewer values."
            if f"vs. {MAX_PLAIN_MESSAGE_BYTES}" in details
            else f"The limit is {MAX_MESSAGE_BYTES} bytes. Cut the clip to the sign, or scale it down."
        )
        return InvalidInput(f"a message is too large ({details}). {limit}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unavailable(f"{at}the server is not the service that this call is for ({details}). Check its address.")
    if "http2 header with status" in details:
        return Unavailable(f"{at}a web server or a proxy answers, not a gRPC server ({details}). Check its address.")
    if code is grpc.StatusCode.UNAVAILABLE and (advice := _explain_lost_connection(details)):
        return Unavailable(f"{at}{advice}")
    raised = from_code(code.name, details)
    if isinstance(raised, Busy):
        raised.retry_seconds = read_retry_seconds(error.trailing_metadata())
    return raised


def _explain_lost_connection(details: str) -> str:
    """Why there is no connection, and what to do; "" if the details name no known reason."""
    for words, advice in _TLS_FAILURES.items():
        if words in details:
            return f"{advice} ({details})."
    if _LOST_CONNECTION.search(details):
        return f"the connection was lost ({details}). Check that the server runs, and try again."
    return ""
