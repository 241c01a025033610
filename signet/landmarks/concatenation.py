"""Continuous signing made from clips of single signs: several clips joined, with or without the rests between signs.

A clip of one sign begins and ends with the hands at rest. Signing does not: the hands go from one sign to the next.
`concatenate` joins clips in three ways (`Joining`). It returns the movement of each sign, which is the truth for a
recogniser that reports when a sign was signed.

The people of different clips stand at different places and have different sizes, and some are left-handed. A stream has
one signer. So each clip is moved and scaled to the body of the first clip, and the caller can mirror clips of
left-handed people. What remains different is what a person's signing is like: shape of the body, speed, style.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from signet.landmarks.body import Body, Frames, find_body, has_part, mirror, place_body, wrist_positions
from signet.landmarks.sampling import FRAME_RATE
from signet.landmarks.tensor import LEFT_HAND, PARTS, POSE_JOINTS, RIGHT_HAND, ClipRecord, Landmarks

# A wrist that is lower than this, in shoulder widths below the shoulders, hangs or lies in the lap. All 577 WLASL
# training clips raise a hand above it.
_REST_HEIGHT = 1.0
# Some people rest with folded hands in front of the belly. There, a wrist is at rest within this distance of the lowest
# place of the clip, if that place is lower than `_LOWEST_SIGN`.
_REST_RANGE, _LOWEST_SIGN = 0.2, 0.7
# Shorter ranges have no sign; such a clip counts as a whole.
_MIN_ACTIVE_SECONDS = 0.3

# Between two signs a wrist moves with about this speed, in shoulder widths a second: the 90th percentile over the
# frames of the training clips, most of which are raising and lowering.
_TRANSITION_SPEED = 4.0
_TRANSITION_SECONDS = (0.15, 0.6)

Seconds = npt.NDArray[np.float64]


class Joining(StrEnum):
    """How clips are joined."""

    AS_THEY_ARE = "as they are"
    RESTS_CUT = "rests cut"  # each clip without its idle head and tail; hands jump from one sign to the next
    INTERPOLATED = "rests cut, transitions interpolated"  # hands and pose move from one sign to the next


@dataclass(frozen=True)
class SignedSpan:
    """The movement of one sign in a concatenation."""

    gloss: str
    start: float  # seconds from the first frame
    end: float


@dataclass(frozen=True, eq=False)
class Concatenation:
    """Joined model inputs."""

    frames: Frames  # float32 [T, 75, 3], NaN where a part is absent
    signs: tuple[SignedSpan, ...]


@dataclass(frozen=True, eq=False)
class _PreparedClip:
    """Frames at any times, and the range of the movement [first, last)."""

    frames: Frames
    seconds: Seconds
    active: tuple[int, int]

    @property
    def step(self) -> float:
        """The typical time between frames."""
        return float(np.median(np.diff(self.seconds))) if len(self.seconds) > 1 else 1 / FRAME_RATE


def active_range(frames: Frames, frame_rate: float = FRAME_RATE) -> tuple[int, int]:
    """The frames [first, last) of a clip without its idle head and tail.

    A frame is idle if neither wrist is raised: each is absent, hangs, lies in the lap, or is near the lowest place that
    it has in this clip. Raising the hands to the first place of the sign counts as idle until a wrist is above the rest
    height. A clip in which nothing is raised for 0.3 s counts as a whole.

    Args:
        frames: float32 [T, 75, 3], NaN where a part is absent.
        frame_rate: frames per second.
    """
    heights = wrist_positions(frames, find_body(frames))[..., 1]
    raised = np.zeros(len(frames), np.bool_)
    for height in heights.T:
        if not np.isfinite(height).any():
            continue
        lowest = float(np.nanmax(height))
        limit = min(_REST_HEIGHT, lowest - _REST_RANGE) if lowest > _LOWEST_SIGN else _REST_HEIGHT
        raised |= height < limit
    # A hand that the tracker finds in one frame only is an error.
    raised &= np.append(raised[1:], False) | np.append(False, raised[:-1])
    where = np.flatnonzero(raised)
    if not len(where) or where[-1] + 1 - where[0] < _MIN_ACTIVE_SECONDS * frame_rate:
        return 0, len(frames)
    return int(where[0]), int(where[-1]) + 1


def concatenate(
    clips: Sequence[Frames], glosses: Sequence[str], joining: Joining, left_handed: Sequence[bool] | None = None
) -> Concatenation:
    """Join model inputs.

    Args:
        clips: float32 [T, 75, 3] at `FRAME_RATE` each; at least one.
        glosses: the gloss of each clip.
        joining: how they are joined.
        left_handed: which clips to mirror; without it, none. Decide this for each signer, not for each clip: a person
            has one dominant hand, but a measure of a short clip is wrong now and then.
    """
    left_handed = left_handed or [False] * len(clips)
    pictures = [mirror(frames) if left else frames for frames, left in zip(clips, left_handed, strict=True)]
    prepared = [_PreparedClip(frames, np.arange(len(frames)) / FRAME_RATE, active_range(frames)) for frames in pictures]
    joiner, spans = _join(prepared, glosses, joining)
    return Concatenation(np.concatenate(joiner.frames), tuple(spans))


def concatenate_landmarks(
    clips: Sequence[Landmarks], joining: Joining, left_handed: Sequence[bool] | None = None
) -> tuple[Landmarks, tuple[SignedSpan, ...]]:
    """Join stored clips, like `concatenate`, but with the frames and times that a camera would give.

    Joints of the pose lose their visibility, which models do not use: it is 1 where a pose is present.
    """
    left_handed = left_handed or [False] * len(clips)
    prepared = [_prepare(clip, mirrored=left) for clip, left in zip(clips, left_handed, strict=True)]
    joiner, spans = _join(prepared, [clip.record.gloss for clip in clips], joining)
    return _as_landmarks(joiner, clips[0].record), tuple(spans)


def concatenate_idle_parts(clips: Sequence[Landmarks]) -> Landmarks | None:
    """Join what `active_range` cuts off: a person who rests, with the hands moving from one rest to the next.

    Of each clip the tail comes before the head, so that the hands sink, rest, and begin to rise. A clip that counts as
    a whole has no idle part.

    Returns:
        The frames with their times, without a gloss; None if no clip has an idle part.
    """
    prepared = [_prepare(clip, mirrored=False) for clip in clips]
    joiner = _Joiner(find_body(prepared[0].frames), interpolate=True)
    for clip in prepared:
        first, last = clip.active
        for part in (slice(last, len(clip.frames)), slice(0, first)):
            if part.stop > part.start:
                joiner.add(clip, part)
    return _as_landmarks(joiner, clips[0].record) if joiner.frames else None


def _prepare(clip: Landmarks, *, mirrored: bool) -> _PreparedClip:
    frames = clip.landmarks.astype(np.float32)
    seconds = clip.timestamps.astype(np.float64) - float(clip.timestamps[0])
    rate = max(1, clip.frames - 1) / max(float(seconds[-1]), 1e-3)
    frames = mirror(frames) if mirrored else frames
    return _PreparedClip(frames, seconds, active_range(frames, rate))


class _Joiner:
    """Places parts of clips on one body, one after the other."""

    def __init__(self, body: Body, *, interpolate: bool) -> None:
        self.frames: list[Frames] = []
        self.seconds: list[Seconds] = []
        self._body = body
        self._interpolate = interpolate
        self._begin = 0.0  # the time of the next frame

    def add(self, clip: _PreparedClip, part: slice) -> float:
        """Append frames of a clip. Returns what must be added to the clip's times."""
        placed, times = place_body(clip.frames, self._body)[part], clip.seconds[part]
        if self._interpolate and self.frames:
            bridge = _transition(self.frames[-1][-1], placed[0], self._body, clip.step)
            self.frames.append(bridge)
            self.seconds.append(self._begin + clip.step * np.arange(len(bridge)))
            self._begin += clip.step * len(bridge)
        self.frames.append(placed)
        self.seconds.append(self._begin + times - times[0])
        offset = self._begin - float(times[0])
        self._begin = float(self.seconds[-1][-1]) + clip.step
        return offset


def _join(clips: Sequence[_PreparedClip], glosses: Sequence[str], joining: Joining) -> tuple[_Joiner, list[SignedSpan]]:
    """Join clips: frames, their times, and the movement of each sign."""
    joiner = _Joiner(find_body(clips[0].frames), interpolate=joining is Joining.INTERPOLATED)
    spans = []
    for clip, gloss in zip(clips, glosses, strict=True):
        first, last = clip.active
        offset = joiner.add(clip, slice(0, len(clip.frames)) if joining is Joining.AS_THEY_ARE else slice(first, last))
        spans.append(SignedSpan(gloss, offset + float(clip.seconds[first]), offset + float(clip.seconds[last - 1])))
    return joiner, spans


def _as_landmarks(joiner: _Joiner, like: ClipRecord) -> Landmarks:
    """Joined frames as a clip. Joints of the pose have visibility 1 where a pose is present."""
    frames = np.concatenate(joiner.frames)
    present = has_part(frames)
    visibility = np.where(present[:, :1], 1.0, np.nan).astype(np.float16)
    record = ClipRecord(
        clip_id="concatenation", fps=like.fps, width=like.width, height=like.height, frame_end=len(frames)
    )
    return Landmarks(
        landmarks=frames.astype(np.float16),
        presence=present.astype(np.uint8),
        visibility=np.repeat(visibility, POSE_JOINTS, axis=1),
        timestamps=np.concatenate(joiner.seconds).astype(np.float32),
        record=record,
    )


def _transition(before: Frames, after: Frames, body: Body, step: float) -> Frames:
    """Frames between two frames [75, 3], in which hands and pose move from one to the other.

    The time is the longest way of a wrist divided by a usual speed. On its way a wrist accelerates and brakes with
    minimum jerk (Flash and Hogan 1985): the share of the way after the share s of the time is 10s³ - 15s⁴ + 6s⁵. The
    joints of a hand move relative to its wrist. A hand that only one of the two frames has is present in the half of
    the transition that is nearer to this frame. It keeps its shape and moves with the wrist of the pose.
    """
    ends = np.stack([before, after])
    ways = np.diff(wrist_positions(ends, body), axis=0)
    distance = float(np.nan_to_num(np.hypot(ways[..., 0], ways[..., 1])).max())
    duration = float(np.clip(distance / _TRANSITION_SPEED, *_TRANSITION_SECONDS))
    count = max(1, round(duration / step) - 1)
    share = (np.arange(count) + 1) / (count + 1)
    way = (10 * share**3 - 15 * share**4 + 6 * share**5).astype(np.float32)[:, None, None]
    between = before + way * (after - before)
    present = has_part(ends)
    pose = present[:, 0].all()
    for part, where in enumerate(PARTS.values()):
        only = np.flatnonzero(present[:, part])
        if len(only) == 1 and where in (LEFT_HAND, RIGHT_HAND):
            near = way[:, 0, 0] < 0.5 if only[0] == 0 else way[:, 0, 0] >= 0.5
            hand = np.repeat(ends[only[0], None, where], count, axis=0)
            if pose:
                wrist = 15 if where == LEFT_HAND else 16
                hand[..., :2] += (between[:, wrist] - ends[only[0], wrist])[:, None, :2]
            between[near, where] = hand[near]
    return np.asarray(between, np.float32)
