"""Versions of the bundled model in a store, for tests."""

from signet import pretrained, registry
from signet.registry import Enrolment, ModelCard
from signet.store import ObjectStore


def publish_version(store: ObjectStore, version: str, signs: tuple[str, ...]) -> ModelCard:
    """Publish a card without files that says that signs were enrolled on the bundled model."""
    bundled = pretrained.read_bundled_card()
    enrolment = Enrolment(
        parent=bundled.version, trained=100, measured_on="embeddings", clips=0, correct=0, parent_correct=0
    )
    changes = {"version": version, "vocabulary": bundled.vocabulary + signs, "enrolment": enrolment, "files": {}}
    card = bundled.model_copy(update=changes)
    registry.publish(store, card, {})
    return card


def publish_copy(store: ObjectStore, version: str, *, damaged: bool = False, run_id: str = "") -> None:
    """Publish a version with the files of the bundled model. It can be loaded; no sign was enrolled on it."""
    card = pretrained.read_bundled_card()
    files = {name: pretrained.read_bundled_file(card, name) for name in card.files}
    copied = card.model_copy(update={"version": version, "run_id": run_id or card.run_id})
    registry.publish(store, copied, {name: data[: 9 if damaged else None] for name, data in files.items()})
