"""The exported graph answers as torch does, whatever the model; a wrong graph is refused, and rounding is accepted."""

import logging

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.export.onnx import (
    ExportMismatch,
    _compare_rankings,
    _compare_sequences,
    compare,
    export_model,
    to_onnx,
)
from services.trainer.model.build import build_ensemble, new_model
from services.trainer.model.heads import LOGIT_SCALE
from services.trainer.model.sign_model import SignModel
from signet.datasets.snapshot import Dataset
from signet.decoding import Hypothesis

CONFIG = TrainConfig(hidden_dim=6, branches=2)
DECODER = CONFIG.decoder
Clips = dict[str, npt.NDArray[np.float32]]


def make_config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate(CONFIG.model_dump() | values)


def members(config: TrainConfig, count: int = 1) -> SignModel:
    """New models as one. Features are standardised, so that no probability is near 1."""
    torch.manual_seed(0)
    models = [new_model(config, 5).eval() for _ in range(count)]
    for model in models:
        for parameter in model.parameters():
            parameter.data.mul_(1.5)
    return build_ensemble(models)


# The order of the joints in a mirror: left and right change places.
MIRRORED_JOINTS = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(j + (1 if j % 2 else -1) for j in range(11, 33))]
MIRRORED_JOINTS += [*range(54, 75), *range(33, 54)]


def new_session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def feed(frames: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.generic]]:
    return {"landmarks": frames[None], "lengths": np.array([len(frames)])}


def directions_of(graph: onnx.ModelProto) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if tensor.name == "sign_directions")


@pytest.fixture
def clips(small_dataset: Dataset) -> Clips:
    """Real lengths, absent hands and bodies, left-handed signers, and a clip of one frame."""
    found = {clip.clip_id: small_dataset.clip_frames(clip).copy() for clip in small_dataset.manifest.clips}
    hidden = np.random.default_rng(0)
    for number, frames in enumerate(found.values()):
        if number % 3:
            frames[hidden.random(len(frames)) < 0.3, : 33 if number % 3 == 1 else 75] = np.nan
        if number % 4 == 0:
            frames[:, 33:54], frames[:, 54:] = frames[:, 54:].copy(), frames[:, 33:54].copy()
    return {**found, "one-frame": found["who-0"][:1]}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 1),
        ({}, 3),
        ({"head": "linear"}, 1),
        ({"head": "linear"}, 2),
        ({"head": "attention"}, 2),
        ({"branches": 1, "num_layers": 2}, 1),
        ({"sign_dim": 3}, 2),
        ({"without": "outline,movement,presence"}, 1),
        ({"without": "handshape,orientation,location,contact,hands"}, 1),
    ],
)
def test_the_graph_answers_as_the_model_does(clips: Clips, values: dict[str, object], count: int) -> None:
    model = members(make_config(**values), count)
    graph, agreement = export_model(model, clips, DECODER)
    assert agreement.largest < 1e-6
    assert 0 <= agreement.median <= agreement.largest
    assert agreement.clips == len(clips)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert {node.name: (node.type, node.shape) for node in session.get_inputs()} == {
        "landmarks": ("tensor(float)", ["batch", "time", 75, 3]), "lengths": ("tensor(int64)", ["batch"]),
    }  # fmt: skip
    (optional,) = session.get_overridable_initializers()
    assert (optional.name, optional.type, optional.shape) == ("dominance", "tensor(float)", ["dominances"])
    assert [output.name for output in session.get_outputs()] == (
        ["log_probs"] if values.get("head") == "linear" else ["log_probs", "embeddings"]
    )
    (answer,) = session.run(["log_probs"], feed(clips["who-0"]))
    assert answer.shape == (1, len(clips["who-0"]), 6)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


def test_the_graph_takes_any_batch_and_any_number_of_frames(clips: Clips) -> None:
    model = members(CONFIG)
    session = onnxruntime.InferenceSession(to_onnx(model), providers=["CPUExecutionProvider"])
    whole = np.concatenate(list(clips.values()))
    for batch, frames in ((1, 1), (1, 100), (7, 3), (2, 40)):
        landmarks = np.stack([whole[start : start + frames] for start in range(batch)])
        lengths = np.arange(batch) % frames + 1
        (answer,) = session.run(["log_probs"], {"landmarks": landmarks, "lengths": lengths})
        with torch.no_grad():
            expected = model(torch.from_numpy(landmarks), torch.from_numpy(lengths)).numpy()
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(answer[row, :length], expected[row, :length], atol=1e-4)


@pytest.mark.parametrize(("values", "count"), [({}, 1), ({"head": "attention", "sign_dim": 3}, 2)])
def test_the_logits_of_the_signs_are_cosines_of_embeddings_and_directions(
    clips: Clips, values: dict[str, object], count: int
) -> None:
    graph = onnx.load_from_string(to_onnx(members(make_config(**values), count)))
    directions = numpy_helper.to_array(directions_of(graph))
    assert directions.shape == (5, 2 * count, values.get("sign_dim", 12))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0, atol=1e-6)
    log_probs, embeddings = new_session(graph).run(["log_probs", "embeddings"], feed(clips["who-0"]))
    branches = embeddings.reshape(*embeddings.shape[:2], *directions.shape[1:])
    np.testing.assert_allclose(np.linalg.norm(branches, axis=-1), 1.0, atol=1e-6)
    logits = LOGIT_SCALE * np.einsum("btnd,cnd->btnc", branches, directions).mean(axis=2)
    emitted = log_probs[..., 1:] - np.logaddexp.reduce(log_probs[..., 1:], axis=-1, keepdims=True)
    expected = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    np.testing.assert_allclose(emitted, expected, atol=1e-4)


@pytest.mark.parametrize("signs", [1, 4, 9])
def test_one_tensor_decides_which_signs_and_how_many_the_graph_knows(clips: Clips, signs: int) -> None:
    graph = onnx.load_from_string(to_onnx(members(CONFIG, 2)))
    (before,) = new_session(graph).run(["log_probs"], feed(clips["who-0"]))
    found = directions_of(graph)
    old = numpy_helper.to_array(found)
    found.CopyFrom(numpy_helper.from_array(np.concatenate([old, -old])[:signs].copy(), found.name))
    onnx.checker.check_model(graph, full_check=True)
    (after,) = new_session(graph).run(["log_probs"], feed(clips["who-0"]))
    assert after.shape == (*before.shape[:2], signs + 1)
    np.testing.assert_allclose(np.exp(after).sum(axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=1e-5)
    shared = min(signs, 5)
    shift = after[..., 1 : 1 + shared] - before[..., 1 : 1 + shared]
    np.testing.assert_allclose(shift, shift[..., :1] + np.zeros(shared), atol=1e-4)


def test_a_call_can_decide_for_each_clip_which_hand_is_dominant(clips: Clips) -> None:
    model = members(CONFIG)
    session = new_session(onnx.load_from_string(to_onnx(model)))
    frames = clips["who-0"]
    mirrored = frames.copy()
    mirrored[..., 0] = 1.0 - mirrored[..., 0]
    mirrored = mirrored[:, MIRRORED_JOINTS]
    both = {"landmarks": np.stack([frames, mirrored]), "lengths": np.array([len(frames)] * 2)}
    (usual,) = session.run(["log_probs"], both)
    for bias in ([9.0, -9.0], [-9.0, 9.0], [0.0], [9.0]):
        (answer,) = session.run(["log_probs"], {**both, "dominance": np.array(bias, np.float32)})
        given = torch.from_numpy(both["landmarks"]), torch.from_numpy(both["lengths"]), torch.tensor(bias)
        with torch.no_grad():
            np.testing.assert_allclose(answer, model(*given).numpy(), atol=1e-5)
        if len(bias) == 2:
            np.testing.assert_allclose(answer[0], answer[1], atol=1e-4)
        if bias == [0.0]:
            np.testing.assert_array_equal(answer, usual)


def test_the_model_stays_as_it_was(clips: Clips) -> None:
    model = members(CONFIG)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert to_onnx(model) == to_onnx(model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_graph_with_one_wrong_weight_is_refused(clips: Clips) -> None:
    model = members(CONFIG)
    graph = onnx.load_from_string(to_onnx(model))
    weights = [tensor for tensor in graph.graph.initializer if len(tensor.dims) == 3]
    assert len(weights) >= 8
    wrong = numpy_helper.to_array(weights[0]).copy()
    wrong[0, 0, 0] += 0.5
    weights[0].CopyFrom(numpy_helper.from_array(wrong, weights[0].name))
    with pytest.raises(ExportMismatch, match=r"on (clip|the median clip)") as error:
        compare(model, graph.SerializeToString(), clips, DECODER)
    assert any(clip_id in str(error.value) for clip_id in clips)


def test_probabilities_that_are_not_numbers_are_refused(clips: Clips) -> None:
    model = members(CONFIG)
    infinite = np.full((5, 75, 3), np.inf, np.float32)
    with pytest.raises(ExportMismatch, match="on clip infinite: a frame's probabilities differ by nan"):
        compare(model, to_onnx(model), {**clips, "infinite": infinite}, DECODER)


class Differing(torch.nn.Module):
    """A model whose probabilities of the first frame of some clips are a little higher.

    Args:
        model: without these differences.
        shift: of probability, from the blank to the first sign.
        lengths: the clips' lengths; all clips differ without.
        exact: whether they differ in float64 too.
    """

    def __init__(self, model: SignModel, shift: float, lengths: frozenset[int], exact: bool = True) -> None:
        super().__init__()
        self._model, self._shift, self._lengths, self._exact = model, shift, lengths, exact

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        probabilities: Tensor = self._model(landmarks, lengths).exp()
        if landmarks.dtype == torch.float64 and not self._exact:
            return probabilities.log()
        for row, length in enumerate(lengths.tolist()):
            if length in self._lengths or not self._lengths:
                probabilities[row, 0, 0] -= self._shift
                probabilities[row, 0, 1] += self._shift
        return probabilities.log()


@pytest.fixture
def rare(clips: Clips) -> frozenset[int]:
    """A length that few of the clips have."""
    return frozenset({max(len(clip) for clip in clips.values())})


@pytest.mark.parametrize("shift", [1.1e-5, 1e-4, 9e-4])
def test_a_rare_difference_that_changes_no_answer_is_accepted_and_measured(
    clips: Clips, rare: frozenset[int], shift: float
) -> None:
    model = members(CONFIG)
    agreement = compare(Differing(model, shift, rare), to_onnx(model), clips, DECODER)  # type: ignore[arg-type]
    assert agreement.largest == pytest.approx(shift, rel=0.02)
    assert agreement.median < 1e-6


def test_a_difference_of_a_thousandth_is_refused_and_names_the_clip(clips: Clips, rare: frozenset[int]) -> None:
    model = members(CONFIG)
    clip_ids = [clip_id for clip_id, clip in clips.items() if len(clip) in rare]
    with pytest.raises(ExportMismatch, match=rf"on clip ({'|'.join(clip_ids)}): .* differ by 1.1e-03"):
        compare(Differing(model, 1.1e-3, rare), to_onnx(model), clips, DECODER)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shift", "accepted"), [(9e-6, True), (1.1e-5, False)])
def test_a_small_difference_on_most_clips_is_refused(clips: Clips, shift: float, accepted: bool) -> None:
    model = members(CONFIG)
    differing = Differing(model, shift, frozenset())
    if accepted:
        assert compare(differing, to_onnx(model), clips, DECODER).median == pytest.approx(shift, rel=0.02)  # type: ignore[arg-type]
    else:
        with pytest.raises(ExportMismatch, match=r"differ from torch's by 1\.1e-05 on the median clip"):
            compare(differing, to_onnx(model), clips, DECODER)  # type: ignore[arg-type]


def test_a_clip_that_float32_does_not_determine_is_accepted(
    clips: Clips, rare: frozenset[int], caplog: pytest.LogCaptureFixture
) -> None:
    model = members(CONFIG)
    differing = Differing(model, 2e-3, rare, exact=False)
    with caplog.at_level(logging.WARNING):
        compare(differing, to_onnx(model), clips, DECODER)  # type: ignore[arg-type]
    assert "as float32 does from float64" in caplog.text


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], True),
        ([0.4996, 0.5004, 0.0], [0.5004, 0.4996, 0.0], True),
        ([0.5, 0.499, 0.001], [0.499, 0.5005, 0.001], False),
        ([0.9, 0.02, 0.08], [0.9, 0.06, 0.04], False),
        # The order of three: each neighbour is tied, and the first and the last are not.
        ([0.333, 0.3331, 0.3339], [0.3342, 0.3334, 0.3324], False),
    ],
)
def test_only_glosses_that_are_tied_may_change_places(answer: list[float], reference: list[float], same: bool) -> None:
    assert (_compare_rankings(np.array(answer), np.array(reference)) == "") is same


@pytest.mark.parametrize(
    ("found", "scores", "same"),
    [
        ((1,), {(1,): -2.0, (2,): -3.0}, True),
        ((2,), {(1,): -2.0, (2,): -2.0019}, True),
        ((2,), {(1,): -2.0, (2,): -2.003}, False),
        ((3,), {(1,): -2.0, (2,): -2.0}, False),
        ((), {(1,): -2.0, (): -2.5}, False),
    ],
)
def test_another_sequence_is_accepted_only_if_both_are_tied(
    found: tuple[int, ...], scores: dict[tuple[int, ...], float], same: bool
) -> None:
    hypotheses = [Hypothesis(signs, score) for signs, score in scores.items()]
    assert (_compare_sequences(Hypothesis(found, -2.0), hypotheses) == "") is same


def test_only_the_first_32_clips_are_compared() -> None:
    clips = {f"clip-{seed}": np.zeros((4, 75, 3), np.float32) for seed in range(40)}
    _, agreement = export_model(members(CONFIG), clips, DECODER)
    assert agreement.clips == 32
