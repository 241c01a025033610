"""Memory that the pool shares with its workers: how far each job is, and which jobs must stop."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from signet.errors import SignetError

# More than the jobs that can wait or run at the same time. The places are used in turn.
_PLACES = 16_384

Item = TypeVar("Item")


class JobStopped(SignetError):
    """The pool stopped a job because its caller no longer waits for the result."""

    code = "UNAVAILABLE"


class JobBoard:
    """One place for each job. Only the pool adds and stops jobs, and only a job's worker counts its frames."""

    def __init__(self, processes: Any) -> None:
        self._done = processes.RawArray("q", _PLACES)
        self._total = processes.RawArray("q", _PLACES)
        self._stopped = processes.RawArray("b", _PLACES)
        self._numbers: Iterator[int] | None = itertools.count()

    def __getstate__(self) -> dict[str, Any]:
        """Workers get the memory only."""
        return {**self.__dict__, "_numbers": None}

    def add(self) -> int:
        """Give a new job its place."""
        assert self._numbers is not None  # noqa: S101  (only the pool adds jobs)
        place = next(self._numbers) % _PLACES
        self._done[place] = self._total[place] = self._stopped[place] = 0
        return place

    def stop(self, place: int) -> None:
        """Let the worker end the job before its next frame."""
        self._stopped[place] = 1

    def progress(self, place: int) -> str:
        """How far a job is, in words; "" before its first frame is done."""
        done, total = self._done[place], self._total[place]
        if not done:
            return ""
        return f"{done} of {total} frames were done" if total else f"{done} frames were done"

    def check(self, place: int) -> None:
        """Raise `JobStopped` if the job must stop."""
        if self._stopped[place]:
            raise JobStopped("the caller no longer waits for this clip.")

    def count(self, place: int, frames: Iterable[Item], total: Callable[[], int]) -> Iterator[Item]:
        """Give these frames one after the other, and count those that are done. `total` is asked at the first frame.

        Raises:
            JobStopped: the job must stop.
        """
        for frame in frames:
            if not self._total[place]:
                self._total[place] = total()
            self.check(place)
            yield frame
            self._done[place] += 1
