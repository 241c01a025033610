"""Published models are complete or absent, immutable, and found by alias."""

import hashlib
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from signet import registry
from signet.decoding import DEFAULT_BEAM_WIDTH, ContinuousDecoder
from signet.errors import AlreadyExists, DataLoss, NotFound
from signet.registry import Alias, Metrics, ModelCard
from signet.store import DirectoryStore, ObjectStore, keys

FILES = {"model.onnx": b"onnx bytes", "model.safetensors": b"weights"}


def _card(version: str = "v1", name: str = "signet") -> ModelCard:
    return ModelCard(
        name=name,
        version=version,
        created="2026-01-01T00:00:00+00:00",
        run_id="r1",
        dataset_name="wlasl",
        dataset_version="0123",
        vocabulary=("book", "drink"),
        frame_rate=15.0,
        blank_penalty=1.0,
        parameters=50_000,
        config={"lr": 0.01, "optimizer": "adamw"},
        metrics=Metrics(val_clips=37, val_correct=32, val_greedy_correct=30, blank_ratio=0.3, epoch=100),
        onnx_difference=1e-7,
        files={name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()},
    )


def _alias(store: ObjectStore, alias: str = "latest") -> Alias:
    return Alias.model_validate_json(store.get(keys.alias("signet", alias)))


def test_a_published_model_is_found_by_alias_and_by_version(object_store: ObjectStore) -> None:
    registry.publish(object_store, _card(), FILES)
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert registry.resolve(object_store, "signet", "v1") == "v1"
    card = registry.read_card(object_store, "signet", "v1")
    assert card == _card()
    assert {name: registry.read_file(object_store, card, name) for name in card.files} == FILES


def test_a_card_names_the_model_s_one_continuous_decoder(directory_store: DirectoryStore) -> None:
    card = _card().model_copy(
        update={"insertion_penalty": 0.5, "repetition_penalty": 3.0, "beam_width": 16, "undoubted": True}
    )
    registry.publish(directory_store, card, FILES)
    read = registry.read_card(directory_store, "signet", "v1")
    assert read.decoder == ContinuousDecoder(16, 1.0, insertion_penalty=0.5, repetition_penalty=3.0, undoubted=True)


def test_a_card_from_before_there_was_a_beam_search_is_still_read(directory_store: DirectoryStore) -> None:
    """A card in the format of the first version."""
    fields = json.loads(_card().model_dump_json(by_alias=True))
    for newer in ("insertion_penalty", "repetition_penalty", "beam_width", "undoubted"):
        del fields[newer]
    directory_store.put(keys.model("signet", "v1", "model.json"), json.dumps(fields).encode())
    card = registry.read_card(directory_store, "signet", "v1")
    assert card.decoder == ContinuousDecoder(DEFAULT_BEAM_WIDTH, blank_penalty=1.0)


def test_a_version_is_immutable(object_store: ObjectStore) -> None:
    registry.publish(object_store, _card(), FILES)
    with pytest.raises(AlreadyExists):
        registry.publish(object_store, _card(), {"model.onnx": b"other"})
    assert registry.read_file(object_store, _card(), "model.onnx") == FILES["model.onnx"]


def test_an_alias_moves_and_records_its_history(object_store: ObjectStore) -> None:
    for version in ("v1", "v2", "v3"):
        registry.publish(object_store, _card(version), FILES)
    registry.move_alias(object_store, "signet", "latest", "v1")
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert [move.version for move in _alias(object_store).history] == ["v1", "v2", "v3", "v1"]
    assert registry.versions(object_store, "signet") == ["v1", "v2", "v3"]


def test_moving_an_alias_to_a_missing_version_is_refused(object_store: ObjectStore) -> None:
    registry.publish(object_store, _card(), FILES)
    with pytest.raises(NotFound, match="no version 'v9'"):
        registry.move_alias(object_store, "signet", "latest", "v9")
    assert registry.resolve(object_store, "signet", "latest") == "v1"


def test_no_move_is_lost_if_many_writers_move_an_alias_at_the_same_time(object_store: ObjectStore) -> None:
    versions = [f"v{n}" for n in range(5)]
    for version in versions:
        registry.publish(object_store, _card(version), FILES, alias=f"own-{version}")
    gate = threading.Barrier(len(versions))

    def move(version: str) -> None:
        gate.wait()
        registry.move_alias(object_store, "signet", "production", version)

    with ThreadPoolExecutor(len(versions)) as pool:
        list(pool.map(move, versions))
    alias = _alias(object_store, "production")
    assert sorted(entry.version for entry in alias.history) == versions
    assert alias.history[-1].version == alias.version


def test_a_version_without_a_card_does_not_exist(object_store: ObjectStore) -> None:
    object_store.create(keys.model("signet", "half", "model.onnx"), b"onnx bytes")
    assert registry.versions(object_store, "signet") == []
    with pytest.raises(NotFound, match="`signet train` publishes one"):
        registry.resolve(object_store, "signet", "half")


def test_a_version_gets_its_card_and_its_alias_only_after_all_its_files(directory_store: DirectoryStore) -> None:
    """A second writer stops at the first file, which exists; nothing else may be written."""
    directory_store.create(keys.model("signet", "v1", "model.safetensors"), b"of another writer")
    with pytest.raises(AlreadyExists):
        registry.publish(directory_store, _card(), FILES)
    assert registry.versions(directory_store, "signet") == []
    assert registry.aliases(directory_store, "signet") == {}


@pytest.mark.parametrize("wanted", ["latest", "v1"])
def test_the_error_without_a_model_names_the_command_that_publishes_one(
    directory_store: DirectoryStore, wanted: str
) -> None:
    with pytest.raises(NotFound, match="`signet train` publishes one"):
        registry.resolve(directory_store, "signet", wanted)


def test_a_damaged_file_is_never_served(directory_store: DirectoryStore) -> None:
    registry.publish(directory_store, _card(), FILES)
    directory_store.put(keys.model("signet", "v1", "model.onnx"), b"onnx bytez")
    with pytest.raises(DataLoss, match="damaged"):
        registry.read_file(directory_store, _card(), "model.onnx")
    directory_store.delete(keys.model("signet", "v1", "model.onnx"))
    with pytest.raises(DataLoss, match="is gone"):
        registry.read_file(directory_store, _card(), "model.onnx")
    with pytest.raises(NotFound, match=r"it has model\.onnx, model\.safetensors"):
        registry.read_file(directory_store, _card(), "model.pkl")


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"schema": "signet.model/1", "name": "signet"}'])
def test_a_damaged_card_or_alias_is_data_loss(directory_store: DirectoryStore, damage: bytes) -> None:
    directory_store.put(keys.model("signet", "v1", "model.json"), damage)
    with pytest.raises(DataLoss, match="not a model card"):
        registry.read_card(directory_store, "signet", "v1")
    directory_store.put(keys.alias("signet", "latest"), damage)
    with pytest.raises(DataLoss, match="not an alias"):
        registry.resolve(directory_store, "signet", "latest")


def test_versions_sort_by_time_and_differ_by_content_and_run() -> None:
    first, second = registry.new_version("run", b"a"), registry.new_version("run", b"b")
    assert first[-8:] != second[-8:]
    assert registry.new_version("another", b"a")[-8:] != first[-8:]
    assert first[:-9] <= second[:-9]
    assert first[-8:] == hashlib.sha256(b"runa").hexdigest()[:8]
    assert keys.check_name("model version", first) == first


GOLDEN = Path(__file__).parent / "golden"
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
    assert _alias(store).history[0].moved == "2026-01-01T00:00:00+00:00"
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


def test_stray_objects_below_a_model_are_skipped_and_logged_once(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(directory_store, _card(), FILES)
    for name in ("README", "a/b/model.json", "a b/model.json", ".git/model.json", "aliases/model.json"):
        directory_store.put(keys.models("signet") + name, b"{}")
    for name in ("README", "damaged.json", "a b.json", "a/b.json", ".x.json"):
        directory_store.put(keys.aliases("signet") + name, b"{}")
    directory_store.put(keys.alias("signet", "away"), b'{"version": "../../other/v1"}')
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert registry.versions(directory_store, "signet") == ["v1"]
            assert registry.aliases(directory_store, "signet") == {"latest": "v1"}
    # "a/b/model.json" is a file of version "a", which has no card; "aliases/model.json" is a damaged alias.
    assert len(caplog.records) == 3 + 7
    with pytest.raises(DataLoss, match="no version has such a name"):
        registry.resolve(directory_store, "signet", "away")


def test_a_damaged_alias_does_not_stop_a_publication(directory_store: DirectoryStore) -> None:
    directory_store.put(keys.alias("signet", "latest"), b"{")
    registry.publish(directory_store, _card(), FILES)
    assert registry.resolve(directory_store, "signet", "latest") == "v1"
    assert [move.version for move in _alias(directory_store).history] == ["v1"]


def test_the_card_of_another_version_is_refused(directory_store: DirectoryStore) -> None:
    """A folder of the store was copied."""
    registry.publish(directory_store, _card(), FILES)
    directory_store.put(keys.model("signet", "copy", "model.json"), directory_store.get("models/signet/v1/model.json"))
    with pytest.raises(DataLoss, match="the card of another model or version"):
        registry.read_card(directory_store, "signet", "copy")


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
    ],
)
def test_a_card_with_an_impossible_number_is_refused(
    directory_store: DirectoryStore, change: dict[str, object]
) -> None:
    fields = json.loads(_card().model_dump_json(by_alias=True)) | change
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
    card = json.loads(_card().model_dump_json(by_alias=True)) | {field: value}
    directory_store.put("models/signet/v1/model.json", json.dumps(card).encode())
    with pytest.raises(DataLoss, match=rf"not a model card \({field}.*: character \d is U\+") as refused:
        registry.read_card(directory_store, "signet", "v1")
    assert str(refused.value).isprintable()
