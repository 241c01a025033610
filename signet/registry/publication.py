"""Publishes a version: its files first, then its signature, its card last, and then an alias. Signs old versions."""

import hashlib
from datetime import UTC, datetime

from signet.errors import InvalidSetting
from signet.registry.alias import LATEST, move_alias
from signet.registry.alias_history import MAX_REASON_CHARACTERS
from signet.registry.card import CARD, ModelCard
from signet.registry.reading import read_file, read_unchecked_card
from signet.registry.signature import SIGNATURE, make_signature
from signet.store import ObjectStore, keys

# The end of the versions that enrolments make. A store can give an evaluator the right to write these versions, and no
# version of a training (deploy/make-credentials).
_ENROLLED = "-enrolled"


def new_version(run_id: str, content: bytes, *, enrolled: bool = False) -> str:
    """A new version: the UTC time, by which versions sort, and a hash of the run's id and the content.

    Two runs may publish the same weights in the same second; the run's id makes their versions differ. With `enrolled`,
    the version says that an enrolment made it.
    """
    digest = hashlib.sha256(run_id.encode() + content).hexdigest()[:8]
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{digest}{_ENROLLED if enrolled else ''}"


def publish(
    store: ObjectStore,
    card: ModelCard,
    files: dict[str, bytes],
    alias: str = LATEST,
    reason: str = "",
    expected_from: str | None = None,
) -> None:
    """Store a version, with its card last, and move an alias to it. It is signed if this process has a key for that.

    `reason` is kept in the history of the alias; "" names the run. With `expected_from`, the alias moves only if it
    names this version; "" means that there must be no such alias.

    Raises:
        AlreadyExists: the version exists already.
        Conflict: the alias names another version than the expected one. The version is stored all the same.
        InvalidSetting: this process trusts only signed models, and would not trust this one.
    """
    data = card.model_dump_json(by_alias=True, indent=1).encode()
    signature = make_signature(store, data)
    for name, content in files.items():
        store.create(keys.model(card.name, card.version, name), content)
    if signature is not None:
        store.create(keys.model(card.name, card.version, SIGNATURE), signature)
    store.create(keys.model(card.name, card.version, CARD), data)
    reason = reason or f"published by run {card.run_id}"
    move_alias(store, card.name, alias, card.version, reason[:MAX_REASON_CHARACTERS], expected_from)


def sign(store: ObjectStore, name: str, version: str) -> ModelCard:
    """Sign a version that is in the store, after all its files were checked. An older signature is replaced.

    Raises:
        NotFound: there is no such version.
        DataLoss: its card or a file is damaged.
        InvalidSetting: this process has no key to sign with, or does not trust its own key.
    """
    card, data = read_unchecked_card(store, name, version)
    for file in card.files:
        read_file(store, card, file)
    signature = make_signature(store, data)
    if signature is None:
        raise InvalidSetting(
            "SIGNET_MODEL_SIGNING_KEY is not set. It names the PEM file of the private key that signs. To make one: "
            "openssl genpkey -algorithm ed25519 -out FILE"
        )
    store.put(keys.model(name, version, SIGNATURE), signature)
    return card
