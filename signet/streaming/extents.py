"""Start and end of a sign's movement.

A model emits a sign in a few frames. The movement is longer: it begins where a hand is raised or leaves the sign
before, and ends where the hands rest or go on to the next sign.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks.body import Frames, find_body, wrist_positions

# A movement begins at most so many frames before the emission, and ends at most so many frames after it.
MOST_BEFORE, MOST_AFTER = 10, 12
# Between two signs the hands move fast. This moment lies in this part of the time between the two emissions: a model
# emits a sign about a third into its movement. docs/experiments.md has the measurement.
_EARLIEST_SHARE, _LATEST_SHARE = 0.45, 0.85
# While the next sign is not known, the moment is looked for in these frames after the emission.
_EARLIEST_END = 5
# The wrist is at rest if it is lower than this, in shoulder widths below the shoulders.
_REST_HEIGHT = 1.0


@dataclass(frozen=True, eq=False)
class HandMotion:
    """How the hands move in some frames."""

    raised: npt.NDArray[np.bool_]  # [T], whether a wrist is above the rest height
    speed: npt.NDArray[np.float64]  # [T], of the faster wrist since the frame before, in shoulder widths a frame

    @classmethod
    def measure(cls, frames: Frames) -> "HandMotion":
        """The motion in frames [T, 75, 3]."""
        wrists = wrist_positions(frames, find_body(frames))
        with np.errstate(invalid="ignore"):
            raised = (wrists[..., 1] < _REST_HEIGHT).any(axis=1)
        steps = np.diff(wrists, axis=0, prepend=wrists[:1])
        return cls(raised, np.nan_to_num(np.hypot(steps[..., 0], steps[..., 1])).max(axis=1))


@dataclass(frozen=True)
class Movement:
    """The frames of a movement, from `start` to `end` inclusive."""

    start: int
    end: int
    is_over: bool  # no later frame changes the end


def find_movement(
    motion: HandMotion, first: int, last: int, *, before: int | None = None, after: int | None = None
) -> Movement:
    """The movement of a sign that is emitted from frame `first` to `last`.

    Args:
        motion: of all frames that are known.
        first: the first frame in which the sign is emitted.
        last: the last one.
        before: the last frame in which the sign before is emitted; None if it is long ago.
        after: the first frame in which the next sign is emitted; None if it is not known.
    """
    raised = motion.raised
    newest = len(raised) - 1
    earliest = max(0, first - MOST_BEFORE)
    if before is not None:
        earliest = max(earliest, _find_change(motion, before, first))
    latest = min(newest, last + MOST_AFTER)
    if after is not None:
        latest = min(latest, max(last, _find_change(motion, last, after) - 1))
    elif newest >= last + MOST_AFTER and raised[last : last + MOST_AFTER + 1].all():
        latest = last + _EARLIEST_END + int(np.argmax(motion.speed[last + _EARLIEST_END : last + MOST_AFTER + 1]))
    start, end = first, last
    while start > earliest and raised[start - 1]:
        start -= 1
    while end < latest and raised[end + 1]:
        end += 1
    is_over = after is not None or end < min(newest, latest) or newest >= last + MOST_AFTER
    return Movement(start, end, is_over)


def _find_change(motion: HandMotion, before: int, after: int) -> int:
    """The frame between two emissions in which the hands go from one sign to the next."""
    gap = after - before
    low = min(before + max(1, round(_EARLIEST_SHARE * gap)), after)
    high = max(low, min(after, before + round(_LATEST_SHARE * gap)))
    return low + int(np.argmax(motion.speed[low : high + 1]))
