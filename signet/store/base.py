"""What Signet asks of a store. Only what plain S3 can do: no notifications, no renames, no appends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from signet.store.cache import Cache


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object, without its bytes.

    Attributes:
        key: its name.
        size: bytes.
        etag: changes whenever the bytes change.
    """

    key: str
    size: int
    etag: str


class ObjectStore(Protocol):
    """Objects by key. Every write is whole or absent; nobody reads half of one.

    Each method raises `signet.errors.Unavailable` if the store cannot be reached.
    """

    url: str
    # What this machine keeps of the store.
    cache: Cache

    def get(self, key: str) -> bytes:
        """The whole object. Raises `NotFound`."""
        ...

    def get_head(self, key: str, length: int) -> bytes:
        """The object's first bytes, at most `length`. Raises `NotFound`."""
        ...

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        """The whole object as a memory map of a file on this machine, its sha256 checked: for large, immutable ones.

        Raises `NotFound`, and `DataLoss` if it is not what its sha256 says.
        """
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """The whole object and the etag that `replace` wants. Raises `NotFound`."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write, whatever was there."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Write if nothing is there (`If-None-Match: *`). Raises `AlreadyExists`: of many writers, one wins."""
        ...

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """Write if the object still has this etag (`If-Match`). Raises `Conflict`."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """What is there, or None."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in the order of their keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove; nothing there is no error."""
        ...
