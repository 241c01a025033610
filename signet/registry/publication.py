"""Publishes a version: its files first, its card last, and then an alias."""

import hashlib
from datetime import UTC, datetime

from signet.registry.alias import LATEST, MAX_REASON_CHARACTERS, move_alias
from signet.registry.card import CARD, ModelCard
from signet.store import ObjectStore, keys


def new_version(run_id: str, content: bytes) -> str:
    """A new version: the UTC time, by which versions sort, and a hash of the run's id and the content.

    Two runs may publish the same weights in the same second; the run's id makes their versions differ.
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{hashlib.sha256(run_id.encode() + content).hexdigest()[:8]}"


def publish(store: ObjectStore, card: ModelCard, files: dict[str, bytes], alias: str = LATEST) -> None:
    """Store a version, with its card last, and move an alias to it.

    Raises:
        AlreadyExists: the version exists already.
    """
    for name, data in files.items():
        store.create(keys.model(card.name, card.version, name), data)
    store.create(keys.model(card.name, card.version, CARD), card.model_dump_json(by_alias=True, indent=1).encode())
    reason = f"published by run {card.run_id}"
    move_alias(store, card.name, alias, card.version, reason[:MAX_REASON_CHARACTERS])
