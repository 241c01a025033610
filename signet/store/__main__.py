"""`python -m signet.store`: wait for the store, make its bucket, and prove that it keeps what Signet relies on."""

import logging
import secrets
import sys
import time
from datetime import UTC, datetime

from signet.errors import AlreadyExists, Conflict, SignetError, Unavailable
from signet.store import ObjectStore, StoreSettings, open_store

_log = logging.getLogger("signet.store")

# A server that was started at the same moment takes a few seconds, and more on a busy machine.
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


def wait_for_store(settings: StoreSettings, seconds: float) -> ObjectStore:
    """A connection to the store; its bucket is made if it is not there.

    Raises:
        Unavailable: it does not answer, or refuses, for so many seconds.
    """
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            store = open_store(settings)
            _prove(store)
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:
                said = str(error)
                _log.info("waiting: %s", said)
            time.sleep(_PAUSE_SECONDS)
        else:
            return store


def _prove(store: ObjectStore) -> None:
    """Write, read, and see that preconditions are kept: without them an alias could lose a move.

    Raises:
        SignetError: the store does not keep them.
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
    """Wait, prove, and say so in one line; exit status 1 if that cannot be."""
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    try:
        store = wait_for_store(StoreSettings(), _WAIT_SECONDS)
    except SignetError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    _log.info("%s is ready", store.url)


if __name__ == "__main__":
    main()
