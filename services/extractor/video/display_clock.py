"""Gives the pictures of a video their display times, also where the video says none or wrong ones."""

from typing import Any

from services.extractor.video.container import AVI
from services.extractor.video.tracks import MIN_STEP_SECONDS


class DisplayClock:
    """Gives each picture its display time in seconds since the first picture; strictly increasing."""

    def __init__(self, container: str) -> None:
        # AVI stores no display times. FFmpeg's guesses are wrong where pictures are decoded in another order.
        self._attribute = "dts" if container == AVI else "pts"
        self._offset = 0.0
        self._before: float | None = None

    def seconds(self, picture: Any, fps: float) -> float:
        """The time of the next picture; `fps` is the nominal rate of the video."""
        ticks = getattr(picture, self._attribute)
        moment = None if ticks is None else float(ticks * picture.time_base)
        if self._before is None:
            self._offset, seconds = moment or 0.0, 0.0
        elif moment is not None and moment - self._offset >= self._before + MIN_STEP_SECONDS:
            seconds = moment - self._offset
        else:  # A missing or backward timestamp: advance by one nominal step until the clock is ahead again.
            seconds = self._before + 1 / fps
        self._before = seconds
        return seconds
