"""Weights as float16 halve a graph and hardly change its answers; the directions of signs stay float32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.half_precision import store_weights_as_float16
from services.trainer.export.onnx import DIRECTIONS, new_session, to_onnx
from services.trainer.model.build import new_model
from signet.errors import SignetError


@pytest.fixture(scope="module")
def graph() -> bytes:
    return to_onnx(new_model(TrainConfig(branches=2, hidden_dim=32, hand_dim=16), 30))


def test_the_file_is_smaller_and_the_answers_are_nearly_the_same(graph: bytes) -> None:
    half = store_weights_as_float16(graph)
    assert len(half) < 0.75 * len(graph)
    landmarks = np.random.default_rng(0).normal(0.5, 0.1, (1, 20, 75, 3)).astype(np.float32)
    inputs = {"landmarks": landmarks, "lengths": np.array([20])}
    exact, rounded = (new_session(data).run(["log_probs"], inputs)[0] for data in (graph, half))
    assert np.abs(np.exp(exact) - np.exp(rounded)).max() < 5e-3


def test_directions_stay_float32(graph: bytes) -> None:
    tensors = {one.name: one for one in onnx.load_model_from_string(store_weights_as_float16(graph)).graph.initializer}
    assert tensors[DIRECTIONS].data_type == TensorProto.FLOAT
    assert any(one.data_type == TensorProto.FLOAT16 for one in tensors.values())


def test_a_weight_that_float16_cannot_hold_is_refused(graph: bytes) -> None:
    model = onnx.load_model_from_string(graph)
    large = next(one for one in model.graph.initializer if np.prod(one.dims) > 1000 and one.name != DIRECTIONS)
    large.CopyFrom(numpy_helper.from_array(1e6 + numpy_helper.to_array(large), large.name))
    with pytest.raises(SignetError, match="is larger than 65,504"):
        store_weights_as_float16(model.SerializeToString())
