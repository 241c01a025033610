"""When frames arrived, to measure how late events are."""

from bisect import bisect_left
from collections import deque

# Frames whose arrival is known: 30 s of a camera. A sign is final sooner.
_MOST = 900
# If a frame is older than the one before by more, a clock was set. Otherwise one wrong time would end the measurement.
_MAX_STEP_BACK_SECONDS = 2.0


class FrameArrivals:
    """The arrival of the newest frames of a stream. Times of frames that go back a little are left out."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_MOST)
        self._arrived: deque[float] = deque(maxlen=_MOST)

    def add(self, seconds: float, arrived: float) -> None:
        """Note that the frame with this time arrived now (monotonic seconds)."""
        if self._seconds and seconds < self._seconds[-1] - _MAX_STEP_BACK_SECONDS:
            self._seconds.clear()
            self._arrived.clear()
        if not self._seconds or seconds > self._seconds[-1]:
            self._seconds.append(seconds)
            self._arrived.append(arrived)

    def latency(self, seconds: float, now: float) -> float | None:
        """The seconds since the first frame at this time or later arrived; None if that is not known."""
        if not self._seconds or not self._seconds[0] <= seconds <= self._seconds[-1]:
            return None
        return now - self._arrived[bisect_left(self._seconds, seconds)]
