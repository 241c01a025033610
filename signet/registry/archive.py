"""The archive of one version: a tar file with its card, its files and their sha256.

The archive has these members, and no others, in this order:

    signet-model/manifest.json    the name of the model, its version, and size and sha256 of the other members
    signet-model/model.json       the card, as it is stored
    signet-model/<file>           the files that the card names, and model.json.sig of a signed version, sorted by name

The same version gives the same bytes: headers are in the format ustar, without times and users, and nothing is
compressed. A reader refuses each archive that is not exactly in this form. So it has to interpret no other kinds of tar
headers, no links, no paths and no compressed data, and it knows all sizes before it reads a file.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.errors import InvalidInput, quote
from signet.field_types import Label, describe_first_fault
from signet.registry.card import CARD
from signet.registry.reading import MAX_FILE_BYTES
from signet.store import keys
from signet.store.strays import MAX_JSON_BYTES

ARCHIVE_SCHEMA = "signet.model-archive/1"
_FOLDER = "signet-model/"
_MANIFEST = "manifest.json"

# A version has a graph and weights.
_MAX_FILES = 16
_MAX_MANIFEST_BYTES = 64 << 10
# The name of a member in a ustar header has 100 bytes.
_MAX_NAME_CHARACTERS = 100 - len(_FOLDER)

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_CHUNK_BYTES = 1 << 20

_MAKE_ANOTHER = "Make an archive with `signet models export`, and copy it without changes."
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd", b"PK": "zip"}


class ArchivedFile(BaseModel):
    """The size and the sha256 of a member."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ArchiveManifest(BaseModel):
    """manifest.json of an archive."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    schema_version: str = Field(alias="schema")
    name: Label
    version: Label
    files: dict[str, ArchivedFile] = Field(max_length=_MAX_FILES)  # the card is one of them


@dataclass(frozen=True)
class VerifiedArchive:
    """An archive whose sizes and hashes were checked."""

    manifest: ArchiveManifest
    card: bytes
    starts: dict[str, int]  # where the bytes of each file begin


def member_names(files: Iterable[str]) -> list[str]:
    """The names of the files in the order of an archive: the card first.

    Raises:
        InvalidInput: a name cannot be in an archive, or there are too many files.
    """
    names = [CARD, *sorted(set(files) - {CARD})]
    for name in names:
        if not keys.is_name(name) or len(name) > _MAX_NAME_CHARACTERS or name == _MANIFEST:
            raise InvalidInput(f"{quote(name)} cannot be the name of a file in an archive of a model.")
    if len(names) > _MAX_FILES:
        raise InvalidInput(f"the model has {len(names)} files; an archive has at most {_MAX_FILES}.")
    return names


def write_archive(manifest: ArchiveManifest, contents: Iterable[bytes]) -> Iterator[bytes]:
    """The parts of an archive, one after the other.

    Args:
        manifest: its manifest.
        contents: the bytes of its members, in the order of `member_names`.
    """
    data = _manifest_bytes(manifest)
    yield _header(_MANIFEST, len(data)) + data + _padding(len(data))
    for name, content in zip(member_names(manifest.files), contents, strict=True):
        yield _header(name, len(content))
        yield content
        yield _padding(len(content))
    yield _END


def archive_size(manifest: ArchiveManifest) -> int:
    """The size in bytes of the archive with this manifest."""
    sizes = [len(_manifest_bytes(manifest)), *(listed.size for listed in manifest.files.values())]
    return sum(_BLOCK + size + len(_padding(size)) for size in sizes) + len(_END)


def verify_archive(file: BinaryIO, source: str) -> VerifiedArchive:
    """Read an archive from its beginning to its end, and check its form, its sizes and its hashes.

    `source` names the archive in messages.

    Raises:
        InvalidInput: it is not an archive of a model, or it is damaged.
    """
    manifest = _read_manifest(file, source)
    starts, card = {}, b""
    try:
        names = member_names(manifest.files)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error} {_MAKE_ANOTHER}") from None
    for name in names:
        listed = manifest.files.get(name)
        if listed is None or (name == CARD and listed.size > MAX_JSON_BYTES):
            raise InvalidInput(f"{source}: the manifest has no usable entry for {name}. {_MAKE_ANOTHER}")
        if _read(file, _BLOCK, source) != _header(name, listed.size):
            raise InvalidInput(
                f"{source}: {name} is not where it should be, or not as large as the manifest says. {_MAKE_ANOTHER}"
            )
        starts[name] = file.tell()
        digest, kept = hashlib.sha256(), bytearray()
        for chunk in _chunks(file, listed.size, source):
            digest.update(chunk)
            if name == CARD:
                kept += chunk
        if digest.hexdigest() != listed.sha256:
            raise InvalidInput(f"{source}: {name} is damaged: its sha256 is not that of the manifest. Copy it again.")
        if name == CARD:
            card = bytes(kept)
        _read_padding(file, listed.size, source)
    if _read(file, len(_END), source) != _END or file.read(1):
        raise InvalidInput(f"{source}: there is something after the last file. {_MAKE_ANOTHER}")
    return VerifiedArchive(manifest, card, starts)


def read_verified(file: BinaryIO, archive: VerifiedArchive, name: str, source: str) -> bytes:
    """Read one file of a verified archive.

    Raises:
        InvalidInput: the archive was changed since it was verified.
    """
    listed = archive.manifest.files[name]
    file.seek(archive.starts[name])
    data = b"".join(_chunks(file, listed.size, source))
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise InvalidInput(f"{source}: was changed while it was read. Try again.")
    return data


def _read_manifest(file: BinaryIO, source: str) -> ArchiveManifest:
    block = file.read(_BLOCK)
    # The size has eleven octal digits. The header is compared with the one that has this size.
    digits = block[124:135]
    size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
    if not 0 <= size <= _MAX_MANIFEST_BYTES or block != _header(_MANIFEST, size):
        kind = _COMPRESSED.get(block[:2])
        found = f"It is compressed ({kind}). " if kind else ""
        raise InvalidInput(f"{source}: is not an archive of a model. {found}{_MAKE_ANOTHER}")
    data = _read(file, size, source)
    _read_padding(file, size, source)
    try:
        manifest = ArchiveManifest.model_validate_json(data)
    except ValidationError as error:
        raise InvalidInput(
            f"{source}: the manifest cannot be used ({describe_first_fault(error)}). {_MAKE_ANOTHER}"
        ) from error
    if manifest.schema_version != ARCHIVE_SCHEMA:
        raise InvalidInput(
            f"{source}: has schema {quote(manifest.schema_version)}, and this version of Signet reads "
            f"{quote(ARCHIVE_SCHEMA)}. Use the version of Signet that made it."
        )
    return manifest


def _manifest_bytes(manifest: ArchiveManifest) -> bytes:
    return manifest.model_dump_json(by_alias=True, indent=1).encode()


def _header(name: str, size: int) -> bytes:
    """The tar header of a member."""
    member = tarfile.TarInfo(f"{_FOLDER}{name}")
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _read_padding(file: BinaryIO, size: int, source: str) -> None:
    padding = _padding(size)
    if _read(file, len(padding), source) != padding:
        raise InvalidInput(f"{source}: there is something between the files. {_MAKE_ANOTHER}")


def _chunks(file: BinaryIO, size: int, source: str) -> Iterator[bytes]:
    while size:
        chunk = _read(file, min(size, _CHUNK_BYTES), source)
        size -= len(chunk)
        yield chunk


def _read(file: BinaryIO, size: int, source: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise InvalidInput(f"{source}: ends too early: it is not complete. Copy it again.")
    return data
