"""The bundled model is used until a store has a version of it with enrolled signs."""

from signet import pretrained, registry
from signet.pretrained import ASL100, find_current_version
from signet.store import DirectoryStore
from tests.signet.pretrained.versions import publish_version


def test_a_store_without_a_version_uses_the_package(directory_store: DirectoryStore) -> None:
    assert find_current_version(directory_store) == pretrained.read_bundled_card().version


def test_a_version_with_enrolled_signs_is_used_until_they_are_forgotten(directory_store: DirectoryStore) -> None:
    assert publish_version(directory_store, "v1", ("my sign",)).enrolled_vocabulary == ("my sign",)
    assert find_current_version(directory_store) == "v1"
    publish_version(directory_store, "v2", ())
    assert find_current_version(directory_store) == pretrained.read_bundled_card().version


def test_a_model_of_this_name_that_was_trained_in_the_store_is_used(directory_store: DirectoryStore) -> None:
    card = pretrained.read_bundled_card().model_copy(update={"version": "trained", "files": {}})
    registry.publish(directory_store, card, {})
    assert (card.name, find_current_version(directory_store)) == (ASL100, "trained")
