"""Whether anything is signed in a clip: whether the tracker found a hand, and whether a hand moves.

A model ranks its vocabulary for every input, also for a person at rest. So callers ask `why_nothing_is_signed` first.
It takes a model input of any length: an isolated clip, or the last seconds of a stream.

The limits were chosen on the 577 WLASL training clips of 100 glosses, and checked on still pictures and on clips of
persons at rest. docs/protocol.md has the figures.
"""

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import LEFT_HAND, POSE, RIGHT_HAND

# Frames at 10 Hz. A sign takes half a second and more; the shortest training clip has 8 frames.
MIN_FRAMES = 3
# Frames with a hand. The tracker may take a sleeve for a hand for a frame or two. Training clips have 4 and more.
MIN_HAND_FRAMES = 3

# Shoulder widths a second. Three quarters of the time, a raised hand in a still picture is slower than this: its joints
# move by the tracker's noise only. The slowest training clip, in which only the fingers move, has 0.052. Without a pose
# there is no noise of the shoulders, and this clip has 0.045.
STILL_SPEED = 0.04
STILL_SPEED_WITHOUT_POSE = 0.03
# A hand that hangs, or lies in the lap, is never higher than this, in shoulder widths below the shoulders. It moves a
# little with the body; its range of movement, in shoulder widths, is below the limit. The training clips with low hands
# have 0.056 and more.
REST_HEIGHT = 1.0
REST_RANGE = 0.04

# If no hand is found, a wrist of the pose counts that is raised above the waist, in at least half of the frames. Its
# place is a guess if it is hidden or outside the picture, so the limit is higher: of 42 clips of persons who hold still
# or are filmed by an unsteady camera, the largest range of a raised wrist is 0.08 shoulder widths.
RAISED_WRIST_HEIGHT = 0.6
RAISED_WRIST_RANGE = 0.1

# A tracker needs this many frames to settle at the beginning of a clip. They count only if few others have a hand.
_SETTLING_FRAMES = 3
_MIN_SETTLED_FRAMES = 3

_SHOULDERS = (11, 12)
_WRISTS = (15, 16)
_KNUCKLES = (5, 9, 13, 17)
# The shoulders are about four palm lengths (wrist to knuckles) apart. This gives the scale of a clip without a pose.
_SHOULDERS_PER_PALM = 4.0
# In frame heights; prevents a division by zero.
_SMALLEST_SCALE = 0.01
# A signer who turns seems to have narrower shoulders; they count as at least this share of their median width.
_NARROWEST_SHOULDERS = 0.5

_FRAME_RATE = 10.0

Frames = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


class NothingSigned(StrEnum):
    """Why nothing is signed in a clip."""

    TOO_SHORT = "too short"  # the clip has fewer than `MIN_FRAMES` frames
    # a hand was found in fewer than `MIN_HAND_FRAMES` frames, and no raised wrist of the pose moves
    NO_HAND_FOUND = "no hand found"
    NO_HAND_MOVES = "no hand moves"  # all hands are held still, or rest


def why_nothing_is_signed(frames: Frames) -> NothingSigned | None:
    """Why nothing is signed in a clip; None if something may be signed.

    Movement is measured relative to the shoulders. So a person who walks, nods, or is filmed by an unsteady camera does
    not sign.

    Args:
        frames: float32 [T, 75, 3], a model input as `to_model_input` makes it; NaN where a part is absent.
    """
    if len(frames) < MIN_FRAMES:
        return NothingSigned.TOO_SHORT
    left, right = ~np.isnan(frames[:, LEFT_HAND.start, 0]), ~np.isnan(frames[:, RIGHT_HAND.start, 0])
    if np.count_nonzero(left | right) < MIN_HAND_FRAMES:
        return None if _raised_wrist_moves(frames) else NothingSigned.NO_HAND_FOUND
    origin, scale = _shoulders(frames)
    still_speed = STILL_SPEED if np.isfinite(frames[:, POSE.start, 0]).any() else STILL_SPEED_WITHOUT_POSE
    # Most signers sign with the right hand.
    for hand, found in ((RIGHT_HAND, right), (LEFT_HAND, left)):
        if found.any() and _moves(_relative(frames[:, hand], origin, scale), np.flatnonzero(found), still_speed):
            return None
    return NothingSigned.NO_HAND_MOVES


def _raised_wrist_moves(frames: Frames) -> bool:
    """Whether the pose has a wrist that is in the picture, is raised, and moves relative to the shoulders."""
    with_pose = frames[np.isfinite(frames[:, POSE.start, 0])]
    if len(with_pose) < MIN_HAND_FRAMES:
        return False
    points = _relative(with_pose, *_shoulders(with_pose))
    for wrist in _WRISTS:
        # y is in frame heights, so the picture ends at 0 and 1.
        inside = (with_pose[:, wrist, 1] > 0) & (with_pose[:, wrist, 1] < 1)
        if (inside & (points[:, wrist, 1] < RAISED_WRIST_HEIGHT)).mean() < 0.5:
            continue
        low, high = (_percentile(points[:, wrist], share) for share in (10, 90))
        if (high - low).max() >= RAISED_WRIST_RANGE:
            return True
    return False


def _moves(hand: Points, found: npt.NDArray[np.int64], still_speed: float) -> bool:
    """Whether a hand, [T, 21, 2] in shoulder widths, moves. It was found in the frames `found`, at least one."""
    settled = found[found >= _SETTLING_FRAMES]
    if len(settled) >= _MIN_SETTLED_FRAMES:
        found = settled
    hand = hand[found]
    steps = (hand[1:] - hand[:-1])[np.diff(found) == 1]
    if not len(steps):
        return False
    # The median over the joints: one finger that the tracker confuses does not count.
    speeds = _percentile(_lengths(steps).T, 50) * _FRAME_RATE
    if _percentile(speeds, 75) < still_speed:
        return False
    if hand[:, 0, 1].min() < REST_HEIGHT:
        return True
    return bool(_percentile(_lengths(_percentile(hand, 90) - _percentile(hand, 10)), 50) >= REST_RANGE)


def _shoulders(frames: Frames) -> tuple[Points, npt.NDArray[np.float64]]:
    """The midpoint of the shoulders, [T, 2], and their width, [T]: the origin and the scale of each frame.

    Frames without a pose have the median midpoint and width. A clip without any pose keeps its origin, and its scale is
    that of its hands.
    """
    one, other = (frames[:, shoulder, :2].astype(np.float64) for shoulder in _SHOULDERS)
    with_pose = np.isfinite(one[:, 0])
    if not with_pose.any():
        scale = max(_SHOULDERS_PER_PALM * _palm_length(frames[..., :2].astype(np.float64)), _SMALLEST_SCALE)
        return np.zeros((len(frames), 2)), np.full(len(frames), scale)
    middle = (one + other) / 2
    width = _lengths(one - other)
    usual = max(float(_percentile(width[with_pose], 50)), _SMALLEST_SCALE)
    if not with_pose.all():
        middle[~with_pose] = _percentile(middle[with_pose], 50)
        width[~with_pose] = usual
    return middle, np.maximum(width, _NARROWEST_SHOULDERS * usual)


def _relative(joints: Frames, origin: Points, scale: npt.NDArray[np.float64]) -> Points:
    """Joints in the picture, [T, J, 3], relative to an origin, in units of a scale: [T, J, 2]."""
    return np.asarray((joints[..., :2] - origin[:, None]) / scale[:, None, None])


def _lengths(vectors: Points) -> npt.NDArray[np.float64]:
    """The lengths of vectors [..., 2]."""
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]))


def _percentile(values: npt.NDArray[np.float64], share: float) -> Any:
    """A percentile over the first axis, like that of numpy, which needs several times as long for so few values."""
    place = share / 100 * (len(values) - 1)
    below = int(place)
    ordered = np.sort(values, axis=0)
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(values) - 1)] - ordered[below])


def _palm_length(points: Points) -> float:
    """Mean distance from the wrist to the knuckles, over the frames and the hands that were found."""
    hands = np.concatenate([points[:, LEFT_HAND], points[:, RIGHT_HAND]])
    hands = hands[np.isfinite(hands[:, 0, 0])]
    return float(_lengths(hands[:, _KNUCKLES] - hands[:, :1]).mean())
