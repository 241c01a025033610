"""Cards of all versions of Signet are read, and impossible ones are refused."""

import json
from pathlib import Path

import pytest

from signet import registry
from signet.decoding import DEFAULT_BEAM_WIDTH, ContinuousDecoder
from signet.errors import DataLoss
from signet.store import DirectoryStore, keys
from tests.signet.registry.models import FILES, make_card, stored_alias


def test_a_card_names_the_model_s_one_continuous_decoder(directory_store: DirectoryStore) -> None:
    card = make_card().model_copy(
        update={"insertion_penalty": 0.5, "repetition_penalty": 3.0, "beam_width": 16, "undoubted": True}
    )
    registry.publish(directory_store, card, FILES)
    read = registry.read_card(directory_store, "signet", "v1")
    assert read.decoder == ContinuousDecoder(16, 1.0, insertion_penalty=0.5, repetition_penalty=3.0, undoubted=True)


def test_a_card_from_before_there_was_a_beam_search_is_still_read(directory_store: DirectoryStore) -> None:
    """A card in the format of the first version."""
    fields = json.loads(make_card().model_dump_json(by_alias=True))
    for newer in ("insertion_penalty", "repetition_penalty", "beam_width", "undoubted"):
        del fields[newer]
    directory_store.put(keys.model("signet", "v1", "model.json"), json.dumps(fields).encode())
    card = registry.read_card(directory_store, "signet", "v1")
    assert card.decoder == ContinuousDecoder(DEFAULT_BEAM_WIDTH, blank_penalty=1.0)


GOLDEN = Path(__file__).parents[1] / "golden"
OLD_VERSION = "20260101T000000Z-01234567"


@pytest.mark.parametrize(
    ("version", "decoder", "frame_rate", "smoothing_seconds", "selected_on"),
    [
        ("1-first", ContinuousDecoder(8, 1.5), 15.0, 0.0, "val"),
        ("2-beam-search", ContinuousDecoder(16, 1.5, 0.5), 10.0, 0.0, ""),
        ("3-smoothed", ContinuousDecoder(16, 1.5, 0.5, 3.0, undoubted=True), 10.0, 0.05, ""),
    ],
)
def test_a_model_of_an_older_version_is_read(
    version: str, decoder: ContinuousDecoder, frame_rate: float, smoothing_seconds: float, selected_on: str
) -> None:
    """Stores that older versions wrote: the first one, one with a beam search, and one with smoothed landmarks."""
    store = DirectoryStore(GOLDEN / version)
    assert registry.versions(store, "signet") == [OLD_VERSION]
    assert registry.aliases(store, "signet") == {"latest": OLD_VERSION}
    assert stored_alias(store).history[0].moved == "2026-01-01T00:00:00+00:00"
    card = registry.read_card(store, "signet", registry.resolve(store, "signet", "latest"))
    assert (card.schema_version, card.name, card.version) == ("signet.model/1", "signet", OLD_VERSION)
    assert (card.created, card.run_id) == ("2026-01-01T00:00:00+00:00", "20260101-run")
    assert (card.vocabulary, card.parameters, card.onnx_difference) == (("book", "drink"), 54321, 1.5e-6)
    assert card.config == {
        "lr": 0.008, "optimizer": "adamw", "publish": True, "target_accuracy": None, "num_epochs": 100,
    }  # fmt: skip
    assert vars(card.metrics) == {
        "val_clips": 37, "val_correct": 32, "val_greedy_correct": 30, "blank_ratio": 0.25, "epoch": 100,
    }  # fmt: skip
    assert card.decoder == decoder
    assert (card.frame_rate, card.smoothing_seconds, card.selected_on) == (frame_rate, smoothing_seconds, selected_on)
    assert bool(card.sampling_difference) == (version != "3-smoothed")
    assert {name: registry.read_file(store, card, name) for name in card.files} == {
        "model.onnx": b"onnx", "model.safetensors": b"weights",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"beam_width": 10_000},
        {"beam_width": 0},
        {"blank_penalty": 1e308},
        {"insertion_penalty": -1e308},
        {"repetition_penalty": 1e9},
        {"frame_rate": 0},
        {"frame_rate": 1e308},
        {"smoothing_seconds": -1},
        {"parameters": 10**400},
        {"vocabulary": ["x"] * 20_001},
        {"vocabulary": ["x" * 2000]},
        {"created": "yesterday"},
        {"onnx_clips": -1},
        {"metrics": {"val_clips": 2**40, "val_correct": 0, "val_greedy_correct": 0, "blank_ratio": 0, "epoch": 1}},
        {"metrics": {"val_clips": 1, "val_correct": 0, "val_greedy_correct": 0, "blank_ratio": 1e308, "epoch": 1}},
        {"vocabulary_score": {"temperature": 1e-300, "weight": 1, "bias": 0}},
        {"vocabulary_score": {"temperature": 1, "weight": 1e308, "bias": 0}},
        {"vocabulary_score": {"temperature": 1, "weight": 1, "bias": -1e308}},
        {"rejection_threshold": 1.5},
        {"rejection_threshold": -0.1},
    ],
)
def test_a_card_with_an_impossible_number_is_refused(
    directory_store: DirectoryStore, change: dict[str, object]
) -> None:
    fields = json.loads(make_card().model_dump_json(by_alias=True)) | change
    directory_store.put(keys.model("signet", "v1", "model.json"), json.dumps(fields).encode())
    with pytest.raises(DataLoss, match="not a model card"):
        registry.read_card(directory_store, "signet", "v1")


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocabulary", ["book", "a\nINFO forged"]), ("vocabulary", ["a\x1b[2J"]), ("run_id", "\u202e"), ("name", "a\0")],
)
def test_a_card_with_control_characters_is_refused_and_the_field_is_named(
    directory_store: DirectoryStore, field: str, value: object
) -> None:
    card = json.loads(make_card().model_dump_json(by_alias=True)) | {field: value}
    directory_store.put("models/signet/v1/model.json", json.dumps(card).encode())
    with pytest.raises(DataLoss, match=rf"not a model card \({field}.*: character \d is U\+") as refused:
        registry.read_card(directory_store, "signet", "v1")
    assert str(refused.value).isprintable()
