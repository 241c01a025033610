"""Decides which clips of calls get a worker, so that long clips do not keep the others from being answered.

Clips wait for a worker in the order in which they came. A worker that opens a clip tells how much work it is. While
no other clip waits, long clips may use all workers. If another clip waits, the long ones keep half of the workers, and
the youngest of them is stopped and waits until a worker is free.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from services.extractor.jobs.board import JobBoard, Progress
from services.extractor.tracking.trackers import TrackingQuality
from signet.errors import Busy

# For each worker, so many clips of calls may wait in addition to the one that it works on. Long clips are counted
# apart.
_WAITING_CALLS = 4
# A clip of more bytes is large. Clips of signs have 2 MB at most; a phone records so much in some seconds.
LARGE_BYTES = 4 * 1024 * 1024
# A caller that is refused should wait so long: a clip of a sign takes a few seconds, a long one up to minutes.
_RETRY_SECONDS, _LONG_RETRY_SECONDS = 5, 60

# A clip with more work than this is long. The longest clips of WLASL take about 10 s.
_LONG_SECONDS = 10.0
# The work of one core for a frame that is tracked, by quality, and for the decoding and the conversion of each million
# pixels of any frame.
_TRACKING_SECONDS = {TrackingQuality.FAST: 0.03, TrackingQuality.FULL: 0.05}
_MEGAPIXEL_SECONDS = 0.008
# A clip that tells less work than it is becomes long after this time, with the time to load MediaPipe.
_LONG_ELAPSED_SECONDS = 20.0
# Or when it takes so long to open it, or to decode a packet and track its frame. Real clips take 0.3 s at most.
SILENT_SECONDS = 2.0

# A long clip is stopped once; then it waits for one of the workers for long clips. If there is only one worker, a long
# clip is stopped for each clip that waits, but is given up after so many times.
_MOST_STOPS = 1
_MOST_STOPS_OF_ONE_WORKER = 3


@dataclass(eq=False)
class Call:
    """The clip of a call.

    Attributes:
        size: the bytes of the clip.
        quality: the quality of its landmarks.
        place: the place of its job on the board.
        future: the result of its job; None while it waits in this process.
        long: whether it is a long clip.
        stops: how often it was stopped for other clips.
        stopping: whether its job was told to stop for another clip.
        watch: gets the progress of the job several times a second; None reports no progress.
    """

    size: int = 0
    quality: TrackingQuality = TrackingQuality.FAST
    place: int = 0
    future: "Future[Any] | None" = None
    long: bool = False
    stops: int = 0
    stopping: bool = False
    watch: "Callable[[Progress], None] | None" = None

    def report(self, board: JobBoard) -> None:
        """Tell the caller how far its job is, if it wants to know."""
        if self.watch is not None:
            self.watch(board.progress(self.place))

    @property
    def waits_for_worker(self) -> bool:
        """Whether its job was scheduled, but no worker has taken it."""
        return self.future is not None and not self.future.running() and not self.future.done()

    @property
    def can_be_stopped(self) -> bool:
        """Whether it is a long clip with a worker."""
        return self.long and not self.stopping and self.future is not None and self.future.running()


class CallQueue:
    """The clips of the calls that are under way.

    Args:
        workers: the number of workers.
        board: the board of their jobs.
        most_bytes: all large clips together may have so many bytes; one alone may have more.
    """

    def __init__(self, workers: int, board: JobBoard, most_bytes: int) -> None:
        self._workers = workers
        self._board = board
        self._most_bytes = most_bytes
        self._calls: list[Call] = []
        # The workers that long clips keep if others wait.
        self._share = workers // 2

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, size: int, quality: TrackingQuality = TrackingQuality.FAST) -> Call:
        """Accept a clip of so many bytes, whose landmarks shall have this quality.

        Raises:
            Busy: too many clips are under way.
        """
        self.check_room(size)
        call = Call(size, quality)
        self._calls.append(call)
        return call

    def check_room(self, size: int) -> None:
        """Check that a clip of so many bytes would be accepted.

        Raises:
            Busy: too many clips are under way.
        """
        short = sum(not call.long for call in self._calls)
        if short >= self._workers * (1 + _WAITING_CALLS):
            raise Busy(
                f"the extractor works on {self._workers} clips, and {short - self._workers} wait. "
                f"Retry in {_RETRY_SECONDS} s.",
                _RETRY_SECONDS,
            )
        held = sum(call.size for call in self._calls if call.size > LARGE_BYTES)
        if size > LARGE_BYTES and held and held + size > self._most_bytes:
            raise Busy(
                f"the large clips that are under way have {held} bytes; with this one they would have more than "
                f"{self._most_bytes}. Retry in {_RETRY_SECONDS} s, or make the clip smaller than {LARGE_BYTES} bytes.",
                _RETRY_SECONDS,
            )

    def remove(self, call: Call) -> None:
        """Forget a clip that has ended."""
        self._calls.remove(call)

    def may_start(self, call: Call) -> bool:
        """Whether the job of a clip may be scheduled. Only long clips that were stopped wait in this process."""
        if not call.long:
            return True
        scheduled = [other for other in self._calls if other.future is not None]
        shared = sum(other.long for other in scheduled) < self._share
        most_stops = _MOST_STOPS if self._share else _MOST_STOPS_OF_ONE_WORKER + 1
        free = len(scheduled) < self._workers
        waiting = (other for other in self._calls if other.long and other.future is None)
        return next((other for other in waiting if shared or (free and other.stops < most_stops)), None) is call

    def check_work(self, call: Call) -> None:
        """Note whether a clip that a worker has opened is long.

        Raises:
            Busy: too many long clips are under way.
        """
        if call.long or call.future is None:
            return
        opened = self._board.size(call.place)
        work = opened.tracked * _TRACKING_SECONDS[call.quality]
        work += opened.frames * _MEGAPIXEL_SECONDS * opened.pixels / 1e6
        slow = self._board.running_seconds(call.place) > _LONG_ELAPSED_SECONDS
        if work <= _LONG_SECONDS and not slow and self._board.silent_seconds(call.place) <= SILENT_SECONDS:
            return
        long = sum(other.long for other in self._calls)
        if long >= self._workers * (1 + _WAITING_CALLS):
            raise Busy(
                f"the extractor has {long} other clips of more than {_LONG_SECONDS:.0f} s of work. Retry in "
                f"{_LONG_RETRY_SECONDS} s, or cut the clip to the sign.",
                _LONG_RETRY_SECONDS,
            )
        call.long = True

    def make_room(self, all_busy: bool, stop: Callable[[Call], None]) -> None:
        """Stop long clips, if others wait because all workers are busy."""
        waiting = sum(call.waits_for_worker and not call.long for call in self._calls)
        waiting -= sum(call.stopping for call in self._calls)
        if not all_busy or waiting <= 0:
            return
        running = [call for call in self._calls if call.can_be_stopped]
        running.sort(key=lambda call: self._board.running_seconds(call.place))
        for call in running[: min(waiting, max(0, len(running) - self._share))]:
            call.stopping = True
            stop(call)

    def stopped(self, call: Call) -> None:
        """Let a clip that was stopped for another one wait.

        Raises:
            Busy: it was stopped too often.
        """
        call.future, call.stopping = None, False
        call.stops += 1
        if not self._share and call.stops > _MOST_STOPS_OF_ONE_WORKER:
            raise Busy(
                f"the extractor's one worker was needed for other clips {call.stops} times. Retry in "
                f"{_LONG_RETRY_SECONDS} s, or cut the clip to the sign.",
                _LONG_RETRY_SECONDS,
            )
