"""Decides which address is downloaded next, so that no host gets too many requests.

Each host has a number of downloads at a time, and a time between the starts of two. A host that asks to wait gets no
request until then. A host that fails several times in a row is given up until the next run.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from services.extractor.fetching.links import ClipLink

# A host is given up after so many failures in a row.
_MOST_FAILURES = 5


@dataclass(frozen=True)
class HostLimits:
    """How many downloads a host gets at a time, and the seconds between the starts of two."""

    at_a_time: int = 2
    interval_seconds: float = 0.5


@dataclass(eq=False)
class FetchTask:
    """A link to download.

    Attributes:
        stems: the names, without suffix, of the files to make.
        attempts: the attempts that were made in this run.
        earliest: not before this time of the monotonic clock.
        starts_anew: whether the complete file was bad after it had been downloaded in parts.
        broken: files of these instances that are no usable videos, which a good file replaces.
    """

    link: ClipLink
    stems: tuple[str, ...]
    attempts: int = 0
    earliest: float = 0.0
    starts_anew: bool = False
    broken: tuple[Path, ...] = ()


@dataclass(eq=False)
class _Host:
    limits: HostLimits
    waiting: deque[FetchTask] = field(default_factory=deque)
    active: int = 0
    earliest: float = 0.0
    failures: int = 0


class FetchSchedule:
    """The links that wait, by host. It may be used by several threads.

    Args:
        limits: the limits of each host.
        special: the limits of some hosts, by name.
    """

    def __init__(self, limits: HostLimits, special: dict[str, HostLimits]) -> None:
        self._limits = limits
        self._special = special
        self._hosts: dict[str, _Host] = {}
        self._changed = threading.Condition()
        self._stopped = False

    def add(self, task: FetchTask) -> None:
        """Let a link wait at the end of its host's queue."""
        with self._changed:
            name = task.link.host
            host = self._hosts.setdefault(name, _Host(self._special.get(name, self._limits)))
            host.waiting.append(task)
            self._changed.notify_all()

    def take(self) -> FetchTask | None:
        """Wait for a link that may be downloaded now; None if there will be none. Call `release` after the download."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                soonest: float | None = None
                for name, host in self._hosts.items():
                    if not host.waiting or host.active >= host.limits.at_a_time:
                        continue
                    # A link that must wait for its next attempt lets the others of its host go first.
                    task = min(host.waiting, key=lambda each: max(each.earliest - now, 0.0))
                    moment = max(host.earliest, task.earliest)
                    if moment <= now:
                        host.waiting.remove(task)
                        host.active += 1
                        host.earliest = now + host.limits.interval_seconds
                        self._hosts[name] = self._hosts.pop(name)  # the other hosts are asked first next time
                        return task
                    soonest = moment if soonest is None else min(soonest, moment)
                if not any(host.waiting or host.active for host in self._hosts.values()):
                    self._changed.notify_all()
                    return None
                self._changed.wait(None if soonest is None else soonest - now)
            return None

    def release(self, task: FetchTask) -> None:
        """End a link's turn. If it must be tried again, `add` it before."""
        with self._changed:
            self._hosts[task.link.host].active -= 1
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> None:
        """Send no request to a host for so many seconds."""
        with self._changed:
            self._hosts[host].earliest = max(self._hosts[host].earliest, time.monotonic() + seconds)

    def note_success(self, host: str) -> None:
        """Note that a host has answered as it should."""
        with self._changed:
            self._hosts[host].failures = 0

    def note_failure(self, host: str) -> list[FetchTask] | None:
        """Note that a host has failed.

        Returns:
            None; or, if it failed too often in a row, its links that wait. They are removed.
        """
        with self._changed:
            self._hosts[host].failures += 1
            return self._remove(host) if self._hosts[host].failures >= _MOST_FAILURES else None

    def give_up(self, host: str) -> list[FetchTask]:
        """Remove the links of a host that wait, and return them."""
        with self._changed:
            return self._remove(host)

    def stop(self) -> None:
        """Let `take` return None."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _remove(self, host: str) -> list[FetchTask]:
        tasks = list(self._hosts[host].waiting)
        self._hosts[host].waiting.clear()
        self._changed.notify_all()
        return tasks
