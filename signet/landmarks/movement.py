"""Whether anything is signed in a clip: whether the tracker found a hand, and whether a hand moves.

A model ranks its vocabulary for every input, also for a person at rest. So callers ask `why_nothing_is_signed` first.
It takes a model input of any length: an isolated clip, or the last seconds of a stream.

The limits were chosen on the 577 WLASL training clips of 100 glosses, and checked on still pictures and on clips of
persons at rest. docs/protocol.md has the figures.
"""

from enum import StrEnum

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
    if np.isfinite(frames[:, [LEFT_HAND.start, RIGHT_HAND.start], 0]).any(axis=1).sum() < MIN_HAND_FRAMES:
        return None if _raised_wrist_moves(frames) else NothingSigned.NO_HAND_FOUND
    points = _relative_to_shoulders(frames)
    still_speed = STILL_SPEED if np.isfinite(frames[:, POSE.start, 0]).any() else STILL_SPEED_WITHOUT_POSE
    if any(_moves(points[:, hand], still_speed) for hand in (LEFT_HAND, RIGHT_HAND)):
        return None
    return NothingSigned.NO_HAND_MOVES


def _raised_wrist_moves(frames: Frames) -> bool:
    """Whether the pose has a wrist that is in the picture, is raised, and moves relative to the shoulders."""
    with_pose = frames[np.isfinite(frames[:, POSE.start, 0])]
    if len(with_pose) < MIN_HAND_FRAMES:
        return False
    points = _relative_to_shoulders(with_pose)
    for wrist in _WRISTS:
        # y is in frame heights, so the picture ends at 0 and 1.
        inside = (with_pose[:, wrist, 1] > 0) & (with_pose[:, wrist, 1] < 1)
        if (inside & (points[:, wrist, 1] < RAISED_WRIST_HEIGHT)).mean() < 0.5:
            continue
        low, high = np.percentile(points[:, wrist], [10, 90], axis=0)
        if (high - low).max() >= RAISED_WRIST_RANGE:
            return True
    return False


def _moves(hand: Points, still_speed: float) -> bool:
    """Whether a hand, [T, 21, 2] in shoulder widths, moves; False if it is absent."""
    found = np.flatnonzero(np.isfinite(hand[:, 0, 0]))
    settled = found[found >= _SETTLING_FRAMES]
    if len(settled) >= _MIN_SETTLED_FRAMES:
        found = settled
    steps = found[1:][np.diff(found) == 1]
    if not len(steps):
        return False
    # The median over the joints: one finger that the tracker confuses does not count.
    speeds = np.median(np.linalg.norm(hand[steps] - hand[steps - 1], axis=-1), axis=1) * _FRAME_RATE
    if np.percentile(speeds, 75) < still_speed:
        return False
    if hand[found, 0, 1].min() < REST_HEIGHT:
        return True
    low, high = np.percentile(hand[found], [10, 90], axis=0)
    return bool(np.median(np.linalg.norm(high - low, axis=-1)) >= REST_RANGE)


def _relative_to_shoulders(frames: Frames) -> Points:
    """The joints in the picture, in shoulder widths from the midpoint of the shoulders of the same frame: [T, 75, 2].

    Frames without a pose have the median midpoint and width. A clip without any pose keeps its origin, and its scale is
    that of its hands.
    """
    points = frames[..., :2].astype(np.float64)
    shoulders = points[:, _SHOULDERS]
    with_pose = np.isfinite(shoulders[:, 0, 0])
    if not with_pose.any():
        return points / max(_SHOULDERS_PER_PALM * _palm_length(points), _SMALLEST_SCALE)
    middle = shoulders.mean(axis=1)
    width = np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1)
    middle[~with_pose] = np.median(middle[with_pose], axis=0)
    usual = max(float(np.median(width[with_pose])), _SMALLEST_SCALE)
    width = np.maximum(np.where(with_pose, width, usual), _NARROWEST_SHOULDERS * usual)
    points -= middle[:, None]
    points /= width[:, None, None]
    return points


def _palm_length(points: Points) -> float:
    """Mean distance from the wrist to the knuckles, over the frames and the hands that were found."""
    hands = np.concatenate([points[:, LEFT_HAND], points[:, RIGHT_HAND]])
    hands = hands[np.isfinite(hands[:, 0, 0])]
    return float(np.linalg.norm(hands[:, _KNUCKLES] - hands[:, :1], axis=-1).mean())
