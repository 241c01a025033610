"""The --store option of every command line."""

from typing import Annotated

import typer

from signet.store.base import ObjectStore
from signet.store.open import open_store
from signet.store.settings import DEFAULT_STORE, STORE_HELP, read_store_settings

StoreOption = Annotated[
    str, typer.Option("--store", envvar="SIGNET_STORE", help=STORE_HELP, show_default=DEFAULT_STORE)
]


def open_store_option(store: str, *, must_exist: bool = False, writable: bool = False) -> ObjectStore:
    """Connect to the store that --store names; without the option, to the one of the environment.

    `must_exist` and `writable` are those of `open_store`.

    Raises:
        InvalidSetting: Signet does not know this kind of URL, or the credentials are missing.
        NotFound: there is no store, and it must exist.
        Unavailable: the store cannot be used; the message says why.
    """
    return open_store(read_store_settings(store), must_exist=must_exist, writable=writable)
