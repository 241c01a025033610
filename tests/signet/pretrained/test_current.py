"""The bundled model is used until a store has a version of it with enrolled signs."""

from signet import pretrained, registry
from signet.pretrained import ASL100, find_current_version
from signet.registry import Enrolment, ModelCard
from signet.store import DirectoryStore


def publish_version(store: DirectoryStore, version: str, signs: tuple[str, ...], run_id: str = "") -> ModelCard:
    """Publish a version of the bundled model with enrolled signs."""
    bundled = pretrained.read_bundled_card()
    enrolment = Enrolment(
        parent=bundled.version, trained=100, measured_on="embeddings", clips=0, correct=0, parent_correct=0
    )
    card = bundled.model_copy(
        update={
            "version": version,
            "vocabulary": bundled.vocabulary + signs,
            "enrolment": enrolment,
            "run_id": run_id or bundled.run_id,
            "files": {},
        }
    )
    registry.publish(store, card, {})
    return card


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
