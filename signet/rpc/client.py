"""A client of the three services, and the translation of their errors to Signet's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from signet.errors import from_code
from signet.rpc.limits import CHANNEL_OPTIONS
from signet.v1 import evaluator_pb2_grpc, extractor_pb2_grpc, trainer_pb2_grpc


class Client:
    """The stubs of the services, each at its own host:port; "" if it is not needed. Use it as a context manager."""

    def __init__(self, *, extractor: str = "", trainer: str = "", evaluator: str = "") -> None:
        self._channels: list[Any] = []
        self.extractor: Any = extractor_pb2_grpc.ExtractorStub(self._open(extractor)) if extractor else None
        self.trainer: Any = trainer_pb2_grpc.TrainerStub(self._open(trainer)) if trainer else None
        self.recognizer: Any = evaluator_pb2_grpc.RecognizerStub(self._open(evaluator)) if evaluator else None
        self.evaluation: Any = evaluator_pb2_grpc.EvaluationStub(self._open(evaluator)) if evaluator else None

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
def signet_errors() -> Iterator[None]:
    """Turn the error status of an answer into the `SignetError` that the server raised."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_code(error.code().name, error.details()) from error
