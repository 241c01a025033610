"""An ONNX graph that is built node by node, in which some sizes differ from call to call."""

from collections.abc import Mapping, Sequence
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

    def __str__(self) -> str:
        return f"{self.axis}+{self.offset}" if self.offset else self.axis

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
        self._name_axes(name, shape)
        return name

    def add_optional_input(self, name: str, dtype: int, shape: Shape, default: npt.NDArray[np.generic]) -> str:
        """Add an input that a call may leave out. The default may have other sizes along named axes."""
        self._inputs.append(_value_info(name, dtype, shape))
        self._initializers.append(numpy_helper.from_array(default, name))
        return name

    def add_parameter(self, name: str, array: npt.NDArray[np.generic], shape: Shape) -> str:
        """Add a constant that programs can find by its name and replace; sizes with a `Dim` may then change."""
        self._initializers.append(numpy_helper.from_array(array, name))
        self._name_axes(name, shape)
        return name

    def _name_axes(self, name: str, shape: Shape) -> None:
        for axis, size in enumerate(shape):
            if isinstance(size, Dim) and size not in self._dims:
                self._dims[size] = self.add_node("Shape", [name], start=axis, end=axis + 1)

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

    def serialise(self, outputs: Mapping[str, tuple[str, int, Shape]]) -> bytes:
        """The finished graph. Each output is given by its name, with the value that it is, its type and its shape."""
        nodes = [helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items()]
        infos = [_value_info(name, dtype, shape) for name, (_, dtype, shape) in outputs.items()]
        graph = helper.make_graph([*self._nodes, *nodes], "signet", self._inputs, infos, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        data: bytes = model.SerializeToString()
        return data


def _value_info(name: str, dtype: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, [str(s) if isinstance(s, Dim) else s for s in shape])
