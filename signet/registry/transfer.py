"""Copies versions between stores as archives: `signet.registry.archive` has their form."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import ValidationError

from signet.errors import AlreadyExists, DataLoss, InvalidInput, NotFound, quote
from signet.field_types import describe_first_fault
from signet.registry.alias import aliases
from signet.registry.archive import (
    ARCHIVE_SCHEMA,
    ArchivedFile,
    ArchiveManifest,
    VerifiedArchive,
    archive_size,
    member_names,
    read_verified,
    verify_archive,
    write_archive,
)
from signet.registry.card import CARD, ModelCard
from signet.registry.reading import MAX_FILE_BYTES, file_sizes, read_file, read_stored_card, read_unchecked_card
from signet.registry.signature import SIGNATURE, SIGNATURE_BYTES, check_given_signature, read_signature
from signet.store import ObjectStore, keys


@dataclass(frozen=True)
class ImportedModel:
    """What an import has done."""

    card: ModelCard
    is_new: bool  # whether anything was stored; if not, the store had the version already


def export_archive(store: ObjectStore, name: str, version: str) -> tuple[ModelCard, int, Iterator[bytes]]:
    """The card of a version, the size of its archive in bytes, and the parts of the archive.

    Each file is read and checked when its part is needed.

    Raises:
        NotFound: there is no such version.
        DataLoss: the card or a file is damaged or gone. The iterator raises it, too.
    """
    card, data = read_stored_card(store, name, version)
    signature = read_signature(store, name, version)
    sizes = {CARD: len(data), **file_sizes(store, card)}
    sha256 = {CARD: hashlib.sha256(data).hexdigest(), **card.files}
    if signature is not None and len(signature) == SIGNATURE_BYTES:
        sizes[SIGNATURE], sha256[SIGNATURE] = len(signature), hashlib.sha256(signature).hexdigest()
    for file in card.files:
        if sizes.get(file, MAX_FILE_BYTES + 1) > MAX_FILE_BYTES:
            read_file(store, card, file)  # raises the error
    try:
        names = member_names(sha256)
        manifest = ArchiveManifest(
            schema_version=ARCHIVE_SCHEMA,
            name=name,
            version=version,
            files={file: ArchivedFile(size=sizes[file], sha256=sha256[file]) for file in names},
        )
    except (InvalidInput, ValidationError) as error:
        raise DataLoss(
            f"{store.url}/{keys.model(name, version, CARD)}: names files that no version can have."
        ) from error

    def contents() -> Iterator[bytes]:
        yield data
        for file in names[1:]:
            content = signature if file == SIGNATURE and signature else read_file(store, card, file)
            if len(content) != sizes[file]:
                raise DataLoss(f"{store.url}/{keys.model(name, version, file)} was changed meanwhile. Try again.")
            yield content

    return card, archive_size(manifest), write_archive(manifest, contents())


def import_archive(store: ObjectStore, file: BinaryIO, source: str) -> ImportedModel:
    """Store the version of an archive. Its card is stored last, after everything was checked.

    An import that was cut off can be repeated. Importing a version again that the store has already changes nothing.

    Args:
        store: where the version is stored. No alias is moved.
        file: the archive, which is read twice.
        source: the name of the archive in messages.

    Raises:
        InvalidInput: it is not an archive of a model, or it is damaged.
        AlreadyExists: the store has another content under this version, or an alias has its name.
        UntrustedModel: this process trusts only signed models, and the archive has no signature of a trusted key.
    """
    archive = verify_archive(file, source)
    card = _check_card(archive, source)
    signature = read_verified(file, archive, SIGNATURE, source) if SIGNATURE in archive.manifest.files else None
    check_given_signature(store, source, archive.card, signature)
    if card.version in aliases(store, card.name):
        raise AlreadyExists(
            f"{source}: model {quote(card.name)} has an alias {quote(card.version)}, so no version can have this name."
        )
    try:
        stored, data = read_unchecked_card(store, card.name, card.version)
    except NotFound:
        stored = None
    else:
        if data != archive.card:
            raise _other_content(store, card, source)
    is_new = stored is None
    for name in sorted(card.files):
        is_new |= _store_file(store, file, archive, card, name, source)
    if signature is not None:
        is_new |= _store_signature(store, card, signature)
    if stored is None:
        try:
            store.create(keys.model(card.name, card.version, CARD), archive.card)
        except AlreadyExists:
            # Another process has imported the version meanwhile.
            if store.get(keys.model(card.name, card.version, CARD)) != archive.card:
                raise _other_content(store, card, source) from None
    return ImportedModel(card, is_new)


def _check_card(archive: VerifiedArchive, source: str) -> ModelCard:
    """The card of an archive, if it fits the manifest."""
    manifest = archive.manifest
    try:
        card = ModelCard.model_validate_json(archive.card)
        keys.model(manifest.name, manifest.version, CARD)
    except ValidationError as error:
        raise InvalidInput(f"{source}: {CARD} is not a model card ({describe_first_fault(error)}).") from error
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from None
    listed = {name: entry.sha256 for name, entry in manifest.files.items() if name not in (CARD, SIGNATURE)}
    if SIGNATURE in manifest.files and manifest.files[SIGNATURE].size != SIGNATURE_BYTES:
        raise InvalidInput(f"{source}: {SIGNATURE} has not the {SIGNATURE_BYTES} bytes of a signature.")
    if (card.name, card.version, card.files) != (manifest.name, manifest.version, listed):
        raise InvalidInput(f"{source}: the manifest and {CARD} do not belong together. Export the model again.")
    return card


def _other_content(store: ObjectStore, card: ModelCard, source: str) -> AlreadyExists:
    return AlreadyExists(
        f"{source}: {store.url} has another content under version {card.version} of model {quote(card.name)}. Nothing "
        "was changed."
    )


def _store_signature(store: ObjectStore, card: ModelCard, signature: bytes) -> bool:
    """Store the signature of an archive; False if the store has a signature that this process accepts.

    Without trusted keys, a signature that the store has already is kept.
    """
    key = keys.model(card.name, card.version, SIGNATURE)
    try:
        store.create(key, signature)
    except AlreadyExists:
        if store.model_keys is None or not store.model_keys.trusted:
            return False
        if read_signature(store, card.name, card.version) == signature:
            return False
        store.put(key, signature)
    return True


def _store_file(
    store: ObjectStore, file: BinaryIO, archive: VerifiedArchive, card: ModelCard, name: str, source: str
) -> bool:
    """Store a file of a version; False if the store has it already."""
    key = keys.model(card.name, card.version, name)
    if store.stat(key) is None:
        try:
            store.create(key, read_verified(file, archive, name, source))
        except AlreadyExists:  # another process imports the same version
            pass
        else:
            return True
    try:
        read_file(store, card, name)
    except DataLoss as error:
        raise AlreadyExists(
            f"{source}: the store has other bytes in {store.url}/{key}. Delete the version first, and import it again: "
            f"`signet models delete {card.version}`."
        ) from error
    return False
