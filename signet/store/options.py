"""The --store option of every command line."""

from typing import Annotated

import typer

from signet.store.base import ObjectStore
from signet.store.open import DEFAULT_STORE, STORE_HELP, StoreSettings, open_store

StoreOption = Annotated[
    str, typer.Option("--store", envvar="SIGNET_STORE", help=STORE_HELP, show_default=DEFAULT_STORE)
]


def open_store_option(store: str) -> ObjectStore:
    """Connect to the store that --store names; without the option, to the one of the environment.

    Raises:
        InvalidSetting: Signet does not know this kind of URL, or the credentials are missing.
        Unavailable: the store cannot be reached.
    """
    return open_store(StoreSettings(store=store) if store else StoreSettings())
