"""Where everything is kept: one bucket on any S3 endpoint, or one directory, chosen by URL."""

from signet.store.base import ObjectInfo, ObjectStore
from signet.store.directory import DirectoryStore
from signet.store.open import StoreSettings, open_store
from signet.store.s3 import S3Store

__all__ = ["DirectoryStore", "ObjectInfo", "ObjectStore", "S3Store", "StoreSettings", "open_store"]
