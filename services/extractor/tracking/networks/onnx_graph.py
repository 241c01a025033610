"""Builds an ONNX graph that takes a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.extractor.tracking.networks.convolutions import Convolution, Node, merge_convolutions

Array = npt.NDArray[Any]
Shape = Sequence[str | int]

# The versions of ONNX's operators and of its file format. ONNX Runtime 1.32 reads both.
_OPSET = 20
_IR_VERSION = 10

PICTURE = "picture"


class OnnxGraph:
    """A graph under construction. Values are named by strings."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._initializers: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        """Add a node, and return the name of its output."""
        output = output or self._free_name()
        self._nodes.append(Node(kind, tuple(inputs), output, attributes))
        return output

    def convolve(self, value: str, convolution: Convolution, output: str = "") -> str:
        """Add a convolution, and return the name of its output."""
        output = output or self._free_name()
        self._nodes.append(Node("Conv", (value,), output, {}, convolution))
        return output

    def store(self, values: Any) -> str:
        """Add a constant, and return its name."""
        name = f"constant{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def serialize(self, picture: Shape, outputs: Mapping[str, Shape]) -> bytes:
        """Write the model.

        Args:
            picture: the shape of the input, uint8.
            outputs: the names of the outputs, float32, and their shapes.
        """
        nodes = [self._write(node) for node in merge_convolutions(self._nodes, list(outputs))]
        graph = helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info(PICTURE, TensorProto.UINT8, picture)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self._initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _free_name(self) -> str:
        return f"value{len(self._nodes)}"

    def _write(self, node: Node) -> onnx.NodeProto:
        if node.convolution is None:
            return helper.make_node(node.kind, node.inputs, [node.output], **node.attributes)
        convolution = node.convolution
        inputs = [node.inputs[0], self.store(convolution.weight), self.store(convolution.bias)]
        return helper.make_node(
            "Conv",
            inputs,
            [node.output],
            kernel_shape=convolution.weight.shape[2:],
            strides=convolution.strides,
            pads=convolution.pads,
            group=convolution.groups,
        )
