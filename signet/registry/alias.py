"""Aliases: names that move from version to version by compare-and-swap, and record each move."""

from pydantic import ValidationError

from signet.errors import AlreadyExists, Conflict, DataLoss, InvalidInput, NotFound, NotReady, quote
from signet.labels import describe_label_fault
from signet.registry.alias_history import MAX_REASON_CHARACTERS, Alias
from signet.registry.card import CARD
from signet.registry.reading import read_card
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

# The alias that the trainer moves to each version that it publishes, and the one that people move.
LATEST = "latest"
PRODUCTION = "production"

# 100 moves with the longest reasons have 0.3 MiB. Older versions of Signet kept all moves, of 130 bytes each.
_MAX_ALIAS_BYTES = 4 << 20

# So many lost races in a row are a fault of the store: there are never so many writers.
_ATTEMPTS = 10


# An alias that does not exist yet.
_NO_ALIAS = Alias(version="")


def read_alias(store: ObjectStore, name: str, alias: str) -> Alias:
    """Read an alias with its history.

    Raises:
        NotFound: there is no such alias, or it was deleted.
        DataLoss: it is damaged.
    """
    found = _read_stored(store, name, alias)
    _check_not_deleted(name, alias, found)
    return found


def _read_stored(store: ObjectStore, name: str, alias: str) -> Alias:
    """Read an alias, which may be deleted."""
    key = keys.alias(name, alias)
    try:
        return _parse(read_limited(store, key, _MAX_ALIAS_BYTES), key)
    except NotFound:
        raise _no_alias(store, name, alias) from None


def read_aliases(store: ObjectStore, name: str, *, include_deleted: bool = False) -> dict[str, Alias]:
    """All aliases of a model with their histories. Objects that are not aliases are skipped."""
    found = {}
    for info in store.list(keys.aliases(name)):
        alias = keys.name_between(info.key, keys.aliases(name), ".json")
        if not alias:
            log_skipped_object(store, info.key, "it is not an alias. Delete it.")
            continue
        try:
            read = _read_stored(store, name, alias)
        except NotFound:
            continue  # its object was deleted since it was listed
        except DataLoss as error:
            log_skipped_object(store, info.key, str(error))
        else:
            if include_deleted or not read.deleted:
                found[alias] = read
    return found


def aliases(store: ObjectStore, name: str) -> dict[str, str]:
    """The version that each alias of a model names. Objects that are not aliases are skipped."""
    return {alias: read.version for alias, read in read_aliases(store, name).items()}


def resolve(store: ObjectStore, name: str, version_or_alias: str) -> str:
    """The version that a version or an alias names.

    Raises:
        NotFound: there is no such version and no such alias.
    """
    try:
        alias = _read_stored(store, name, version_or_alias)
    except NotFound:
        alias = _NO_ALIAS
    if alias.named_version:
        return alias.named_version
    if store.stat(keys.model(name, version_or_alias, CARD)):
        return version_or_alias
    _check_not_deleted(name, version_or_alias, alias)
    raise NotFound(
        f"{store.url}: model {quote(name)} has no version or alias {quote(version_or_alias)}. `signet models` lists "
        "them; `signet train` publishes one."
    )


def promote(
    store: ObjectStore,
    name: str,
    version_or_alias: str,
    alias: str = PRODUCTION,
    reason: str = "",
    expected_from: str | None = None,
) -> Alias:
    """Move an alias to a version, or to the version that another alias names. Returns the alias after the move.

    The other arguments and the errors are those of `move_alias`.
    """
    return move_alias(store, name, alias, resolve(store, name, version_or_alias), reason, expected_from)


def move_alias(
    store: ObjectStore, name: str, alias: str, version: str, reason: str = "", expected_from: str | None = None
) -> Alias:
    """Move an alias to a version, by compare-and-swap. Returns the alias after the move.

    An alias that names the version already is not moved.

    Args:
        store: the store of the model.
        name: the model.
        alias: the alias, which is made if it does not exist.
        version: the version that it will name.
        reason: why it moves, for its history.
        expected_from: the version that the alias must name before the move; "" if there must be no such alias yet.

    Raises:
        NotFound: there is no such version, or it was deleted meanwhile.
        InvalidInput: the reason cannot be stored, or a version has the name of the alias.
        Conflict: the alias does not name the expected version. Nothing was moved.
    """
    _check_reason(reason)
    _check_expected_name(expected_from)
    read_card(store, name, version)
    _check_alias_name(store, name, alias)
    for _ in range(_ATTEMPTS):
        before, etag = _read_for_move(store, name, alias)
        _check_expected(name, alias, before, expected_from)
        if before.named_version == version:
            return before
        after = before.moved_to(version, reason)
        try:
            _swap(store, name, alias, before, after, etag)
        except (AlreadyExists, Conflict):
            continue
        return after
    raise Conflict(f"{keys.alias(name, alias)}: other writers moved this alias {_ATTEMPTS} times meanwhile. Try again.")


def rollback(
    store: ObjectStore, name: str, alias: str = PRODUCTION, reason: str = "", expected_from: str | None = None
) -> Alias:
    """Move an alias back to the version before its last move. Returns the alias after that.

    Repeated rollbacks lead further back, not to and fro: see `Alias.version_before`. The arguments are those of
    `move_alias`.

    Raises:
        NotFound: there is no such alias.
        NotReady: the alias had no version before, or that version was deleted.
        DataLoss: the alias is damaged, or the card of the version before is.
        Conflict: the alias does not name the expected version, or another writer moved it meanwhile. A rollback is not
            repeated then, because it would undo the move of the other writer.
    """
    _check_reason(reason)
    _check_expected_name(expected_from)
    before, etag = _read_existing(store, name, alias)
    _check_expected(name, alias, before, expected_from)
    version = before.version_before
    promote_another = f"Move it to another version: `signet models promote VERSION --alias {alias}`."
    if not version:
        raise NotReady(
            f"alias {quote(alias)} of model {quote(name)} named no version before {before.version}. {promote_another}"
        )
    try:
        read_card(store, name, version)
    except NotFound:
        raise NotReady(
            f"alias {quote(alias)} of model {quote(name)} named {version} before, and this version was deleted. "
            f"{promote_another}"
        ) from None
    after = before.moved_to(version, reason, rollback=True)
    try:
        _swap(store, name, alias, before, after, etag)
    except (AlreadyExists, Conflict):
        raise _moved_meanwhile(name, alias, "rolled back") from None
    return after


def delete_alias(
    store: ObjectStore, name: str, alias: str, reason: str = "", expected_from: str | None = None
) -> Alias:
    """Delete an alias. Its history is kept, and the next move makes it again. Returns the deleted alias.

    The arguments are those of `move_alias`.

    Raises:
        NotFound: there is no such alias, or it was deleted before.
        DataLoss: it is damaged.
        Conflict: the alias does not name the expected version, or another writer moved it meanwhile.
    """
    _check_reason(reason)
    _check_expected_name(expected_from)
    before, etag = _read_existing(store, name, alias)
    _check_expected(name, alias, before, expected_from)
    after = before.as_deleted(reason)
    try:
        store.replace(keys.alias(name, alias), _dump(after), etag)
    except Conflict:
        raise _moved_meanwhile(name, alias, "deleted") from None
    return after


def _no_alias(store: ObjectStore, name: str, alias: str) -> NotFound:
    return NotFound(
        f"{store.url}: model {quote(name)} has no alias {quote(alias)}. `signet models` lists the aliases; "
        "`signet models promote` makes one."
    )


def _check_not_deleted(name: str, alias: str, read: Alias) -> None:
    if read.deleted:
        last = read.history[-1] if read.history else None
        when, why = (last.moved, last.reason) if last else ("", "")
        raise NotFound(
            f"alias {quote(alias)} of model {quote(name)} was deleted{f' at {when}' if when else ''}"
            f"{f' ({quote(why)})' if why else ''}. It named {read.version}. `signet models promote VERSION --alias "
            f"{alias}` makes it again."
        )


def _moved_meanwhile(name: str, alias: str, not_done: str) -> Conflict:
    return Conflict(
        f"alias {quote(alias)} of model {quote(name)} was moved by another writer meanwhile, so it was not {not_done}. "
        "`signet models show` shows its history."
    )


def _read_existing(store: ObjectStore, name: str, alias: str) -> tuple[Alias, str]:
    """An alias that is not deleted, and its etag."""
    data, etag = _read_versioned(store, name, alias)
    read = _parse(data, keys.alias(name, alias))
    _check_not_deleted(name, alias, read)
    return read, etag


def _read_versioned(store: ObjectStore, name: str, alias: str) -> tuple[bytes, str]:
    """The bytes of an alias and its etag. An object that is too large to be an alias is not read: it has no bytes."""
    key = keys.alias(name, alias)
    info = store.stat(key)
    try:
        if info is not None and info.size > _MAX_ALIAS_BYTES:
            return b"", info.etag
        return store.get_versioned(key)
    except NotFound:
        raise _no_alias(store, name, alias) from None


def _read_for_move(store: ObjectStore, name: str, alias: str) -> tuple[Alias, str | None]:
    """An alias and its etag; None as the etag if there is no such alias.

    A damaged alias counts as one that names no version. The next move replaces it.
    """
    key = keys.alias(name, alias)
    try:
        data, etag = _read_versioned(store, name, alias)
    except NotFound:
        return _NO_ALIAS, None
    try:
        return _parse(data, key), etag
    except DataLoss as error:
        log_skipped_object(store, key, f"{error} The next move replaces it, and its history is lost.")
        return _NO_ALIAS, etag


def _swap(store: ObjectStore, name: str, alias: str, before: Alias, after: Alias, etag: str | None) -> None:
    """Store an alias, if it was not changed since it was read.

    Raises:
        AlreadyExists: another writer has made it.
        Conflict: another writer has changed it.
    """
    key = keys.alias(name, alias)
    new_etag = store.create(key, _dump(after)) if etag is None else store.replace(key, _dump(after), etag)
    # `signet.registry.deletion` looks at the aliases again after it has deleted a card. One of both sees the other.
    if store.stat(keys.model(name, after.version, CARD)) is not None:
        return
    if before.version:
        store.replace(key, _dump(before), new_etag)
    elif store.get_versioned(key)[1] == new_etag:
        store.delete(key)
    raise NotFound(f"model {quote(name)}: version {after.version} was deleted meanwhile. {quote(alias)} is not moved.")


def _dump(alias: Alias) -> bytes:
    return alias.model_dump_json(by_alias=True, exclude_defaults=True, indent=1).encode()


def _parse(data: bytes, key: str) -> Alias:
    try:
        parsed = Alias.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(f"{key}: not an alias ({error.error_count()} faults). Delete it and publish again.") from error
    if not all(map(keys.is_name, (parsed.version, *(move.version for move in parsed.history)))):
        raise DataLoss(f"{key}: not an alias: no version has such a name. Delete it and publish again.")
    history, previous = [], ""
    for move in parsed.history:
        history.append(move if move.previous is not None else move.model_copy(update={"previous": previous}))
        previous = move.version
    return parsed.model_copy(update={"history": tuple(history)})


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidInput(f"the reason has {len(reason)} characters; at most {MAX_REASON_CHARACTERS} are allowed.")
    if fault := describe_label_fault(reason):
        raise InvalidInput(f"the reason cannot be stored: {fault}.")


def _check_expected_name(expected_from: str | None) -> None:
    if expected_from:
        keys.check_name("model version", expected_from)


def _check_alias_name(store: ObjectStore, name: str, alias: str) -> None:
    """Check that no version has the name of an alias: the alias would hide it."""
    if store.stat(keys.model(name, alias, CARD)) is not None:
        raise InvalidInput(f"{quote(alias)} is a version of model {quote(name)}. Give the alias another name.")


def _check_expected(name: str, alias: str, before: Alias, expected_from: str | None) -> None:
    if expected_from is None or before.named_version == expected_from:
        return
    names = f"names {before.named_version}" if before.named_version else "names no version"
    expected = f"{expected_from} was expected" if expected_from else "it was expected not to exist"
    raise Conflict(
        f"alias {quote(alias)} of model {quote(name)} {names}, and {expected}. Nothing was moved. `signet models show` "
        "shows its history."
    )
