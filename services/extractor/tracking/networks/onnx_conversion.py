"""Converts a network of MediaPipe from TensorFlow Lite to ONNX, for any batch size.

The ONNX graph takes pictures as uint8 [n, height, width, 3] and computes in float32. Inside, tensors have ONNX's layout
[n, channels, height, width]; outputs have it, too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

from services.extractor.tracking.networks.tflite_file import Operator, TfliteFile

Array = npt.NDArray[Any]

# The version of ONNX's operators. ONNX Runtime 1.32 knows it.
_OPSET = 20
_IR_VERSION = 10

# From the layout [n, height, width, channels] to [n, channels, height, width], and back.
_TO_ONNX = (0, 3, 1, 2)
_TO_TFLITE = (0, 2, 3, 1)


def convert(path: Path, outputs: Sequence[str], low: float, high: float) -> bytes:
    """Convert a network.

    Args:
        path: a .tflite file.
        outputs: names of the wanted outputs. What only other outputs need is left out.
        low: the value that the network wants for black, 0.
        high: the value that it wants for white, 255.

    Returns:
        The serialised ONNX model, whose outputs have the order of `outputs`.

    Raises:
        OSError: the file cannot be read.
        NotImplementedError: the network has an operator that MediaPipe's networks for pose and hands do not have.
    """
    return _Conversion(TfliteFile(path)).run(outputs, low, high)


class _Conversion:
    """The conversion of one file. A method `_convert_<kind>` adds the nodes for an operator of this kind."""

    def __init__(self, file: TfliteFile) -> None:
        self._file = file
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._constants: dict[int, Array] = {}

    def run(self, outputs: Sequence[str], low: float, high: float) -> bytes:
        """Build the model."""
        tensors = [self._file.output(name) for name in outputs]
        _, height, width, channels = self._file.shape(self._file.input)
        self._add_picture(low, high)
        for operator in self._needed(tensors):
            method = getattr(self, f"_convert_{operator.kind.lower()}", None)
            if method is None:
                raise NotImplementedError(f"{operator.kind}: no conversion to ONNX is known.")
            method(operator)
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["n", height, width, channels])],
            [
                helper.make_tensor_value_info(_name(tensor), TensorProto.FLOAT, self._shape(tensor))
                for tensor in tensors
            ],
            self._initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _needed(self, tensors: Sequence[int]) -> list[Operator]:
        """The operators that these tensors depend on, in their order."""
        wanted = set(tensors)
        needed = []
        for operator in reversed(self._file.operators):
            if operator.output in wanted:
                needed.append(operator)
                wanted.update(operator.inputs)
        return needed[::-1]

    def _shape(self, tensor: int) -> list[str | int]:
        """The shape of a computed tensor in ONNX's layout, for any batch size."""
        shape = self._file.shape(tensor)
        return ["n", *((shape[3], *shape[1:3]) if len(shape) == 4 else shape[1:])]

    def _add_picture(self, low: float, high: float) -> None:
        pixels = self._node("Transpose", [self._node("Cast", ["picture"], to=TensorProto.FLOAT)], perm=_TO_ONNX)
        scaled = self._node("Mul", [pixels, self._store(np.float32((high - low) / 255))])
        self._node("Add", [scaled, self._store(np.float32(low))], _name(self._file.input))

    def _node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = output or f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _store(self, values: Any) -> str:
        """Add a constant, and return its name."""
        name = f"constant{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _constant(self, tensor: int) -> Array:
        """The value of a constant tensor."""
        values = self._constants.get(tensor)
        if values is None:
            values = self._file.constant(tensor)
        if values is None:
            raise NotImplementedError("An operator with computed parameters cannot be converted to ONNX.")
        return values

    def _input(self, tensor: int) -> str:
        """The name of an operator's input. A constant is stored, in a shape that broadcasts over the batch."""
        if tensor not in self._constants and self._file.constant(tensor) is None:
            return _name(tensor)
        values = self._constant(tensor).astype(np.float32)
        return self._store(np.moveaxis(values, -1, -3) if values.ndim >= 3 else values.reshape(-1, 1, 1))

    def _activate(self, operator: Operator, function: int, value: str) -> None:
        """Add the activation that is fused with an operator, or none."""
        output = _name(operator.output)
        if function == tflite.ActivationFunctionType.NONE:
            self._nodes[-1].output[0] = output
        elif function == tflite.ActivationFunctionType.RELU:
            self._node("Relu", [value], output)
        elif function == tflite.ActivationFunctionType.RELU6:
            self._node("Clip", [value, self._store(np.float32(0)), self._store(np.float32(6))], output)
        else:
            raise NotImplementedError(f"The activation {function} cannot be converted to ONNX.")

    def _padding(self, tensor: int, kernel: Sequence[int], strides: Sequence[int], scheme: int) -> list[int]:
        """The padding of a convolution or pooling as ONNX wants it: top, left, bottom, right."""
        if scheme == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        sizes = self._file.shape(tensor)[1:3]
        total = [
            max((-(-size // stride) - 1) * stride + length - size, 0)
            for size, length, stride in zip(sizes, kernel, strides, strict=True)
        ]
        return [total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2]

    def _convert_dequantize(self, operator: Operator) -> None:
        self._constants[operator.output] = self._constant(operator.inputs[0]).astype(np.float32)

    def _convert_densify(self, operator: Operator) -> None:
        self._constants[operator.output] = self._constant(operator.inputs[0])

    def _convert_conv_2d(self, operator: Operator) -> None:
        options = operator.options(tflite.Conv2DOptions)
        self._convolve(operator, options, self._constant(operator.inputs[1]).transpose(0, 3, 1, 2), 1)

    def _convert_depthwise_conv_2d(self, operator: Operator) -> None:
        options = operator.options(tflite.DepthwiseConv2DOptions)
        channels = self._file.shape(operator.inputs[0])[3]
        self._convolve(operator, options, self._constant(operator.inputs[1]).transpose(3, 0, 1, 2), channels)

    def _convolve(self, operator: Operator, options: Any, weight: Array, groups: int) -> None:
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise NotImplementedError("A dilated convolution cannot be converted to ONNX.")
        kernel, strides = weight.shape[2:], (options.StrideH(), options.StrideW())
        bias = self._constant(operator.inputs[2]).astype(np.float32)
        value = self._node(
            "Conv",
            [_name(operator.inputs[0]), self._store(weight.astype(np.float32)), self._store(bias)],
            kernel_shape=kernel,
            strides=strides,
            group=groups,
            pads=self._padding(operator.inputs[0], kernel, strides, options.Padding()),
        )
        self._activate(operator, options.FusedActivationFunction(), value)

    def _convert_max_pool_2d(self, operator: Operator) -> None:
        options = operator.options(tflite.Pool2DOptions)
        kernel, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
        pads = self._padding(operator.inputs[0], kernel, strides, options.Padding())
        value = self._node("MaxPool", [_name(operator.inputs[0])], kernel_shape=kernel, strides=strides, pads=pads)
        self._activate(operator, options.FusedActivationFunction(), value)

    def _convert_add(self, operator: Operator) -> None:
        value = self._node("Add", [self._input(tensor) for tensor in operator.inputs])
        self._activate(operator, operator.options(tflite.AddOptions).FusedActivationFunction(), value)

    def _convert_pad(self, operator: Operator) -> None:
        amounts = self._constant(operator.inputs[1])[list(_TO_ONNX)].astype(np.int64)
        self._node("Pad", [_name(operator.inputs[0]), self._store(amounts.T.reshape(-1))], _name(operator.output))

    def _convert_prelu(self, operator: Operator) -> None:
        # ONNX Runtime has a slow kernel for PRelu on CPUs. max(x, 0) + slope * min(x, 0) takes a third of the time.
        value, zero = _name(operator.inputs[0]), self._store(np.float32(0))
        negative = self._node("Mul", [self._node("Min", [value, zero]), self._input(operator.inputs[1])])
        self._node("Add", [self._node("Relu", [value]), negative], _name(operator.output))

    def _convert_logistic(self, operator: Operator) -> None:
        self._node("Sigmoid", [_name(operator.inputs[0])], _name(operator.output))

    def _convert_concatenation(self, operator: Operator) -> None:
        shape, axis = self._file.shape(operator.output), operator.options(tflite.ConcatenationOptions).Axis()
        axis = _TO_ONNX.index(axis % 4) if len(shape) == 4 else axis
        self._node("Concat", [self._input(tensor) for tensor in operator.inputs], _name(operator.output), axis=axis)

    def _convert_resize_bilinear(self, operator: Operator) -> None:
        options = operator.options(tflite.ResizeBilinearOptions)
        sizes, wanted = self._file.shape(operator.inputs[0])[1:3], self._constant(operator.inputs[1])
        mode = "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        self._node(
            "Resize",
            [_name(operator.inputs[0]), "", self._store(np.array([1, 1, *(wanted / sizes)], np.float32))],
            _name(operator.output),
            mode="linear",
            coordinate_transformation_mode="align_corners" if options.AlignCorners() else mode,
        )

    def _convert_depth_to_space(self, operator: Operator) -> None:
        size = operator.options(tflite.DepthToSpaceOptions).BlockSize()
        self._node("DepthToSpace", [_name(operator.inputs[0])], _name(operator.output), blocksize=size, mode="DCR")

    def _convert_mean(self, operator: Operator) -> None:
        axes = self._constant(operator.inputs[1]).reshape(-1)
        onnx_axes = np.array([_TO_ONNX.index(axis) for axis in axes], np.int64)
        keep = operator.options(tflite.ReducerOptions).KeepDims()
        if len(self._file.shape(operator.inputs[0])) != 4 or not (keep or set(axes) == {1, 2}):
            raise NotImplementedError("A mean over other axes than height and width cannot be converted to ONNX.")
        inputs = [_name(operator.inputs[0]), self._store(onnx_axes)]
        self._node("ReduceMean", inputs, _name(operator.output), keepdims=int(keep))

    def _convert_reshape(self, operator: Operator) -> None:
        value = self._channels_last(operator.inputs[0])
        shape = self._file.shape(operator.output)
        flat = [value, self._store(np.array([0, *shape[1:]], np.int64))]  # 0 keeps the size of the batch
        if len(shape) == 4:
            self._node("Transpose", [self._node("Reshape", flat)], _name(operator.output), perm=_TO_ONNX)
        else:
            self._node("Reshape", flat, _name(operator.output))

    def _convert_fully_connected(self, operator: Operator) -> None:
        options = operator.options(tflite.FullyConnectedOptions)
        flat = self._node("Flatten", [self._channels_last(operator.inputs[0])])
        weight, bias = (self._store(self._constant(tensor).astype(np.float32)) for tensor in operator.inputs[1:])
        value = self._node("Gemm", [flat, weight, bias], transB=1)
        self._activate(operator, options.FusedActivationFunction(), value)

    def _convert_strided_slice(self, operator: Operator) -> None:
        options = operator.options(tflite.StridedSliceOptions)
        shape = self._file.shape(operator.inputs[0])
        starts, ends, steps = (self._constant(tensor).astype(np.int64) for tensor in operator.inputs[1:])
        if len(shape) != 4 or options.ShrinkAxisMask() or options.NewAxisMask() or options.EllipsisMask():
            raise NotImplementedError("A slice that changes the number of axes cannot be converted to ONNX.")
        axes = np.arange(1, 4)  # not the batch
        starts = np.where(options.BeginMask() >> axes & 1, 0, starts[1:])
        ends = np.where(options.EndMask() >> axes & 1, shape[1:], ends[1:])
        places = np.array([_TO_ONNX.index(axis) for axis in axes], np.int64)
        inputs = [self._store(values) for values in (starts, ends, places, steps[1:])]
        self._node("Slice", [_name(operator.inputs[0]), *inputs], _name(operator.output))

    def _channels_last(self, tensor: int) -> str:
        """The name of a computed tensor in the layout of TensorFlow Lite."""
        value = _name(tensor)
        return self._node("Transpose", [value], perm=_TO_TFLITE) if len(self._file.shape(tensor)) == 4 else value


def _name(tensor: int) -> str:
    """The name of a computed tensor in the ONNX graph."""
    return f"tensor{tensor}"
