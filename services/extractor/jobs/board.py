"""Memory that the pool shares with its workers: how far each job is, and which jobs must stop."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from signet.errors import SignetError

# More than the jobs that can wait or run at the same time. The places are used in turn.
_PLACES = 16_384

Item = TypeVar("Item")


class JobStopped(SignetError):
    """The pool stopped a job because its caller no longer waits for the result."""

    code = "UNAVAILABLE"


@dataclass(frozen=True)
class Progress:
    """How far a job is: the frames that are done in these seconds, and all frames; 0 if their number is not known."""

    done: int
    total: int
    seconds: float

    @property
    def needed_seconds(self) -> float:
        """The seconds that all frames need at this speed; 0 if that is not known."""
        return self.seconds * self.total / self.done if self.done else 0.0

    def __str__(self) -> str:
        if not self.done:
            return "its first frame was not done"
        if not self.total:
            return f"{self.done} frames were done"
        return (
            f"{self.done} of {self.total} frames were done in {self.seconds:.0f} s, so that all need about "
            f"{self.needed_seconds:.0f} s"
        )


@dataclass(frozen=True)
class VideoSize:
    """What a worker found in a video before it decoded it; 0 if it is not known.

    Attributes:
        frames: the frames to decode.
        pixels: the pixels of a frame.
        tracked: how many of the frames are tracked.
    """

    frames: int
    pixels: int
    tracked: int


class JobBoard:
    """One place for each job. Only the pool adds and stops jobs, and only a job's worker counts its frames."""

    def __init__(self, processes: Any) -> None:
        self._done = processes.RawArray("q", _PLACES)
        self._total = processes.RawArray("q", _PLACES)
        self._pixels = processes.RawArray("q", _PLACES)
        self._tracked = processes.RawArray("q", _PLACES)
        # When the job and its first frame were begun, by the monotonic clock, which all processes of a machine share.
        self._started = processes.RawArray("d", _PLACES)
        self._began = processes.RawArray("d", _PLACES)
        # When the job of a video last showed that it goes on; 0 for other jobs.
        self._alive = processes.RawArray("d", _PLACES)
        self._stopped = processes.RawArray("b", _PLACES)
        self._numbers: Iterator[int] | None = itertools.count()

    def __getstate__(self) -> dict[str, Any]:
        """Workers get the memory only."""
        return {**self.__dict__, "_numbers": None}

    def add(self) -> int:
        """Give a new job its place."""
        assert self._numbers is not None  # noqa: S101  (only the pool adds jobs)
        place = next(self._numbers) % _PLACES
        self._done[place] = self._total[place] = self._pixels[place] = self._tracked[place] = self._stopped[place] = 0
        self._started[place] = self._began[place] = self._alive[place] = 0.0
        return place

    def stop(self, place: int) -> None:
        """Let the worker end the job before its next frame."""
        self._stopped[place] = 1

    def progress(self, place: int) -> Progress:
        """How far a job is."""
        seconds = time.monotonic() - self._began[place] if self._done[place] else 0.0
        return Progress(self._done[place], self._total[place], seconds)

    def size(self, place: int) -> VideoSize:
        """The size of the job's video."""
        return VideoSize(self._total[place], self._pixels[place], self._tracked[place])

    def running_seconds(self, place: int) -> float:
        """The seconds since a worker began the job; 0 while it waits."""
        return time.monotonic() - self._started[place] if self._started[place] else 0.0

    def silent_seconds(self, place: int) -> float:
        """The seconds since the job of a video opened it, or began with its last packet; 0 if it has not opened it."""
        return time.monotonic() - self._alive[place] if self._alive[place] else 0.0

    def start(self, place: int) -> None:
        """Note that a worker begins the job."""
        self._started[place] = time.monotonic()

    def open(self, place: int) -> None:
        """Note that the worker opens the job's video."""
        self._alive[place] = time.monotonic()

    def check(self, place: int) -> None:
        """Raise `JobStopped` if the job must stop."""
        if self._stopped[place]:
            raise JobStopped("the caller no longer waits for this clip.")

    def note_packet(self, place: int, size: VideoSize) -> None:
        """Note that the worker decodes the next packet of the job's video, and the size of the video.

        Raises:
            JobStopped: the job must stop.
        """
        self._total[place], self._pixels[place], self._tracked[place] = size.frames, size.pixels, size.tracked
        self._alive[place] = time.monotonic()
        self.check(place)

    def count(self, place: int, frames: Iterable[Item], decoded: Callable[[], int] | None = None) -> Iterator[Item]:
        """Give these frames one after the other, and count those that are done.

        `decoded` tells how many frames of the video are decoded, if not all of them are given.

        Raises:
            JobStopped: the job must stop.
        """
        for given, frame in enumerate(frames, start=1):
            self._began[place] = self._began[place] or time.monotonic()
            self.check(place)
            reached = decoded() if decoded else given
            yield frame
            self._done[place] = reached
