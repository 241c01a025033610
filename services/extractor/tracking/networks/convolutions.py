"""Convolutions with constant weights, and how two that follow each other become one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_MAX_GROWTH = 1.5


@dataclass(frozen=True)
class Convolution:
    """A convolution as ONNX defines it: weight [outputs, inputs / groups, height, width], bias [outputs]."""

    weight: Array
    bias: Array
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    groups: int = 1

    @property
    def is_pointwise(self) -> bool:
        """Whether each output pixel depends on one input pixel."""
        return self.weight.shape[2:] == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    def dense_weight(self) -> Array:
        """The weight for a single group, float64 [outputs, inputs, height, width]."""
        outputs, inputs = len(self.weight), self.weight.shape[1]
        dense = np.zeros((outputs, inputs * self.groups, *self.weight.shape[2:]))
        for group in range(self.groups):
            rows = slice(group * outputs // self.groups, (group + 1) * outputs // self.groups)
            dense[rows, group * inputs : (group + 1) * inputs] = self.weight[rows]
        return dense


def pointwise(matrix: Array, bias: Array | None = None) -> Convolution:
    """A convolution that multiplies the channels of each pixel by a matrix [outputs, inputs]."""
    weight = np.asarray(matrix, np.float32)[:, :, None, None]
    return Convolution(weight, np.zeros(len(weight), np.float32) if bias is None else np.asarray(bias, np.float32))


def merge(first: Convolution, second: Convolution) -> Convolution | None:
    """The convolution that does what two do one after the other.

    Returns:
        The convolution. None if there is none: the second one pads, and it pads with 0 instead of the first one's bias.
        None also if it would be slower: merged 1 x 1 convolutions must need no more multiplications than both do. One
        of a larger kernel may need half as many more, because it saves writing and reading the values between.
    """
    larger = first if second.is_pointwise else second
    pixels = int(np.prod(larger.weight.shape[2:]))
    weights = len(second.weight) * first.weight.shape[1] * first.groups * pixels
    if weights > (_MAX_GROWTH if pixels > 1 else 1) * (first.weight.size + second.weight.size):
        return None
    if second.is_pointwise:
        weight = np.einsum("om,mihw->oihw", second.dense_weight()[:, :, 0, 0], first.dense_weight())
    elif first.is_pointwise and not any(second.pads):
        weight = np.einsum("omhw,mi->oihw", second.dense_weight(), first.dense_weight()[:, :, 0, 0])
    else:
        return None
    bias = second.bias + second.dense_weight().sum(axis=(2, 3)) @ first.bias.astype(np.float64)
    return Convolution(weight.astype(np.float32), bias.astype(np.float32), larger.strides, larger.pads)


@dataclass(frozen=True)
class Node:
    """A node of an ONNX graph with one output. A convolution has its weights here, and not among the inputs."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, object]
    convolution: Convolution | None = None


def merge_convolutions(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Merge convolutions whose only reader is another convolution. `outputs` are the outputs of the graph."""
    readers = Counter([*outputs, *(name for node in nodes for name in node.inputs)])
    merged: dict[str, Node] = {}  # by output
    for node in nodes:
        merged[node.output] = node
        before = merged.get(node.inputs[0])
        if node.convolution and before and before.convolution and readers[before.output] == 1:
            both = merge(before.convolution, node.convolution)
            if both is not None:
                del merged[before.output]
                merged[node.output] = Node("Conv", before.inputs, node.output, {}, both)
    return list(merged.values())
