"""Converts a network of MediaPipe from TensorFlow Lite to ONNX, for any batch size.

The ONNX graph takes pictures as uint8 [n, height, width, 3] and computes in float32. Inside, tensors have ONNX's layout
[n, channels, height, width]; outputs have it, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite
from onnx import TensorProto

from services.extractor.tracking.networks.convolutions import Convolution, pointwise
from services.extractor.tracking.networks.onnx_graph import PICTURE, OnnxGraph
from services.extractor.tracking.networks.tflite_file import InvalidNetwork, Operator, TfliteFile

Array = npt.NDArray[Any]

# From the layout [n, height, width, channels] to [n, channels, height, width], and back.
_TO_ONNX = (0, 3, 1, 2)
_TO_TFLITE = (0, 2, 3, 1)


def convert(data: bytes, outputs: Sequence[str], low: float, high: float) -> bytes:
    """Convert a network.

    Args:
        data: a .tflite file.
        outputs: names of the wanted outputs. What only other outputs need is left out.
        low: the value that the network wants for black, 0.
        high: the value that it wants for white, 255.

    Returns:
        The serialised ONNX model, whose outputs have the order of `outputs`.

    Raises:
        InvalidNetwork: the file is of another kind, has no such output, or has an operator that cannot be converted.
    """
    return _Conversion(TfliteFile(data)).run(outputs, low, high)


class _Conversion:
    """The conversion of one file. A method `_convert_<kind>` adds the nodes for an operator of this kind."""

    def __init__(self, file: TfliteFile) -> None:
        self._file = file
        self._graph = OnnxGraph()
        self._constants: dict[int, Array] = {}
        # Tensors that were not scaled. The convolutions that read them have scaled weights.
        self._scales: dict[int, float] = {}

    def run(self, outputs: Sequence[str], low: float, high: float) -> bytes:
        """Build the model."""
        tensors = [self._file.output(name) for name in outputs]
        operators = self._needed(tensors)
        _, height, width, channels = self._file.shape(self._file.input)
        self._add_picture(low, high)
        for operator in operators:
            method = getattr(self, f"_convert_{operator.kind.lower()}", None)
            scaled = operator.kind in {"CONV_2D", "PAD"} or self._scales.keys().isdisjoint(operator.inputs)
            if method is None or not scaled:
                raise InvalidNetwork(f"The operator {operator.kind} cannot be converted to ONNX.")
            method(operator)
        shapes = {_name(tensor): self._shape(tensor) for tensor in tensors}
        return self._graph.serialize(["n", height, width, channels], shapes)

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
        scale, name = (high - low) / 255, _name(self._file.input)
        planes = self._add("Transpose", [PICTURE], perm=_TO_ONNX)  # a quarter of the bytes of float32
        if low == 0:  # as the padding
            self._scales[self._file.input] = scale
            self._add("Cast", [planes], name, to=TensorProto.FLOAT)
        else:
            pixels = self._add("Cast", [planes], to=TensorProto.FLOAT)
            scaled = self._add("Mul", [pixels, self._store(np.float32(scale))])
            self._add("Add", [scaled, self._store(np.float32(low))], name)

    def _add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        return self._graph.add(kind, inputs, output, **attributes)

    def _store(self, values: Any) -> str:
        return self._graph.store(values)

    def _constant(self, tensor: int) -> Array:
        """The value of a constant tensor."""
        values = self._constants.get(tensor)
        if values is None:
            values = self._file.constant(tensor)
        if values is None:
            raise InvalidNetwork("An operator with computed parameters cannot be converted to ONNX.")
        return values

    def _input(self, tensor: int) -> str:
        """The name of an operator's input. A constant is stored, in a shape that broadcasts over the batch."""
        if tensor not in self._constants and self._file.constant(tensor) is None:
            return _name(tensor)
        values = self._constant(tensor).astype(np.float32)
        return self._store(np.moveaxis(values, -1, -3) if values.ndim >= 3 else values.reshape(-1, 1, 1))

    def _activate(self, operator: Operator, function: int, value: str) -> None:
        """Add the activation function that is fused with an operator. `value` has the name of `_before_activation`."""
        if function == tflite.ActivationFunctionType.RELU:
            self._add("Relu", [value], _name(operator.output))
        elif function == tflite.ActivationFunctionType.RELU6:
            bounds = [self._store(np.float32(0)), self._store(np.float32(6))]
            self._add("Clip", [value, *bounds], _name(operator.output))
        elif function != tflite.ActivationFunctionType.NONE:
            raise InvalidNetwork(f"The activation function {function} cannot be converted to ONNX.")

    def _padding(
        self, tensor: int, kernel: tuple[int, ...], strides: tuple[int, int], scheme: int
    ) -> tuple[int, int, int, int]:
        """The padding of a convolution or pooling as ONNX wants it: top, left, bottom, right."""
        if scheme == tflite.Padding.VALID:
            return 0, 0, 0, 0
        sizes = self._file.shape(tensor)[1:3]
        down, across = (
            max((-(-size // stride) - 1) * stride + length - size, 0)
            for size, length, stride in zip(sizes, kernel, strides, strict=True)
        )
        return down // 2, across // 2, down - down // 2, across - across // 2

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
            raise InvalidNetwork("A dilated convolution cannot be converted to ONNX.")
        source, function = operator.inputs[0], options.FusedActivationFunction()
        weight = weight.astype(np.float32) * np.float32(self._scales.get(source, 1.0))
        bias = self._constant(operator.inputs[2]).astype(np.float32)
        strides = (options.StrideH(), options.StrideW())
        pads = self._padding(source, weight.shape[2:], strides, options.Padding())
        convolution = Convolution(weight, bias, strides, pads, groups)
        value = self._graph.convolve(_name(source), convolution, _before_activation(operator, function))
        self._activate(operator, function, value)

    def _convert_max_pool_2d(self, operator: Operator) -> None:
        options = operator.options(tflite.Pool2DOptions)
        if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
            raise InvalidNetwork("A pooling with an activation function cannot be converted to ONNX.")
        kernel, strides = (options.FilterHeight(), options.FilterWidth()), (options.StrideH(), options.StrideW())
        pads = self._padding(operator.inputs[0], kernel, strides, options.Padding())
        inputs = [_name(operator.inputs[0])]
        self._add("MaxPool", inputs, _name(operator.output), kernel_shape=kernel, strides=strides, pads=pads)

    def _convert_add(self, operator: Operator) -> None:
        function = operator.options(tflite.AddOptions).FusedActivationFunction()
        inputs = [self._input(tensor) for tensor in operator.inputs]
        self._activate(operator, function, self._add("Add", inputs, _before_activation(operator, function)))

    def _convert_pad(self, operator: Operator) -> None:
        amounts = self._constant(operator.inputs[1]).astype(np.int64)
        channels = self._file.shape(operator.inputs[0])[-1]
        if len(amounts) == 4 and not amounts[:3].any() and not amounts[3, 0]:
            self._select_channels(operator, np.eye(channels + amounts[3, 1], channels))
        else:
            pads = self._store(amounts[list(_TO_ONNX)].T.reshape(-1))
            self._add("Pad", [_name(operator.inputs[0]), pads], _name(operator.output))
            if operator.inputs[0] in self._scales:
                self._scales[operator.output] = self._scales[operator.inputs[0]]

    def _convert_prelu(self, operator: Operator) -> None:
        # As relu(x) - slopes * relu(-x). Convolutions stack x on -x and subtract; they merge with those around them.
        slopes = self._constant(operator.inputs[1]).astype(np.float32).reshape(-1)
        identity = np.eye(len(slopes), dtype=np.float32)
        both = self._graph.convolve(_name(operator.inputs[0]), pointwise(np.concatenate([identity, -identity])))
        difference = pointwise(np.concatenate([identity, -np.diag(slopes)], axis=1))
        self._graph.convolve(self._add("Relu", [both]), difference, _name(operator.output))

    def _select_channels(self, operator: Operator, matrix: Array) -> None:
        """Add a convolution that adds or removes channels.

        ONNX Runtime stores values in blocks of channels between convolutions. Its nodes for padding and slicing would
        convert them to the common layout and back.
        """
        self._graph.convolve(_name(operator.inputs[0]), pointwise(matrix), _name(operator.output))

    def _convert_logistic(self, operator: Operator) -> None:
        self._add("Sigmoid", [_name(operator.inputs[0])], _name(operator.output))

    def _convert_concatenation(self, operator: Operator) -> None:
        shape, axis = self._file.shape(operator.output), operator.options(tflite.ConcatenationOptions).Axis()
        axis = _TO_ONNX.index(axis % 4) if len(shape) == 4 else axis
        self._add("Concat", [self._input(tensor) for tensor in operator.inputs], _name(operator.output), axis=axis)

    def _convert_resize_bilinear(self, operator: Operator) -> None:
        options = operator.options(tflite.ResizeBilinearOptions)
        sizes, wanted = self._file.shape(operator.inputs[0])[1:3], self._constant(operator.inputs[1])
        mode = "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        self._add(
            "Resize",
            [_name(operator.inputs[0]), "", self._store(np.array([1, 1, *(wanted / sizes)], np.float32))],
            _name(operator.output),
            mode="linear",
            coordinate_transformation_mode="align_corners" if options.AlignCorners() else mode,
        )

    def _convert_depth_to_space(self, operator: Operator) -> None:
        size = operator.options(tflite.DepthToSpaceOptions).BlockSize()
        self._add("DepthToSpace", [_name(operator.inputs[0])], _name(operator.output), blocksize=size, mode="DCR")

    def _convert_mean(self, operator: Operator) -> None:
        axes = self._constant(operator.inputs[1]).reshape(-1)
        onnx_axes = np.array([_TO_ONNX.index(axis) for axis in axes], np.int64)
        keep = operator.options(tflite.ReducerOptions).KeepDims()
        if len(self._file.shape(operator.inputs[0])) != 4 or not (keep or set(axes) == {1, 2}):
            raise InvalidNetwork("A mean over other axes than height and width cannot be converted to ONNX.")
        inputs = [_name(operator.inputs[0]), self._store(onnx_axes)]
        self._add("ReduceMean", inputs, _name(operator.output), keepdims=int(keep))

    def _convert_reshape(self, operator: Operator) -> None:
        value = self._channels_last(operator.inputs[0])
        shape = self._file.shape(operator.output)
        flat = [value, self._store(np.array([0, *shape[1:]], np.int64))]  # 0 keeps the size of the batch
        if len(shape) == 4:
            self._add("Transpose", [self._add("Reshape", flat)], _name(operator.output), perm=_TO_ONNX)
        else:
            self._add("Reshape", flat, _name(operator.output))

    def _convert_fully_connected(self, operator: Operator) -> None:
        options = operator.options(tflite.FullyConnectedOptions)
        flat = self._add("Flatten", [self._channels_last(operator.inputs[0])])
        weight, bias = (self._store(self._constant(tensor).astype(np.float32)) for tensor in operator.inputs[1:])
        function = options.FusedActivationFunction()
        value = self._add("Gemm", [flat, weight, bias], _before_activation(operator, function), transB=1)
        self._activate(operator, function, value)

    def _convert_strided_slice(self, operator: Operator) -> None:
        options = operator.options(tflite.StridedSliceOptions)
        shape = self._file.shape(operator.inputs[0])
        starts, ends, steps = (self._constant(tensor).astype(np.int64) for tensor in operator.inputs[1:])
        if len(shape) != 4 or options.ShrinkAxisMask() or options.NewAxisMask() or options.EllipsisMask():
            raise InvalidNetwork("A slice that changes the number of axes cannot be converted to ONNX.")
        axes = np.arange(1, 4)  # not the batch
        starts = np.where(options.BeginMask() >> axes & 1, 0, starts[1:])
        ends = np.where(options.EndMask() >> axes & 1, shape[1:], ends[1:])
        if (starts[:2] == 0).all() and (ends[:2] == shape[1:3]).all() and (steps == 1).all():
            self._select_channels(operator, np.eye(shape[3])[starts[2] : ends[2]])
        else:
            places = np.array([_TO_ONNX.index(axis) for axis in axes], np.int64)
            inputs = [self._store(values) for values in (starts, ends, places, steps[1:])]
            self._add("Slice", [_name(operator.inputs[0]), *inputs], _name(operator.output))

    def _channels_last(self, tensor: int) -> str:
        """The name of a computed tensor in the layout of TensorFlow Lite."""
        value = _name(tensor)
        return self._add("Transpose", [value], perm=_TO_TFLITE) if len(self._file.shape(tensor)) == 4 else value


def _before_activation(operator: Operator, function: int) -> str:
    """The name of an operator's value before the activation function. Without a function, it is the output."""
    output = _name(operator.output)
    return output if function == tflite.ActivationFunctionType.NONE else f"{output}_raw"


def _name(tensor: int) -> str:
    """The name of a computed tensor in the ONNX graph."""
    return f"tensor{tensor}"
