"""`python -m signet.store`: wait for the store, make its bucket, and prove that conditional writes work."""

import logging
import secrets
import time
from datetime import UTC, datetime

from signet.errors import AlreadyExists, Conflict, SignetError, Unavailable
from signet.store import ObjectStore, StoreSettings, open_store
from signet.store.settings import read_store_settings
from signet.terminal.logs import set_up_logging

_log = logging.getLogger("signet.store")

# A server that is started at the same time needs a few seconds, and more on a busy machine.
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


def wait_for_store(settings: StoreSettings, seconds: float) -> ObjectStore:
    """Connect to the store, and make its bucket if it is missing.

    Raises:
        Unavailable: the store does not answer, or refuses, for `seconds`.
    """
    deadline = time.monotonic() + seconds
    last_message = ""
    while True:
        try:
            store = open_store(settings)
            _prove(store)
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != last_message:
                last_message = str(error)
                _log.info("waiting: %s", last_message)
            time.sleep(_PAUSE_SECONDS)
        else:
            return store


def _prove(store: ObjectStore) -> None:
    """Check that the store respects the conditions of writes. Without them, a move of an alias could be lost.

    Raises:
        SignetError: the store ignores a condition.
    """
    key = f"probe/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    store.create(key, b"1")
    try:
        _, etag = store.get_versioned(key)
        try:
            store.create(key, b"2")
        except AlreadyExists:
            pass
        else:
            raise SignetError(f"{store.url}: ignores If-None-Match. Signet needs a store with conditional writes.")
        store.replace(key, b"3", etag)
        try:
            store.replace(key, b"4", etag)
        except Conflict:
            pass
        else:
            raise SignetError(f"{store.url}: ignores If-Match. Signet needs a store with conditional writes.")
    finally:
        store.delete(key)


def main() -> None:
    """Wait for the store and log one line; exit status 1 if it cannot be used."""
    set_up_logging("INFO", "%(message)s")
    try:
        store = wait_for_store(read_store_settings(), _WAIT_SECONDS)
    except SignetError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    _log.info("%s is ready", store.url)


if __name__ == "__main__":
    main()
