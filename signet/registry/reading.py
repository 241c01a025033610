"""Reads published versions: their cards and files, and the lists of versions and models."""

import hashlib

from pydantic import ValidationError

from signet.errors import DataLoss, NotFound, quote
from signet.field_types import describe_first_fault
from signet.registry.card import CARD, ModelCard
from signet.registry.signature import SIGNATURE, check_signature
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

# The largest file of a model: the graph of the largest settings of a training is smaller.
MAX_FILE_BYTES = 256 << 20


def read_card(store: ObjectStore, name: str, version: str) -> ModelCard:
    """Read the card of a version.

    Raises:
        NotFound: there is no such version.
        DataLoss: the card cannot be read.
        UntrustedModel: this process trusts only signed models, and the version has no signature of a trusted key.
    """
    return read_stored_card(store, name, version)[0]


def read_stored_card(store: ObjectStore, name: str, version: str) -> tuple[ModelCard, bytes]:
    """Read the card of a version, and its bytes as they are stored. The errors are those of `read_card`."""
    data = _read_card_bytes(store, name, version)
    check_signature(store, name, version, data)
    return _parse_card(store, name, version, data), data


def read_unchecked_card(store: ObjectStore, name: str, version: str) -> tuple[ModelCard, bytes]:
    """Read the card of a version as `read_stored_card`, but do not check its signature: to sign it, or to compare."""
    data = _read_card_bytes(store, name, version)
    return _parse_card(store, name, version, data), data


def _read_card_bytes(store: ObjectStore, name: str, version: str) -> bytes:
    try:
        return read_limited(store, keys.model(name, version, CARD))
    except NotFound:
        raise NotFound(
            f"{store.url}: model {quote(name)} has no version {quote(version)}. `signet models` lists them."
        ) from None


def _parse_card(store: ObjectStore, name: str, version: str, data: bytes) -> ModelCard:
    key = keys.model(name, version, CARD)
    try:
        card = ModelCard.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a model card ({describe_first_fault(error)}).") from error
    if (card.name, card.version) != (name, version):
        raise DataLoss(
            f"{store.url}/{key}: this is the card of another model or version. Delete this version, and publish the "
            "model again."
        )
    return card


def read_file(store: ObjectStore, card: ModelCard, file: str) -> bytes:
    """Read one file of a version, and check it against the card.

    Raises:
        NotFound: the card names no such file.
        DataLoss: the file is damaged or gone.
    """
    if file not in card.files:
        raise NotFound(f"model {card.name}/{card.version} has no file {quote(file)}; it has {', '.join(card.files)}.")
    key = _file_key(store, card, file)
    try:
        info = store.stat(key)
        if info is not None and info.size > MAX_FILE_BYTES:
            raise DataLoss(f"{store.url}/{key}: has {info.size} bytes, too many for a file of a model. Delete it.")
        data = store.get(key)
    except NotFound:
        raise DataLoss(f"{store.url}/{key} is gone. Publish the model again.") from None
    if hashlib.sha256(data).hexdigest() != card.files[file]:
        raise DataLoss(f"{store.url}/{key} is damaged: its sha256 differs from the card's. Publish the model again.")
    return data


def file_sizes(store: ObjectStore, card: ModelCard) -> dict[str, int]:
    """The size in bytes of each file that the card names. A file that is missing is left out.

    Raises:
        DataLoss: the card names a file that no version can have.
    """
    infos = {file: store.stat(_file_key(store, card, file)) for file in sorted(card.files)}
    return {file: info.size for file, info in infos.items() if info is not None}


def versions(store: ObjectStore, name: str) -> list[str]:
    """All complete versions of a model, the oldest first. Objects that belong to no version are skipped."""
    found = []
    for info in store.list(keys.models(name)):
        if info.key.startswith(keys.aliases(name)):
            continue
        if not keys.model_file(name, info.key)[0]:
            log_skipped_object(store, info.key, "it is not a file of a model. Delete it.")
        elif (version := keys.name_between(info.key, keys.models(name), f"/{CARD}")) != "":
            found.append(version)
    return found


def model_names(store: ObjectStore) -> list[str]:
    """The names of all models in the store, sorted."""
    return sorted({name for info in store.list(keys.all_models()) if (name := keys.model_name(info.key))})


def _file_key(store: ObjectStore, card: ModelCard, file: str) -> str:
    if not keys.is_name(file) or file in (CARD, SIGNATURE):
        raise DataLoss(
            f"{store.url}/{keys.model(card.name, card.version, CARD)}: names a file {quote(file)}, and no version can "
            "have such a file. Delete this version, and publish the model again."
        )
    return keys.model(card.name, card.version, file)
