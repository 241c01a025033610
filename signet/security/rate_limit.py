"""Rate limits: a token bucket for each name."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    """The calls that are allowed now, and the time for which they were counted."""

    level: float
    counted: float


class RateLimiter:
    """Limits calls by name. A bucket refills at the rate, up to its capacity, and each call takes 1 out of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, rate: float, capacity: float) -> float:
        """Count a call, and return 0; if it is too many, count nothing and return the seconds until it is allowed."""
        now = self._clock()
        bucket = self._buckets.setdefault(name, _Bucket(capacity, now))
        bucket.level = min(capacity, bucket.level + rate * (now - bucket.counted))
        bucket.counted = now
        if bucket.level >= 1:
            bucket.level -= 1
            return 0.0
        return (1 - bucket.level) / rate

    def forget_all_but(self, names: set[str]) -> None:
        """Remove the buckets of names that do not exist any more."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in names}
