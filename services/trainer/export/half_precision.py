"""Stores the weights of an ONNX graph as float16, which halves the file. The graph computes with float32 as before.

Each large tensor becomes a float16 tensor and a node that converts it. ONNX Runtime converts once, when it loads the
graph. The directions of signs stay float32, so that signs can be enrolled.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.trainer.export.onnx import DIRECTIONS
from signet.errors import SignetError

# Smaller tensors are constants of the features, or too small to matter.
_LEAST_VALUES = 256
_SUFFIX = "_float16"


def store_weights_as_float16(graph: bytes) -> bytes:
    """The same graph with its large float32 tensors stored as float16.

    Raises:
        SignetError: a weight is too large for float16.
    """
    model = onnx.load_model_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_VALUES or tensor.name == DIRECTIONS:
            continue
        name = tensor.name
        weights = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = weights.astype(np.float16)
        if np.isfinite(weights).all() and not np.isfinite(half).all():
            raise SignetError(f"a weight of {name} is larger than 65,504, so it cannot be stored as float16.")
        tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
        casts.append(helper.make_node("Cast", [name + _SUFFIX], [name], f"Cast_{name}", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    data: bytes = model.SerializeToString()
    return data
