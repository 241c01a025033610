"""Reads a TensorFlow Lite file: its operators, the shapes of its tensors, and its constants."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from services.extractor.tracking.networks.sparse import SparseLevel, expand
from signet.errors import SignetError

Array = npt.NDArray[Any]

# It is at byte 4 of each TensorFlow Lite file.
_IDENTIFIER = b"TFL3"

_TYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT64: np.int64,
}
_INDEX_VECTORS = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}
_KINDS = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}


class InvalidNetwork(SignetError):
    """A file with a network is damaged, or the network cannot be converted."""

    code = "FAILED_PRECONDITION"


@dataclass(frozen=True)
class Operator:
    """One operator. Tensors are named by their index in the file."""

    kind: str  # as the schema of TensorFlow Lite names it, such as CONV_2D
    inputs: tuple[int, ...]
    output: int
    table: Any  # the flatbuffer table of the operator

    def options(self, kind: type[Any]) -> Any:
        """The options of the operator, as a table of this kind, such as `tflite.Conv2DOptions`."""
        table = self.table.BuiltinOptions()
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return options


class TfliteFile:
    """A network in a TensorFlow Lite file with one subgraph. Its tensors have the layout [1, height, width, channels].

    Raises:
        InvalidNetwork: it is not a TensorFlow Lite file.
    """

    def __init__(self, data: bytes) -> None:
        if data[4:8] != _IDENTIFIER:
            raise InvalidNetwork("This is not a TensorFlow Lite file.")
        self._model = tflite.Model.GetRootAsModel(data, 0)
        self._graph = self._model.Subgraphs(0)
        self.input: int = self._graph.Inputs(0)

    @cached_property
    def operators(self) -> Sequence[Operator]:
        """All operators, in the order in which they run."""
        tables = [self._graph.Operators(index) for index in range(self._graph.OperatorsLength())]
        return [
            Operator(
                kind=_KINDS[self._model.OperatorCodes(table.OpcodeIndex()).BuiltinCode()],
                inputs=tuple(map(int, table.InputsAsNumpy())),
                output=table.Outputs(0),
                table=table,
            )
            for table in tables
        ]

    @cached_property
    def output_names(self) -> Sequence[str]:
        """The names of the outputs, in their order."""
        return [self._tensor(index).Name().decode() for index in self._graph.OutputsAsNumpy()]

    def output(self, name: str) -> int:
        """The tensor of the output with this name."""
        if name not in self.output_names:
            raise InvalidNetwork(f"The network has no output {name!r}. It has: {', '.join(self.output_names)}.")
        return int(self._graph.Outputs(self.output_names.index(name)))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(map(int, self._tensor(tensor).ShapeAsNumpy()))

    def constant(self, tensor: int) -> Array | None:
        """The value of a constant tensor; None for a tensor that an operator computes. Sparse values are expanded."""
        table = self._tensor(tensor)
        buffer = self._model.Buffers(table.Buffer())
        if buffer.DataLength() == 0:
            return None
        values: Array = np.frombuffer(buffer.DataAsNumpy().tobytes(), _TYPES[table.Type()])
        sparsity = table.Sparsity()
        if sparsity is None:
            return values.reshape(self.shape(tensor))
        levels = [_level(sparsity.DimMetadata(index)) for index in range(sparsity.DimMetadataLength())]
        blocks = () if sparsity.BlockMapIsNone() else tuple(map(int, sparsity.BlockMapAsNumpy()))
        return expand(values, self.shape(tensor), tuple(map(int, sparsity.TraversalOrderAsNumpy())), blocks, levels)

    def _tensor(self, index: int) -> Any:
        return self._graph.Tensors(index)


def _level(table: Any) -> SparseLevel:
    if table.Format() == tflite.DimensionType.DENSE:
        return SparseLevel(size=table.DenseSize())
    segments = _vector(table.ArraySegmentsType(), table.ArraySegments())
    return SparseLevel(segments=segments, indices=_vector(table.ArrayIndicesType(), table.ArrayIndices()))


def _vector(kind: int, table: Any) -> Array:
    vector = _INDEX_VECTORS[kind]()
    vector.Init(table.Bytes, table.Pos)
    values: Array = vector.ValuesAsNumpy()
    return values
