"""Reads and replaces the sign directions in an ONNX file, without the package `onnx`.

`services.trainer.export.onnx` writes them as the initializer `sign_directions`, float32 [C, N, D]. A file of protobuf
is a sequence of fields, so one initializer can be replaced while all other bytes stay.
"""

import numpy as np
import numpy.typing as npt

from services.evaluator.serving.graph_check import protobuf_fields, read_varint
from signet.errors import NotReady

DIRECTIONS = "sign_directions"

Floats = npt.NDArray[np.float32]

# Fields of the messages of ONNX (onnx.proto3).
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT = 1
_LENGTH_DELIMITED = 2


def read_directions(graph: bytes, name: str) -> Floats:
    """The sign directions float32 [C, N, D] in the graph of the model with this name and version.

    Raises:
        NotReady: the graph has none: it is older, or its head is linear.
    """
    for field, message, _ in protobuf_fields(memoryview(graph)):
        if field == _MODEL_GRAPH and isinstance(message, memoryview):
            for inner, tensor, _ in protobuf_fields(message):
                if (
                    inner == _GRAPH_INITIALIZER
                    and isinstance(tensor, memoryview)
                    and _tensor_name(tensor) == DIRECTIONS
                ):
                    return _read_tensor(tensor)
    raise NotReady(
        f"model {name} compares frames with no sign directions: an older version of Signet exported it, or it has a "
        "linear head. Signs cannot be added to it. Train it again with the default head."
    )


def replace_directions(graph: bytes, directions: Floats) -> bytes:
    """The graph with these sign directions float32 [C, N, D] instead of its own."""
    parts = []
    for field, content, raw in _raw_fields(memoryview(graph)):
        if field == _MODEL_GRAPH and isinstance(content, memoryview):
            parts.append(_message(_MODEL_GRAPH, _replace_in_graph(content, directions)))
        else:
            parts.append(raw)
    return b"".join(parts)


def _replace_in_graph(graph: memoryview, directions: Floats) -> bytes:
    parts = []
    for field, content, raw in _raw_fields(graph):
        if field == _GRAPH_INITIALIZER and isinstance(content, memoryview) and _tensor_name(content) == DIRECTIONS:
            parts.append(_message(_GRAPH_INITIALIZER, _encode_tensor(directions)))
        else:
            parts.append(raw)
    return b"".join(parts)


def _raw_fields(message: memoryview) -> list[tuple[int, memoryview | int, bytes]]:
    """The number and content of each field of a message, and its bytes with the tag."""
    fields, start = [], 0
    for field, content, end in protobuf_fields(message):
        fields.append((field, content, bytes(message[start:end])))
        start = end
    return fields


def _tensor_name(tensor: memoryview) -> str:
    for field, content, _ in protobuf_fields(tensor):
        if field == _TENSOR_NAME and isinstance(content, memoryview):
            return bytes(content).decode(errors="replace")
    return ""


def _read_tensor(tensor: memoryview) -> Floats:
    dims: list[int] = []
    kind, raw = 0, b""
    for field, content, _ in protobuf_fields(tensor):
        if field == _TENSOR_DIMS and isinstance(content, int):
            dims.append(content)
        elif field == _TENSOR_DIMS and isinstance(content, memoryview):
            dims.extend(_packed_varints(content))
        elif field == _TENSOR_TYPE and isinstance(content, int):
            kind = content
        elif field == _TENSOR_RAW and isinstance(content, memoryview):
            raw = bytes(content)
    if kind != _FLOAT or len(dims) != 3 or np.prod(dims, dtype=object) * 4 != len(raw):
        raise NotReady(f"the sign directions of the graph have type {kind} and shape {dims}, and cannot be read.")
    return np.frombuffer(raw, "<f4").reshape(dims).astype(np.float32)


def _packed_varints(content: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(content):
        number, at = read_varint(content, at)
        numbers.append(number)
    return numbers


def _encode_tensor(directions: Floats) -> bytes:
    dims = b"".join(_varint_field(_TENSOR_DIMS, size) for size in directions.shape)
    raw = np.ascontiguousarray(directions, "<f4").tobytes()
    return b"".join(
        [
            dims,
            _varint_field(_TENSOR_TYPE, _FLOAT),
            _message(_TENSOR_NAME, DIRECTIONS.encode()),
            _message(_TENSOR_RAW, raw),
        ]
    )


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint_field(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
