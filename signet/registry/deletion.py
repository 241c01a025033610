"""Deletes versions. The card is deleted first, so that a deletion that was cut off leaves no version behind."""

from signet.errors import AlreadyExists, DataLoss, InvalidInput, NotFound, NotReady, quote
from signet.registry.alias import aliases
from signet.registry.card import CARD
from signet.store import ObjectStore, keys
from signet.store.strays import read_limited


def delete(store: ObjectStore, name: str, version: str) -> int:
    """Delete a version. Returns the number of deleted objects.

    Files that an interrupted deletion, publication or import has left behind are deleted, too. Do not delete a version
    that another process is publishing at this moment. Reports on a version stay.

    Raises:
        NotReady: an alias names the version. The version is not deleted.
        InvalidInput: an alias has this name, so that it is not clear what is meant.
        NotFound: there is no such version, and there are no files of it.
    """
    card_key = keys.model(name, version, CARD)
    objects = [info.key for info in store.list(keys.model_version(name, version))]
    named_by = aliases(store, name)
    if version in named_by:
        raise InvalidInput(
            f"{quote(version)} is an alias of model {quote(name)}. Name the version: it is {named_by[version]} now."
        )
    if not objects:
        raise NotFound(f"{store.url}: model {quote(name)} has no version {quote(version)}. `signet models` lists them.")
    _check_not_named(name, version, named_by)
    card = _read_card_bytes(store, card_key)
    store.delete(card_key)
    try:
        # An alias may have been moved here since. `signet.registry.alias` looks at the card again after each move.
        _check_not_named(name, version, aliases(store, name))
    except NotReady:
        _restore(store, card_key, card)
        raise
    for key in objects:
        if key != card_key:
            store.delete(key)
    return len(objects)


def _check_not_named(name: str, version: str, named_by: dict[str, str]) -> None:
    naming = sorted(alias for alias, named in named_by.items() if named == version)
    if naming:
        raise NotReady(
            f"model {quote(name)}: version {version} is not deleted, because {', '.join(naming)} "
            f"{'names' if len(naming) == 1 else 'name'} it. Move {'it' if len(naming) == 1 else 'them'} first: "
            f"`signet models promote VERSION --alias {naming[0]}`, or `signet models delete-alias {naming[0]}`."
        )


def _read_card_bytes(store: ObjectStore, key: str) -> bytes | None:
    """The bytes of a card; None if there is none, or if it is too large to be a card."""
    try:
        return read_limited(store, key)
    except (NotFound, DataLoss):
        return None


def _restore(store: ObjectStore, key: str, card: bytes | None) -> None:
    if card is None:
        return
    try:
        store.create(key, card)
    except AlreadyExists:
        return  # another process has published the version again
