"""Objects that do not belong where they are in the store, and objects that are too large to be what they should be.

A listing skips such an object, and this process logs it once. Everything else in the listing is used.
"""

import logging

from signet.errors import DataLoss
from signet.store.base import ObjectStore

_log = logging.getLogger(__name__)

# More objects than this are not named in the log.
_MOST_LOGGED = 1000

# The largest JSON object that is read: a report on all clips of WLASL has less than 10 MiB.
MAX_JSON_BYTES = 64 << 20

# Objects in this process's log, by their URL.
_logged: set[str] = set()


def log_skipped_object(store: ObjectStore, key: str, reason: str, name: str = "") -> None:
    """Log that an object is skipped, unless this process has logged it before. `name` stands for its URL in the log."""
    url = f"{store.url}/{key}"
    if url in _logged or len(_logged) > _MOST_LOGGED:
        return
    _logged.add(url)
    if len(_logged) > _MOST_LOGGED:
        _log.warning("%s: more than %d objects are skipped; no more of them are logged", store.url, _MOST_LOGGED)
    else:
        _log.warning("%s is skipped: %s", name or url, reason)


def read_limited(store: ObjectStore, key: str, limit: int = MAX_JSON_BYTES) -> bytes:
    """Read an object that cannot be larger than `limit` bytes.

    Raises:
        NotFound: there is no such object.
        DataLoss: it is larger.
    """
    data = store.get_head(key, limit + 1)
    if len(data) > limit:
        raise DataLoss(f"{store.url}/{key}: has more than {limit} bytes, so Signet did not write it. Delete it.")
    return data
