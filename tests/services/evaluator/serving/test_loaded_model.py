"""A loaded model: its output, its decoding, and the graphs that it refuses."""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from services.evaluator.serving.loaded_model import LoadedModel, ParityMismatch, batch_indices
from signet.datasets.snapshot import Dataset
from signet.decoding import best_path, blank_ratio, log_softmax, penalise_blank, single_sign_posterior
from signet.errors import Busy, DataLoss, NotFound, NotReady, SignetError
from signet.landmarks import to_model_input
from signet.registry import ModelCard

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World


@pytest.fixture
def model(world: "World", card: ModelCard) -> LoadedModel:
    return LoadedModel.load(world.store, card.name, card.version, threads=1)


def test_clips_of_different_lengths_give_the_same_output_in_a_batch_as_alone(model: LoadedModel, sign: Any) -> None:
    clips = [
        to_model_input(sign(f"clip{frames}", "", 0.5 + index / 6, frames=frames))
        for index, frames in enumerate((90, 3, 61, 1, 30))
    ]
    together = model.log_probs(clips)
    for clip, answer in zip(clips, together, strict=True):
        assert answer.shape == (len(clip), 7)
        (alone,) = model.log_probs([clip])
        np.testing.assert_allclose(answer, alone, atol=1e-5)


def test_the_output_is_decoded_with_the_penalty_of_the_card(
    model: LoadedModel, snapshot: Dataset, card: ModelCard
) -> None:
    for clip in snapshot.split("val"):
        (log_probs,) = model.log_probs([snapshot.clip_frames(clip)])
        reading = model.decode(log_probs)
        penalised = penalise_blank(log_probs, card.blank_penalty)
        np.testing.assert_array_equal(reading.posterior, single_sign_posterior(penalised))
        (heard,) = card.decoder.decode(log_probs[None])
        assert reading.continuous == tuple(card.vocabulary[c - 1] for c in heard)
        assert reading.greedy == tuple(card.vocabulary[c - 1] for c in best_path(penalised))
        assert reading.blank_ratio == blank_ratio(penalised)
        assert reading.posterior.sum() == pytest.approx(1)
        assert reading.ranking()[0] == reading.posterior.argmax()


def test_a_frame_in_which_only_the_penalty_lets_a_sign_win_is_no_blank(model: LoadedModel, card: ModelCard) -> None:
    assert card.blank_penalty > 0
    logits = np.full((3, len(card.vocabulary) + 1), -20.0)
    logits[:, 0] = 0.0
    logits[1, 2] = -card.blank_penalty / 2
    decoded = model.decode(log_softmax(logits).astype(np.float32))
    assert decoded.greedy == (card.vocabulary[1],)
    assert decoded.blank_ratio == pytest.approx(2 / 3)


def test_clips_are_decoded_in_a_batch_as_alone(model: LoadedModel, snapshot: Dataset) -> None:
    answers = model.log_probs([snapshot.clip_frames(clip) for clip in snapshot.manifest.clips])
    for answer, reading in zip(answers, model.decode_all(answers), strict=True):
        alone = model.decode(answer)
        np.testing.assert_array_equal(reading.posterior, alone.posterior)
        assert (reading.time_span, reading.continuous, reading.greedy) == (
            alone.time_span,
            alone.continuous,
            alone.greedy,
        )
    assert model.decode_all([]) == []


def test_the_moment_is_when_the_sign_is_signed(model: LoadedModel, sign: Any) -> None:
    """The signer rests for a third of the clip, signs for a third, and rests: see `make_clip`."""
    for frames in (30, 60, 150):
        clip = to_model_input(sign(f"clip{frames}", "", 0.5 + 2 / 6, frames=frames))
        reading = model.decode(model.log_probs([clip])[0])
        seconds = frames / 30
        assert reading.time_span.start == pytest.approx(seconds / 3, abs=0.11)
        assert reading.time_span.end == pytest.approx(2 * seconds / 3, abs=0.11)


def test_the_moment_is_that_of_the_most_probable_gloss_alone(model: LoadedModel, sign: Any) -> None:
    long = to_model_input(sign("long", "", 0.5, frames=90))
    short = to_model_input(sign("short", "", 0.5 + 1 / 6, frames=30))
    for clips, start in (((long, short), 1.0), ((short, long), 2.0)):
        decoded = model.decode(model.log_probs([np.concatenate(clips)])[0])
        assert model.vocabulary[decoded.ranking()[0]] == "book"
        assert decoded.time_span.start == pytest.approx(start, abs=0.15)
        assert decoded.time_span.end == pytest.approx(start + 1, abs=0.15)


def test_several_signs_in_a_clip_are_decoded_in_their_order(model: LoadedModel, sign: Any) -> None:
    clips = [to_model_input(sign(f"clip{place}", "", 0.5 + place / 6, frames=45)) for place in (5, 0, 5)]
    reading = model.decode(model.log_probs([np.concatenate(clips)])[0])
    assert reading.continuous == ("who", "book", "who")


def test_the_decoder_has_the_settings_of_the_card(world: "World", snapshot: Dataset, sign: Any) -> None:
    card = world.publish(snapshot, insertion_penalty=1000.0)
    model = LoadedModel.load(world.store, card.name, card.version, threads=1)
    reading = model.decode(model.log_probs([to_model_input(sign("clip", "", 0.5 + 2 / 6))])[0])
    assert reading.continuous == ()
    assert reading.greedy == ("drink",)


def test_batches_hold_every_clip_once_and_stay_small() -> None:
    lengths = [int(length) for length in np.random.default_rng(0).integers(1, 9000, 300)]
    found = list(batch_indices(lengths))
    assert sorted(index for batch in found for index in batch) == list(range(300))
    for batch in found:
        assert len(batch) <= 32
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 8_192
    assert list(batch_indices([])) == []
    assert list(batch_indices([9] * 33 + [3])) == [[33, *range(31)], [31, 32]], "the shortest first, 32 in a batch"
    assert list(batch_indices([4_096, 4_096, 4_097])) == [[0, 1], [2]], "8,192 padded frames in a batch"


def _renamed(graph: bytes, old: str, new: str) -> bytes:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    return bytes(model.SerializeToString())


def _unnormalised(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    (softmax,) = (node for node in model.graph.node if node.op_type == "LogSoftmax")
    softmax.op_type = "Identity"
    del softmax.attribute[:]
    return bytes(model.SerializeToString())


def test_a_graph_that_is_not_what_its_card_says_is_refused_with_the_reason(
    world: "World", snapshot: Dataset, graph: bytes
) -> None:
    for bytes_, changes, words in (
        (b"<html>", {}, "not a graph that onnxruntime can load"),
        (b"", {}, "not a graph that onnxruntime can load"),
        (graph[: len(graph) // 2], {}, "not a graph that onnxruntime can load"),
        (_renamed(graph, "lengths", "sizes"), {}, "inputs landmarks tensor(float), sizes tensor(int64)"),
        (_renamed(graph, "log_probs", "answers"), {}, "outputs answers tensor(float)"),
        (_unnormalised(graph), {}, "not normalised"),
        (graph, {"vocabulary": ("a", "b")}, "has shape [1, 16, 7] instead of [1, 16, 3]"),
        (graph, {"vocabulary": ("a",) * 6}, "names a gloss twice"),
        (graph, {"frame_rate": 30.0}, "sampled at 30 frames a second instead of 10"),
        (graph, {"smoothing_seconds": 0.0}, "smoothed over 0 s instead of 0"),
        (graph, {"schema": "signet.model/2"}, "schema 'signet.model/2'"),
    ):
        card = world.card(snapshot, bytes_, **changes)
        with pytest.raises(DataLoss) as caught:
            LoadedModel(card, bytes_, threads=1)
        assert words in str(caught.value)
        assert f"model {card.name}/{card.version} cannot be served" in str(caught.value)


def _offset(graph: bytes, nats: float) -> bytes:
    """The graph with a constant added to its log-probabilities."""
    model = onnx.load_from_string(graph)
    index, softmax = next((i, node) for i, node in enumerate(model.graph.node) if node.op_type == "LogSoftmax")
    answer = softmax.output[0]
    softmax.output[0] = "normalised"
    model.graph.node.insert(index + 1, onnx.helper.make_node("Add", ["normalised", "nats"], [answer]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(nats), "nats"))
    return bytes(model.SerializeToString())


def test_probabilities_that_sum_to_nearly_one_are_log_probabilities(
    world: "World", snapshot: Dataset, graph: bytes
) -> None:
    near, far = _offset(graph, 5e-4), _offset(graph, -3e-3)
    assert LoadedModel(world.card(snapshot, near), near, threads=1)
    with pytest.raises(DataLoss, match="not normalised"):
        LoadedModel(world.card(snapshot, far), far, threads=1)


def test_a_graph_with_embeddings_serves_and_gives_them_when_they_are_asked_for(
    world: "World", snapshot: Dataset, embedding_graph: bytes, sign: Any
) -> None:
    model = LoadedModel(world.card(snapshot, embedding_graph), embedding_graph, threads=1)
    clips = [to_model_input(sign(f"clip{index}", "", 0.5 + index / 6, frames=20 + index)) for index in range(6)]
    plain = model.log_probs(clips)
    assert [model.vocabulary[model.decode(answer).ranking()[0]] for answer in plain] == list(model.vocabulary)
    for clip, expected, (answer, embeddings) in zip(clips, plain, model.embed(clips), strict=True):
        np.testing.assert_allclose(answer, expected, atol=1e-5)
        assert embeddings.shape == (len(clip), 4)
        np.testing.assert_allclose(np.square(embeddings).sum(axis=-1), 2.0, atol=1e-5)


def test_each_clip_may_have_a_bias_of_the_dominant_hand_if_the_graph_takes_one(
    world: "World", snapshot: Dataset, embedding_graph: bytes, sign: Any
) -> None:
    model = LoadedModel(world.card(snapshot, embedding_graph), embedding_graph, threads=1)
    assert model.takes_dominance
    clips = [to_model_input(sign(f"clip{frames}", "", 0.5 + 2 / 6, frames=frames)) for frames in (40, 20, 30)]
    biases = [0.0, np.pi / 3, -np.pi / 3]
    answers = [model.decode(answer) for answer in model.log_probs(clips, dominance=biases)]
    assert [model.vocabulary[answer.ranking()[0]] for answer in answers] == ["drink", "go", "chair"]


def test_a_graph_of_an_older_version_has_no_embeddings_and_says_so(model: LoadedModel, sign: Any) -> None:
    assert not model.takes_dominance
    with pytest.raises(NotReady, match=r"no embeddings: .* Train it again with the default head"):
        model.embed([to_model_input(sign("clip", "", 0.5))])


def test_an_output_that_is_not_finite_is_an_error(model: LoadedModel, sign: Any) -> None:
    clip = to_model_input(sign("clip", "", 0.5))
    with pytest.raises(SignetError, match="the output of its graph is not finite"):
        model.log_probs([clip, clip * np.float32(1e38)])


def test_a_graph_with_another_hash_than_on_its_card_is_refused(world: "World", snapshot: Dataset) -> None:
    card = world.publish(snapshot, files={"model.onnx": "0" * 64})
    with pytest.raises(DataLoss, match="sha256"):
        LoadedModel.load(world.store, card.name, card.version)
    with pytest.raises(NotFound, match="signet models"):
        LoadedModel.load(world.store, card.name, "1999")


def test_a_model_that_answers_otherwise_than_in_the_trainer_is_refused(world: "World", snapshot: Dataset) -> None:
    same = world.publish_with_parity(snapshot)
    assert LoadedModel.load(world.store, same.name, same.version, 1).has_parity_vector
    rounded = world.publish_with_parity(snapshot, error=9e-4)
    assert LoadedModel.load(world.store, rounded.name, rounded.version, 1)
    wrong = world.publish_with_parity(snapshot, error=2e-3)
    with pytest.raises(ParityMismatch, match=r"is 2\.0e-03; at most 1\.0e-03 is rounding"):
        LoadedModel.load(world.store, wrong.name, wrong.version, 1)
    older = world.publish(snapshot)
    assert not LoadedModel.load(world.store, older.name, older.version, 1).has_parity_vector


def test_a_parity_vector_that_is_damaged_or_of_another_vocabulary_is_refused(world: "World", snapshot: Dataset) -> None:
    damaged = world.publish_with_parity(snapshot)
    world.store.put(f"models/signet/{damaged.version}/parity.safetensors", b"?")
    with pytest.raises(DataLoss, match="its sha256 differs"):
        LoadedModel.load(world.store, damaged.name, damaged.version, 1)
    fewer = world.snapshot(world.everyday_clips(("book", "go")))
    other = world.publish_with_parity(fewer)
    vector = world.store.get(f"models/signet/{other.version}/parity.safetensors")
    mixed = world.publish_with_parity(snapshot, parity=vector)
    with pytest.raises(ParityMismatch, match="is inf"):
        LoadedModel.load(world.store, mixed.name, mixed.version, 1)


def test_the_trial_measures_the_memory_of_a_model_and_it_is_asked_for_before_the_load(
    world: "World", card: ModelCard
) -> None:
    asked: list[int] = []
    model = LoadedModel.load(world.store, card.name, card.version, 1, make_room=asked.append)
    assert asked == [model.memory_bytes]
    assert 100_000 < model.memory_bytes < 100 << 20

    def refuse(_: int) -> None:
        raise Busy("no room")

    with pytest.raises(Busy):
        LoadedModel.load(world.store, card.name, card.version, 1, make_room=refuse)
