"""Trace a model: its torch calls on symbolic tensors become the nodes of an ONNX graph.

torch's own exporter takes 19 s for a model of 20 glosses, most of it for its guards of symbolic shapes. Here each torch
function that the model calls is a method of `Symbol`, which adds the ONNX operators of the same meaning. A function
that has no such method is an error: add one. torch computes what depends on weights alone, and the result is a
constant of the graph.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod
from itertools import pairwise
from typing import Any, Union

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto
from torch import Tensor
from torch.overrides import TorchFunctionMode

from services.trainer.export.graph import Dim, Graph, Shape
from signet.errors import SignetError

_ONNX_TYPES = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64, torch.bool: TensorProto.BOOL}
_NUMPY_TYPES = {torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}
_FLOAT_MAX = float(torch.finfo(torch.float32).max)

# `Symbol` has a method of the name float.
Number = float
Operand = Union["Symbol", Tensor, Number]


class Tracing(TorchFunctionMode):
    """While it is entered, torch.arange of a `Dim` adds a node to the graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called for every torch function."""
        if func is not torch.arange or not isinstance(args[0], Dim):
            return func(*args, **(kwargs or {}))
        start, step = (self._graph.add_constant(np.array(number, np.int64)) for number in (0, 1))
        end = self._graph.add_node("Squeeze", [self._graph.add_sizes(args[:1])])
        return Symbol(self._graph, self._graph.add_node("Range", [start, end, step]), torch.int64, args[:1])


def _broadcast(*shapes: Shape) -> Shape:
    """The shape that tensors of these shapes have together."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


@dataclass(frozen=True, eq=False)
class Symbol:
    """A tensor of the graph. It has those methods of torch.Tensor that the model calls, with their meaning there."""

    graph: Graph  # where its operators are added
    name: str  # of the ONNX value
    dtype: torch.dtype  # float32, int64 or bool
    shape: Shape  # sizes; `Dim` where they differ from call to call
    device = torch.device("cpu")

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """torch.f(symbol, ...) is symbol.f(...)."""
        method = getattr(cls, func.__name__, None)
        if method is None:
            raise SignetError(
                f"The ONNX export does not know torch.{func.__name__}, which the model calls. Add a method of this "
                "name to services/trainer/export/tracer.py."
            )
        return method(*args, **(kwargs or {}))

    def __len__(self) -> int:
        if isinstance(self.shape[0], Dim):
            raise SignetError("The ONNX export cannot fix the batch or time size: the model calls len() on it.")
        return self.shape[0]

    def _axes(self, dim: int | Sequence[int]) -> list[int]:
        return [axis % len(self.shape) for axis in ([dim] if isinstance(dim, int) else dim)]

    @classmethod
    def new_input(cls, graph: Graph, name: str, dtype: torch.dtype, shape: Shape) -> "Symbol":
        """A new input of a graph."""
        return cls(graph, graph.add_input(name, _ONNX_TYPES[dtype], shape), dtype, shape)

    @classmethod
    def new_optional_input(cls, graph: Graph, name: str, default: Tensor, shape: Shape) -> "Symbol":
        """A new input of a graph that a call may leave out."""
        named = graph.add_optional_input(name, _ONNX_TYPES[default.dtype], shape, default.numpy())
        return cls(graph, named, default.dtype, shape)

    @classmethod
    def new_parameter(cls, graph: Graph, name: str, value: Tensor, shape: Shape) -> "Symbol":
        """A constant of a graph that programs can find by its name and replace."""
        return cls(graph, graph.add_parameter(name, value.contiguous().numpy(), shape), value.dtype, shape)

    def _add(
        self,
        operator: str,
        others: Sequence["Symbol | str"] = (),
        shape: Shape | None = None,
        dtype: torch.dtype | None = None,
        **attributes: object,
    ) -> "Symbol":
        """Add an operator whose first input is this tensor. Its output has this shape and type if no other is given."""
        names = [other if isinstance(other, str) else other.name for other in others]
        name = self.graph.add_node(operator, [self.name, *names], **attributes)
        return Symbol(self.graph, name, dtype or self.dtype, self.shape if shape is None else shape)

    def _constant(self, values: npt.ArrayLike, dtype: torch.dtype = torch.int64) -> "Symbol":
        array = np.asarray(values, _NUMPY_TYPES[dtype])
        return Symbol(self.graph, self.graph.add_constant(array), dtype, array.shape)

    def _operand(self, value: Operand, dtype: torch.dtype) -> "Symbol":
        """Another tensor or number as a tensor of this graph and of this type."""
        if isinstance(value, Symbol):
            return value.to(dtype)
        return self._constant(value.detach().numpy() if isinstance(value, Tensor) else value, dtype)

    def _binary(self, operator: str, other: Operand, dtype: torch.dtype | None = None, swap: bool = False) -> "Symbol":
        """An elementwise operator on operands of the same type, after torch's rules of promotion."""
        kinds = {self.dtype, other.dtype if isinstance(other, Symbol | Tensor) else torch.tensor(other).dtype}
        common = next(kind for kind in (torch.float32, torch.int64, torch.bool) if kind in kinds)
        if common == torch.bool and operator not in {"And", "Or"}:
            common = torch.int64
        left, right = self.to(common), self._operand(other, common)
        shape = _broadcast(left.shape, right.shape)
        left, right = (right, left) if swap else (left, right)
        return left._add(operator, [right], shape, dtype)

    # Types and elementwise functions.

    def to(self, dtype: object) -> "Symbol":
        if not isinstance(self, Symbol) or not isinstance(dtype, torch.dtype) or dtype == self.dtype:
            return self
        return self._add("Cast", dtype=dtype, to=_ONNX_TYPES[dtype])

    def float(self) -> "Symbol":
        return self.to(torch.float32)

    def contiguous(self) -> "Symbol":
        return self

    def new_tensor(self, data: object) -> Tensor:
        return torch.tensor(data, dtype=self.dtype)

    __add__ = __radd__ = partialmethod(_binary, "Add")
    __sub__ = partialmethod(_binary, "Sub")
    __rsub__ = partialmethod(_binary, "Sub", swap=True)
    __mul__ = __rmul__ = partialmethod(_binary, "Mul")
    __lt__ = partialmethod(_binary, "Less", dtype=torch.bool)
    __gt__ = partialmethod(_binary, "Greater", dtype=torch.bool)
    __and__ = partialmethod(_binary, "And")
    __or__ = partialmethod(_binary, "Or")
    minimum = partialmethod(_binary, "Min")
    __invert__ = partialmethod(_add, "Not")
    __neg__ = neg = partialmethod(_add, "Neg")
    sqrt = partialmethod(_add, "Sqrt")
    exp = partialmethod(_add, "Exp")
    log = partialmethod(_add, "Log")

    def __truediv__(self, other: Operand) -> "Symbol":
        return self.float()._binary("Div", other)

    def isnan(self) -> "Symbol":
        return self._add("IsNaN", dtype=torch.bool)

    def square(self) -> "Symbol":
        return self * self

    def expm1(self) -> "Symbol":
        return self.exp() - 1.0

    def log_sigmoid(self) -> "Symbol":
        return -(-self)._add("Softplus")

    def gelu(self, approximate: str = "none") -> "Symbol":
        if approximate != "none":
            raise SignetError(f"The ONNX export has no GELU with approximate={approximate!r}.")
        return self * 0.5 * ((self * math.sqrt(0.5))._add("Erf") + 1.0)

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> "Symbol":
        bounds = ["" if bound is None else self._operand(bound, self.dtype) for bound in (min, max)]
        return self._add("Clip", bounds)

    def nan_to_num(self) -> "Symbol":
        return self.masked_fill(self.isnan(), 0.0).clamp(-_FLOAT_MAX, _FLOAT_MAX)

    def masked_fill(self, mask: "Symbol", value: Number) -> "Symbol":
        return mask.where(self._constant(value, self.dtype), self)

    def where(self, if_true: Operand, if_false: Operand) -> "Symbol":
        """torch.where(self, if_true, if_false), in which at least one of both is a Symbol."""
        dtype = next(operand.dtype for operand in (if_true, if_false) if isinstance(operand, Symbol))
        operands = [self._operand(operand, dtype) for operand in (if_true, if_false)]
        shape = _broadcast(self.shape, *(operand.shape for operand in operands))
        return self._add("Where", operands, shape, dtype)

    def zeros_like(self) -> "Symbol":
        return self._constant(0, self.dtype).expand(self.shape)

    # Reductions and products.

    def _reduce(self, operator: str, dim: int | Sequence[int], keepdim: bool = False) -> "Symbol":
        axes = self._axes(dim)
        sizes = ((axis, size) for axis, size in enumerate(self.shape) if keepdim or axis not in axes)
        shape = tuple(1 if axis in axes else size for axis, size in sizes)
        return self._add(operator, [self._constant(axes)], shape, keepdims=int(keepdim))

    def sum(self, dim: int | Sequence[int], keepdim: bool = False) -> "Symbol":
        summed = self.to(torch.int64) if self.dtype == torch.bool else self
        return summed._reduce("ReduceSum", dim, keepdim)

    def mean(self, dim: int) -> "Symbol":
        return self._reduce("ReduceMean", dim)

    def all(self, dim: int) -> "Symbol":
        return self.to(torch.int64)._reduce("ReduceMin", dim).to(torch.bool)

    def logsumexp(self, dim: int) -> "Symbol":
        return self._reduce("ReduceLogSumExp", dim)

    def softmax(self, dim: int, **_: object) -> "Symbol":
        return self._add("Softmax", (), axis=dim)

    def log_softmax(self, dim: int, **_: object) -> "Symbol":
        return self._add("LogSoftmax", (), axis=dim)

    def normalize(self, p: Number, dim: int, eps: Number, out: None) -> "Symbol":
        if p != 2:
            raise SignetError(f"The ONNX export normalises vectors by their length, p=2, and not by p={p}.")
        return self / self.square().sum(dim, keepdim=True).sqrt().clamp(min=eps)

    def matmul(self, other: Operand) -> "Symbol":
        factor = self._operand(other, self.dtype)
        shape = (*_broadcast(self.shape[:-2], factor.shape[:-2]), self.shape[-2], factor.shape[-1])
        return self._add("MatMul", [factor], shape)

    __matmul__ = matmul

    def linear(self, weight: Tensor, bias: Tensor) -> "Symbol":
        return self.matmul(weight.mT) + bias

    def lstm(self, weight: Tensor, recurrence: Tensor, bias: Tensor) -> "Symbol":
        """ONNX's LSTM in one direction: [B, T, D] to [B, T, H]; weights in ONNX's layout."""
        units = recurrence.shape[-1]
        weights = [self._operand(tensor, self.dtype) for tensor in (weight, recurrence, bias)]
        x = self.transpose(0, 1)
        return x._add("LSTM", weights, (x.shape[0], 1, x.shape[1], units), hidden_size=units)[:, 0].transpose(0, 1)

    # Shapes and places.

    def permute(self, *dims: int) -> "Symbol":
        return self._add("Transpose", (), tuple(self.shape[dim] for dim in dims), perm=dims)

    def transpose(self, dim0: int, dim1: int) -> "Symbol":
        order = list(range(len(self.shape)))
        order[dim0], order[dim1] = order[dim1], order[dim0]
        return self.permute(*order)

    def reshape(self, shape: Shape) -> "Symbol":
        return self._add("Reshape", [self.graph.add_sizes(shape)], shape)

    def unflatten(self, dim: int, sizes: Sequence[int]) -> "Symbol":
        (dim,) = self._axes(dim)
        if -1 in sizes:
            known = -math.prod(sizes)
            sizes = [self.shape[dim] // known if size == -1 else size for size in sizes]
        return self.reshape((*self.shape[:dim], *sizes, *self.shape[dim + 1 :]))

    def flatten(self, start_dim: int, end_dim: int = -1) -> "Symbol":
        """Reshape with -1 for the flattened dimensions: at most two of the sizes may be unknown before."""
        start, end = self._axes((start_dim, end_dim))
        flat = self.shape[start : end + 1]
        size = Dim("*".join(map(repr, flat))) if any(isinstance(length, Dim) for length in flat) else math.prod(flat)
        target = (*self.shape[:start], -1, *self.shape[end + 1 :])
        return self._add("Reshape", [self.graph.add_sizes(target)], (*self.shape[:start], size, *self.shape[end + 1 :]))

    def unsqueeze(self, dim: int) -> "Symbol":
        return self._add("Unsqueeze", [self._constant([dim])], (*self.shape[:dim], 1, *self.shape[dim:]))

    def expand(self, *sizes: Any) -> "Symbol":
        wanted = sizes[0] if isinstance(sizes[0], tuple) else sizes
        padded = (1,) * (len(wanted) - len(self.shape)) + self.shape
        shape = tuple(old if size == -1 else size for old, size in zip(padded, wanted, strict=True))
        return self._add("Expand", [self.graph.add_sizes(shape)], shape)

    def expand_as(self, other: "Symbol") -> "Symbol":
        return self.expand(other.shape)

    def cat(self: Sequence["Symbol"], dim: int = 0) -> "Symbol":  # type: ignore[misc]
        """torch.cat(symbols, dim)."""
        shape = list(self[0].shape)
        shape[dim] = sum(symbol.shape[dim] for symbol in self)
        return self[0]._add("Concat", self[1:], tuple(shape), axis=dim)

    def stack(self: Sequence["Symbol"], dim: int = 0) -> "Symbol":  # type: ignore[misc]
        """torch.stack(symbols, dim)."""
        dim %= len(self[0].shape) + 1
        return Symbol.cat([symbol.unsqueeze(dim) for symbol in self], dim)

    def unbind(self, dim: int = 0) -> tuple["Symbol", ...]:
        return tuple(self._at(dim, index) for index in range(self.shape[dim]))

    def split(self, size: int, dim: int) -> tuple["Symbol", ...]:
        return self.tensor_split(range(size, self.shape[dim], size), dim)

    def tensor_split(self, indices: Sequence[int], dim: int) -> tuple["Symbol", ...]:
        (dim,) = self._axes(dim)
        edges = [0, *indices, self.shape[dim]]
        return tuple(self._slice(dim, slice(*edge)) for edge in pairwise(edges))

    def gather(self, dim: int, index: "Symbol") -> "Symbol":
        return self._add("GatherElements", [index], index.shape, axis=dim)

    def pad(self, widths: Sequence[int], mode: str = "constant", value: Number | None = None) -> "Symbol":
        """F.pad with a constant: widths begin with the last dimension, (before, after) of each."""
        before, after = ([0] * len(self.shape) for _ in range(2))
        for place, width in enumerate(widths):
            (after if place % 2 else before)[-1 - place // 2] = width
        shape = tuple(size + low + high for size, low, high in zip(self.shape, before, after, strict=True))
        pads = [self._constant(before + after), self._constant(value or 0, self.dtype)]
        return self._add("Pad", pads, shape)

    def __getitem__(self, index: Any) -> "Symbol":
        items = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in items:
            place = items.index(Ellipsis)
            missing = len(self.shape) - sum(item is not None for item in items) + 1
            items[place : place + 1] = [slice(None)] * missing
        part, axis = self, 0
        for item in items:
            if item is None:
                part, axis = part.unsqueeze(axis), axis + 1
            elif isinstance(item, slice):
                part, axis = part._slice(axis, item), axis + 1
            else:
                part, axis = part._at(axis, item), axis + isinstance(item, list)
        return part

    def _at(self, axis: int, index: int | list[int]) -> "Symbol":
        """The entries of an axis at these places; one number removes the axis."""
        places = self._constant(index)
        return self._add("Gather", [places], (*self.shape[:axis], *places.shape, *self.shape[axis + 1 :]), axis=axis)

    def _slice(self, axis: int, part: slice) -> "Symbol":
        if part == slice(None):
            return self
        size, start, stop = self.shape[axis], part.start or 0, part.stop
        if isinstance(size, Dim):
            # A size is at least its offset.
            if not isinstance(stop, Dim) and not (stop is not None and 0 <= start <= stop <= size.offset):
                raise SignetError("The ONNX export takes parts of the batch and of the frames only up to a known size.")
            length: int = stop + -start
        else:
            start, stop, _ = part.indices(size)
            length = stop - start
        bounds = [self.graph.add_sizes([bound]) for bound in (start, stop, axis)]
        return self._add("Slice", bounds, (*self.shape[:axis], length, *self.shape[axis + 1 :]))


def serialise(outputs: Mapping[str, Symbol]) -> bytes:
    """The graph of these tensors as a file; each output has the name that is given for it."""
    graph = next(iter(outputs.values())).graph
    return graph.serialise({name: (out.name, _ONNX_TYPES[out.dtype], out.shape) for name, out in outputs.items()})
