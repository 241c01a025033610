"""The interface of a store. It has only what plain S3 can do: no notifications, no renames, no appends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from signet.store.cache import Cache

if TYPE_CHECKING:
    from signet.security.signatures import ModelKeys


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object without its bytes."""

    key: str
    size: int  # in bytes
    etag: str  # changes whenever the bytes change


class ObjectStore(Protocol):
    """Objects by key. A write is complete or has no effect; no reader sees a part of it.

    Each method raises `signet.errors.Unavailable` if the store cannot be reached.
    """

    url: str
    # Copies and notes on this machine.
    cache: Cache
    # The keys that sign models here, and those that are trusted; None for a process without such keys.
    model_keys: "ModelKeys | None"

    def get(self, key: str) -> bytes:
        """The whole object. Raises `NotFound`."""
        ...

    def get_head(self, key: str, length: int) -> bytes:
        """The object's first bytes, at most `length`. Raises `NotFound`."""
        ...

    def get_head_versioned(self, key: str, length: int) -> tuple[bytes, str]:
        """The object's first bytes, at most `length`, and its etag. Raises `NotFound`."""
        ...

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        """The whole object as a memory map of a file on this machine: for large, immutable objects.

        Raises `NotFound`, and `DataLoss` if the object has another sha256.
        """
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """The whole object and its etag, for `replace`. Raises `NotFound`."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, and replace an older one."""
        ...

    def create(self, key: str, data: bytes) -> str:
        """Write if there is no such object (`If-None-Match: *`), and return the etag of the new object.

        Raises `AlreadyExists`. If several writers create the same object, one of them succeeds.
        """
        ...

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Write if the object still has this etag (`If-Match`), and return the new etag. Raises `Conflict`."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's size and etag; None if there is no such object."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, sorted by key."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object. A missing object is no error."""
        ...
