"""Published models are complete or absent, and immutable."""

import hashlib

import pytest

from signet import registry
from signet.errors import AlreadyExists
from signet.store import DirectoryStore, ObjectStore, keys
from tests.signet.registry.models import FILES, make_card


def test_a_published_model_is_found_by_alias_and_by_version(object_store: ObjectStore) -> None:
    registry.publish(object_store, make_card(), FILES)
    assert registry.resolve(object_store, "signet", "latest") == "v1"
    assert registry.resolve(object_store, "signet", "v1") == "v1"
    card = registry.read_card(object_store, "signet", "v1")
    assert card == make_card()
    assert {name: registry.read_file(object_store, card, name) for name in card.files} == FILES


def test_a_version_is_immutable(object_store: ObjectStore) -> None:
    registry.publish(object_store, make_card(), FILES)
    with pytest.raises(AlreadyExists):
        registry.publish(object_store, make_card(), {"model.onnx": b"other"})
    assert registry.read_file(object_store, make_card(), "model.onnx") == FILES["model.onnx"]


def test_a_version_gets_its_card_and_its_alias_only_after_all_its_files(directory_store: DirectoryStore) -> None:
    """A second writer stops at the first file, which exists; nothing else may be written."""
    directory_store.create(keys.model("signet", "v1", "model.safetensors"), b"of another writer")
    with pytest.raises(AlreadyExists):
        registry.publish(directory_store, make_card(), FILES)
    assert registry.versions(directory_store, "signet") == []
    assert registry.aliases(directory_store, "signet") == {}


def test_versions_sort_by_time_and_differ_by_content_and_run() -> None:
    first, second = registry.new_version("run", b"a"), registry.new_version("run", b"b")
    assert first[-8:] != second[-8:]
    assert registry.new_version("another", b"a")[-8:] != first[-8:]
    assert first[:-9] <= second[:-9]
    assert first[-8:] == hashlib.sha256(b"runa").hexdigest()[:8]
    assert keys.check_name("model version", first) == first
