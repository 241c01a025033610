"""The store of all objects: a bucket on any S3 endpoint, or a directory, chosen by URL."""

from signet.store.base import ObjectInfo, ObjectStore
from signet.store.directory import DirectoryStore
from signet.store.open import open_store
from signet.store.settings import StoreSettings

__all__ = ["DirectoryStore", "ObjectInfo", "ObjectStore", "StoreSettings", "open_store"]
