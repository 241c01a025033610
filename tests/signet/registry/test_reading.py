"""Only complete and undamaged versions are read."""

import logging

import pytest

from signet import registry
from signet.errors import DataLoss, NotFound
from signet.store import DirectoryStore, ObjectStore, keys
from tests.signet.registry.models import FILES, make_card


def test_a_version_without_a_card_does_not_exist(object_store: ObjectStore) -> None:
    object_store.create(keys.model("signet", "half", "model.onnx"), b"onnx bytes")
    assert registry.versions(object_store, "signet") == []
    with pytest.raises(NotFound, match="`signet train` publishes one"):
        registry.resolve(object_store, "signet", "half")


def test_a_damaged_file_is_never_served(directory_store: DirectoryStore) -> None:
    registry.publish(directory_store, make_card(), FILES)
    directory_store.put(keys.model("signet", "v1", "model.onnx"), b"onnx bytez")
    with pytest.raises(DataLoss, match="damaged"):
        registry.read_file(directory_store, make_card(), "model.onnx")
    directory_store.delete(keys.model("signet", "v1", "model.onnx"))
    with pytest.raises(DataLoss, match="is gone"):
        registry.read_file(directory_store, make_card(), "model.onnx")
    with pytest.raises(NotFound, match=r"it has model\.onnx, model\.safetensors"):
        registry.read_file(directory_store, make_card(), "model.pkl")


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"schema": "signet.model/1", "name": "signet"}'])
def test_a_damaged_card_or_alias_is_data_loss(directory_store: DirectoryStore, damage: bytes) -> None:
    directory_store.put(keys.model("signet", "v1", "model.json"), damage)
    with pytest.raises(DataLoss, match="not a model card"):
        registry.read_card(directory_store, "signet", "v1")
    directory_store.put(keys.alias("signet", "latest"), damage)
    with pytest.raises(DataLoss, match="not an alias"):
        registry.resolve(directory_store, "signet", "latest")


def test_stray_objects_below_a_model_are_skipped_and_logged_once(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(directory_store, make_card(), FILES)
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


def test_the_card_of_another_version_is_refused(directory_store: DirectoryStore) -> None:
    """A folder of the store was copied."""
    registry.publish(directory_store, make_card(), FILES)
    directory_store.put(keys.model("signet", "copy", "model.json"), directory_store.get("models/signet/v1/model.json"))
    with pytest.raises(DataLoss, match="the card of another model or version"):
        registry.read_card(directory_store, "signet", "copy")
