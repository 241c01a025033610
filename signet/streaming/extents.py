"""Start and end of a sign's movement.

A model emits a sign in a few frames. The movement is longer: it begins where a hand is raised or leaves the sign
before, and ends where the hands rest or go on to the next sign.
"""

import numpy as np
import numpy.typing as npt

from signet.landmarks.body import Frames, find_body, wrist_positions

# A movement begins at most so many frames before the emission, and ends at most so many frames after it.
MOST_BEFORE, MOST_AFTER = 10, 12
# The wrist is at rest if it is lower than this, in shoulder widths below the shoulders.
_REST_HEIGHT = 1.0


def raised_hands(frames: Frames) -> npt.NDArray[np.bool_]:
    """In which frames of a window a wrist is above the rest height: bool [T]."""
    heights = wrist_positions(frames, find_body(frames))[..., 1]
    with np.errstate(invalid="ignore"):
        return np.asarray((heights < _REST_HEIGHT).any(axis=1))


def movement_extent(
    raised: npt.NDArray[np.bool_], first: int, last: int, earliest: int, latest: int
) -> tuple[int, int]:
    """The frames [start, end] of the movement of a sign that is emitted from `first` to `last`.

    Args:
        raised: in which frames a hand is raised.
        first: the first frame in which the sign is emitted.
        last: the last one.
        earliest: no movement begins earlier: where the sign before ends.
        latest: no movement ends later: where the next sign begins, or the newest frame.
    """
    start, end = first, last
    while start > max(earliest, first - MOST_BEFORE, 0) and raised[start - 1]:
        start -= 1
    while end < min(latest, last + MOST_AFTER, len(raised) - 1) and raised[end + 1]:
        end += 1
    return start, end


def is_over(raised: npt.NDArray[np.bool_], last: int) -> bool:
    """Whether the movement of a sign that was emitted until frame `last` is seen to end."""
    after = raised[last + 1 : last + 1 + MOST_AFTER]
    return len(after) == MOST_AFTER or not after.all()
