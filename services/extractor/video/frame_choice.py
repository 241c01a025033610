"""Chooses the frames of a video that are tracked, by their times."""

import math

# Times of frames are rounded. A frame that is half a step before an even time is near enough to it.
_TOLERANCE = 1e-3


class FrameChoice:
    """Chooses the frames of a video that are nearest to even times.

    Args:
        rate: the number of even times in a second; 0 chooses all frames.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = 0

    def is_due(self, seconds: float, step: float) -> bool:
        """Whether the next frame is chosen.

        Args:
            seconds: the time of the frame since the first one.
            step: the time to the frame after it.
        """
        if not self._rate:
            return True
        reached = math.floor((seconds + step / 2) * self._rate + _TOLERANCE)
        if reached < self._due:
            return False
        self._due = reached + 1
        return True
