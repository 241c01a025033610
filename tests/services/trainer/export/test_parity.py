"""The parity vector of an export: a server that computes something else is found, and rounding is not."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from services.trainer.config.train_config import TrainConfig
from services.trainer.export import parity
from services.trainer.export.onnx import to_onnx
from services.trainer.export.parity import make_parity_vector
from services.trainer.model.build import build_ensemble, new_model
from services.trainer.model.sign_model import SignModel
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, why_nothing_is_signed
from signet.parity import Floats, ParityVector, dump_parity, largest_difference, load_parity


@pytest.fixture
def model() -> SignModel:
    torch.manual_seed(0)
    return build_ensemble([new_model(TrainConfig(hidden_dim=6, branches=2), 5).eval() for _ in range(2)])


def answers(graph: bytes, vector: ParityVector) -> list[Floats]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return [
        session.run(None, {"landmarks": clip[None], "lengths": np.array([len(clip)])})[0][0]
        for clip in vector.landmarks
    ]


def test_the_exported_graph_agrees_and_a_graph_with_one_wrong_weight_does_not(model: SignModel) -> None:
    graph = to_onnx(model)
    vector = make_parity_vector(model, graph)
    assert vector is not None
    assert vector.difference < 1e-4
    assert vector.tolerance == 1e-3
    assert largest_difference(answers(graph, vector), vector.log_probs) == vector.difference
    for number in (0, 3):
        wrong = onnx.load_from_string(graph)
        weights = [tensor for tensor in wrong.graph.initializer if len(tensor.dims) == 3]
        changed = numpy_helper.to_array(weights[number]).copy()
        changed[0, 0, 0] += 0.5
        weights[number].CopyFrom(numpy_helper.from_array(changed, weights[number].name))
        assert largest_difference(answers(wrong.SerializeToString(), vector), vector.log_probs) > vector.tolerance


def test_the_inputs_show_signing_with_each_hand(model: SignModel) -> None:
    vector = make_parity_vector(model, to_onnx(model))
    assert vector is not None
    shown = []
    for clip in vector.landmarks:
        assert why_nothing_is_signed(clip) is None
        assert np.isfinite(clip[:, POSE]).all()
        hands = [np.isfinite(clip[:, part]).all(axis=(1, 2)) for part in (LEFT_HAND, RIGHT_HAND)]
        assert not any(hand[:2].any() for hand in hands), "absent parts are tested, too"
        shown.append(tuple(bool(hand.any()) for hand in hands))
    assert shown == [(True, False), (False, True), (True, True)]


def test_equal_models_give_equal_files(model: SignModel) -> None:
    graph = to_onnx(model)
    first, second = (make_parity_vector(model, graph) for _ in range(2))
    assert first is not None
    assert second is not None
    assert dump_parity(first) == dump_parity(second)
    assert load_parity(dump_parity(first), "m/1").difference == first.difference


def test_a_model_whose_export_differs_too_much_is_published_without_a_parity_vector(
    model: SignModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parity, "largest_difference", lambda *_: 0.02)
    assert make_parity_vector(model, to_onnx(model)) is None
    assert "without a parity vector" in caplog.text
