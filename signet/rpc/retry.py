"""When to retry a refused call: servers send it in the metadata that gRPC's own retries read."""

import math
from collections.abc import Iterable

from signet.errors import SignetError

# A number of milliseconds, as gRPC defines it (proposal A6, "Pushback"). Clients with a retry policy obey it.
RETRY_KEY = "grpc-retry-pushback-ms"

Metadata = Iterable[tuple[str, str | bytes]]


def retry_metadata(error: SignetError) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that tell when to retry a call that ended with this error."""
    seconds: float | None = getattr(error, "retry_seconds", None)
    return () if seconds is None else ((RETRY_KEY, str(math.ceil(1000 * seconds))),)


def read_retry_seconds(metadata: Metadata | None) -> float | None:
    """The seconds after which a refused call should be sent again; None if its trailing metadata do not say it."""
    for key, value in metadata or ():
        if key == RETRY_KEY and isinstance(value, str) and value.isdecimal():
            return int(value) / 1000
    return None
