"""From the frames of a camera to the frames of a model: an incremental `to_model_input`.

Frames carry their own times, on any clock that counts seconds. They may come at any rate, late, twice, slightly out of
order, or stop. A model's frame is ready when no later camera frame can change it, so it equals that of the whole clip.

A *section* is a piece of a stream without a long pause. Each section has its own grid of times, which begins at its
first frame, as a clip does.
"""

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.errors import InvalidInput
from signet.landmarks import FRAME_RATE, JOINTS, PARTS, ClipLength, count_model_frames
from signet.landmarks.sampling import MAX_GAP_SECONDS, REACH_SECONDS, UNBRIDGED_REACH_SECONDS, sample_at

# Camera frames that are closer together than this add nothing. This bounds the frames that are held.
MIN_STEP_SECONDS = 0.004
# A longer pause between frames ends a section. So does a clock that is set back by more than this.
MAX_PAUSE_SECONDS = 2.0
# So many frames in a row must agree on a new time, before a section begins there. Fewer are errors of the clock.
_FRAMES_OF_A_NEW_SECTION = 3
# Times are compared with this tolerance.
_TOLERANCE = 1e-3
# Camera frames are held until they are older than the next model frame by this.
_HELD_SECONDS = MAX_GAP_SECONDS + 0.1
# Model frames that are made together.
_TOGETHER = 64
# Coordinates are frame heights. A larger number is an error of the sender; its part counts as absent.
_LARGEST_COORDINATE = 1e4

Joints = npt.NDArray[np.floating[Any]]


@dataclass
class FrameCounts:
    """What became of the frames that came."""

    used: int = 0
    late: int = 0  # older than the reorder window
    doubled: int = 0  # at the time of another frame
    without_time: int = 0  # the time is not a finite number
    stray: int = 0  # the time is far from that of the frames before and after

    @property
    def dropped(self) -> int:
        """Frames that had no effect."""
        return self.late + self.doubled + self.without_time + self.stray


@dataclass(frozen=True)
class SectionStart:
    """A section begins."""

    seconds: float  # the time of its first frame


@dataclass(frozen=True, eq=False)
class ModelFrame:
    """A frame of the model's grid."""

    joints: npt.NDArray[np.float32]  # [75, 3], NaN where a part is absent


@dataclass(frozen=True)
class SectionEnd:
    """A section is complete."""


ClockItem = SectionStart | ModelFrame | SectionEnd


@dataclass(order=True)
class _CameraFrame:
    seconds: float
    joints: npt.NDArray[np.float64] = field(compare=False)  # [225], 0 where a part is absent
    found: npt.NDArray[np.bool_] = field(compare=False)  # [3]


class FrameClock:
    """Makes model frames from camera frames.

    Args:
        reorder_seconds: a frame may be older than the newest one by this much. Each model frame waits as long.
    """

    def __init__(self, reorder_seconds: float = 0.07) -> None:
        self.counts = FrameCounts()
        self._reorder = reorder_seconds
        # The camera frames that model frames still depend on, by time.
        self._frames: list[_CameraFrame] = []
        # The begin of the section, and the number of its model frames so far.
        self._origin = 0.0
        self._made = 0
        # Frames at another time, that may begin a new section.
        self._elsewhere: list[_CameraFrame] = []

    @property
    def newest(self) -> float | None:
        """The time of the newest frame of the section; None before its first frame."""
        return self._frames[-1].seconds if self._frames else None

    def add(self, seconds: float, joints: Joints) -> list[ClockItem]:
        """Take a camera frame, and return what is ready.

        Args:
            seconds: the time of the frame, on the stream's own clock.
            joints: [75, 3] in units of frame height; a part is absent if any of its numbers is not finite.

        Raises:
            InvalidInput: the joints have another shape.
        """
        if joints.shape != (JOINTS, 3):
            raise InvalidInput(
                f"a frame of landmarks has the shape {list(joints.shape)}; send {JOINTS} joints of x, y, z."
            )
        if not math.isfinite(seconds):
            self.counts.without_time += 1
            return []
        frame = _to_camera_frame(seconds, joints)
        if not self._frames:
            return self._begin([frame])
        newest = self._frames[-1].seconds
        if not newest - MAX_PAUSE_SECONDS <= seconds <= newest + MAX_PAUSE_SECONDS:
            return self._add_elsewhere(frame)
        self.counts.stray += len(self._elsewhere)
        self._elsewhere = []
        if seconds < newest - self._reorder:
            self.counts.late += 1
            return []
        self._insert(frame)
        return self._make_frames(self._count_settled())

    def end_section(self) -> list[ClockItem]:
        """Finish the section: the stream ends, or pauses. The next frame begins a new section."""
        self.counts.stray += len(self._elsewhere)
        self._elsewhere = []
        if not self._frames:
            return []
        # Times of clips are float32, and the number of frames of a clip follows from them.
        length = float(np.float32(self._frames[-1].seconds - self._origin))
        items = self._make_frames(count_model_frames(ClipLength(2, length)) - self._made)
        self._frames = []
        return [*items, SectionEnd()]

    def _begin(self, frames: list[_CameraFrame]) -> list[ClockItem]:
        self._origin, self._made = frames[0].seconds, 0
        self._frames = frames[:1]
        self.counts.used += 1
        for frame in frames[1:]:
            self._insert(frame)
        return [SectionStart(self._origin)]

    def _add_elsewhere(self, frame: _CameraFrame) -> list[ClockItem]:
        """Take a frame whose time is far from the section's."""
        others = self._elsewhere
        if others and not 0 <= frame.seconds - others[-1].seconds <= MAX_PAUSE_SECONDS:
            self.counts.stray += len(others)
            others = []
        self._elsewhere = [*others, frame]
        if len(self._elsewhere) < _FRAMES_OF_A_NEW_SECTION:
            return []
        frames, self._elsewhere = self._elsewhere, []
        return [*self.end_section(), *self._begin(frames)]

    def _insert(self, frame: _CameraFrame) -> None:
        place = bisect_left(self._frames, frame)
        near = self._frames[max(0, place - 1) : place + 1]
        if any(abs(other.seconds - frame.seconds) < MIN_STEP_SECONDS for other in near):
            self.counts.doubled += 1
        elif frame.seconds < self._origin:
            self.counts.late += 1
        else:
            self.counts.used += 1
            insort(self._frames, frame)

    def _count_settled(self) -> int:
        """How many more model frames no later camera frame can change."""
        settled = self._frames[-1].seconds - self._reorder
        count = 0
        # The end of a section may be one frame before the newest time.
        while self._is_settled(self._origin + (self._made + count) / FRAME_RATE, settled):
            count += 1
        return count

    def _is_settled(self, seconds: float, settled: float) -> bool:
        """Whether the model frame at this time is final, if all frames until `settled` have come."""
        if settled < seconds + REACH_SECONDS:
            return False
        known = [frame for frame in self._frames if frame.seconds <= settled]
        for part in range(len(PARTS)):
            before, after = -math.inf, math.inf
            for frame in known:
                if frame.found[part] and frame.seconds >= seconds:
                    after = frame.seconds
                    break
                if frame.found[part]:
                    before = frame.seconds
            if after - before <= MAX_GAP_SECONDS or after == seconds:
                continue
            # A frame that comes later may still bridge the gap.
            bridged_later = math.isinf(after) and settled <= before + MAX_GAP_SECONDS + _TOLERANCE
            if bridged_later or settled < seconds + UNBRIDGED_REACH_SECONDS:
                return False
        return True

    def _make_frames(self, count: int) -> list[ClockItem]:
        items: list[ClockItem] = []
        while count > 0:
            steps = min(count, _TOGETHER)
            grid = self._origin + (self._made + np.arange(steps)) / FRAME_RATE
            made = sample_at(
                np.array([frame.seconds for frame in self._frames]),
                np.stack([frame.joints for frame in self._frames]),
                np.stack([frame.found for frame in self._frames]),
                grid,
            )
            items.extend(ModelFrame(joints) for joints in made)
            self._made += steps
            count -= steps
        oldest = self._origin + self._made / FRAME_RATE - _HELD_SECONDS
        place = bisect_left(self._frames, oldest, key=lambda frame: frame.seconds)
        # The newest frame says what time it is.
        del self._frames[: min(place, len(self._frames) - 1)]
        return items


def _to_camera_frame(seconds: float, joints: Joints) -> _CameraFrame:
    """The frame with finite numbers, and which parts it has."""
    values = joints.astype(np.float64)
    valid = (np.abs(values) < _LARGEST_COORDINATE).all(axis=1)
    found = np.array([valid[where].all() for where in PARTS.values()])
    for has_part, where in zip(found, PARTS.values(), strict=True):
        if not has_part:
            values[where] = 0
    return _CameraFrame(seconds, values.ravel(), found)
