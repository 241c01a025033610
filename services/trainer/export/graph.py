"""An ONNX graph that is built node by node, in which some sizes differ from call to call."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from signet.errors import SignetError

OPSET, IR_VERSION = 18, 10


class Dim(int):
    """A size that differs from call to call: that of a named axis, plus an offset. Its value as an int means nothing.

    It is an int because torch.arange takes nothing else.
    """

    axis: str
    offset: int

    def __new__(cls, axis: str, offset: int = 0) -> Self:
        """The size of the axis plus the offset."""
        self = super().__new__(cls, 1 << 30)
        self.axis, self.offset = axis, offset
        return self

    def __add__(self, other: int) -> "Dim":
        return Dim(self.axis, self.offset + other)

    __radd__ = __add__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and (self.axis, self.offset) == (other.axis, other.offset)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.axis, self.offset))

    def _refuse(self, *_: object) -> int:
        raise SignetError("The ONNX export cannot compute with the batch size or the number of frames, only add to it.")

    __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __mod__ = __neg__ = _refuse


Shape = tuple[int, ...]


class Graph:
    """The graph so far. Values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, Shape, bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._dims: dict[Dim, str] = {}

    def add_input(self, name: str, dtype: int, shape: Shape) -> str:
        """Add an input of an ONNX type. The first input with a named axis gives that axis its size."""
        self._inputs.append(_value_info(name, dtype, shape))
        for axis, size in enumerate(shape):
            if isinstance(size, Dim) and size not in self._dims:
                self._dims[size] = self.add_node("Shape", [name], start=axis, end=axis + 1)
        return name

    def add_node(self, operator: str, inputs: Sequence[str], **attributes: object) -> str:
        """Add a node with one output; an empty name stands for an input that is left out."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def add_constant(self, array: npt.NDArray[np.generic]) -> str:
        """Add a constant; equal ones are stored once."""
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def add_sizes(self, sizes: Sequence[int]) -> str:
        """Add sizes as a tensor int64 [number of sizes]."""
        if not any(isinstance(size, Dim) for size in sizes):
            return self.add_constant(np.array(sizes, np.int64))
        return self.add_node("Concat", [self._add_size(size) for size in sizes], axis=0)

    def _add_size(self, size: int) -> str:
        if not isinstance(size, Dim):
            return self.add_constant(np.array([size], np.int64))
        if size not in self._dims:
            axis = self._dims[Dim(size.axis)]
            self._dims[size] = self.add_node("Add", [axis, self.add_constant(np.array([size.offset], np.int64))])
        return self._dims[size]

    def serialise(self, value: str, name: str, dtype: int, shape: Shape) -> bytes:
        """The finished graph, whose one output has this name and is this value."""
        nodes = [*self._nodes, helper.make_node("Identity", [value], [name])]
        outputs = [_value_info(name, dtype, shape)]
        graph = helper.make_graph(nodes, "signet", self._inputs, outputs, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        data: bytes = model.SerializeToString()
        return data


def _value_info(name: str, dtype: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, [s.axis if isinstance(s, Dim) else s for s in shape])
