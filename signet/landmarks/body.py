"""The signer's body in a model input: where it is, how large it is, which hand is dominant, and its mirror image.

A model input is float32 [T, 75, 3] as `to_model_input` makes it, with NaN where a part is absent.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import LEFT_HAND, POSE, RIGHT_HAND

Frames = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
LEFT_WRIST, RIGHT_WRIST = 15, 16

# The shoulders are about four palm lengths (wrist to knuckles) apart. This gives the scale of a clip without a pose.
_SHOULDERS_PER_PALM = 4.0
_KNUCKLES = (5, 9, 13, 17)
# In frame heights, and in shoulder widths; both prevent a division by zero.
_SMALLEST_SCALE = 0.01
_SMALLEST_PATH = 1e-4

# Joints of the pose that have a left and a right one, as MediaPipe numbers them: eyes 1 to 6, ears 7 and 8, mouth 9 and
# 10, then shoulders to feet, left before right.
_POSE_MIRRORED = (0, 4, 5, 6, 1, 2, 3, *(joint for left in range(7, 33, 2) for joint in (left + 1, left)))
_MIRRORED = np.array([*_POSE_MIRRORED, *range(RIGHT_HAND.start, RIGHT_HAND.stop), *range(33, 54)])


class Body(NamedTuple):
    """Where a signer's body is in the picture, in frame heights."""

    origin: Points  # [2], the midpoint of the shoulders
    scale: float  # the shoulder width


def find_body(frames: Frames) -> Body:
    """The midpoint and the width of the shoulders, averaged over the frames with a pose.

    Without any pose they are the mean wrist and four times the mean palm length. The network's features use the same
    body (`services.trainer.features.phonology.body_origin_and_scale`).
    """
    left, right = (frames[:, joint, :2].astype(np.float64) for joint in (LEFT_SHOULDER, RIGHT_SHOULDER))
    with_pose = np.isfinite(left[:, 0])
    if with_pose.any():
        origin = ((left + right) / 2)[with_pose].mean(axis=0)
        scale = float(np.hypot(*(left - right)[with_pose].T).mean())
    else:
        hands = np.concatenate([frames[:, LEFT_HAND, :2], frames[:, RIGHT_HAND, :2]]).astype(np.float64)
        hands = hands[np.isfinite(hands[:, 0, 0])]
        if not len(hands):
            return Body(np.zeros(2), 1.0)
        origin = hands[:, 0].mean(axis=0)
        palms = hands[:, _KNUCKLES] - hands[:, :1]
        scale = _SHOULDERS_PER_PALM * float(np.hypot(palms[..., 0], palms[..., 1]).mean())
    return Body(origin, max(scale, _SMALLEST_SCALE))


def wrist_positions(frames: Frames, body: Body) -> Points:
    """The left and the right wrist in shoulder widths from the body's origin: float64 [T, 2, 2], y down.

    The wrist is the hand's, or the pose's where the hand is absent; NaN where both are absent.
    """
    wrists = []
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        from_hand, from_pose = frames[:, hand.start, :2], frames[:, wrist, :2]
        wrists.append(np.where(np.isfinite(from_hand), from_hand, from_pose))
    return np.asarray((np.stack(wrists, axis=1).astype(np.float64) - body.origin) / body.scale)


def left_dominance(frames: Frames) -> float:
    """How much the left hand dominates: positive if it does, negative if the right hand does.

    The network's features use the same measure (`left_dominance` in services/trainer/features/phonology.py). It is the
    sum of three differences between the hands: the share of the frames in which the hand is present, half the wrist's
    path (as a share of both paths), and half the wrist's mean height (in shoulder widths, at most 1).
    """
    hands = np.isfinite(frames[:, [LEFT_HAND.start, RIGHT_HAND.start], 0])
    wrists = wrist_positions(frames, find_body(frames))
    located = np.isfinite(wrists[..., 0])
    before = np.maximum(np.arange(len(frames)) - 1, 0)
    after = np.minimum(np.arange(len(frames)) + 1, len(frames) - 1)
    steps = np.hypot(*np.moveaxis((wrists[after] - wrists[before]) / 2, -1, 0))
    path = np.where(located & located[after] & located[before], steps, 0.0).sum(axis=0)
    both = located.all(axis=1)
    depth = wrists[both, :, 1].mean(axis=0) if both.any() else np.zeros(2)
    presence = hands.mean(axis=0)
    return float(
        (presence[0] - presence[1])
        + 0.5 * (path[0] - path[1]) / max(path.sum(), _SMALLEST_PATH)
        + 0.5 * np.clip(depth[1] - depth[0], -1, 1)
    )


def mirror(frames: Frames) -> Frames:
    """The mirror image about the midpoint of the shoulders: the left hand becomes the right hand."""
    mirrored = frames[:, _MIRRORED].copy()
    mirrored[..., 0] = 2 * find_body(frames).origin[0] - mirrored[..., 0]
    return mirrored


def place_body(frames: Frames, target: Body) -> Frames:
    """Move and scale the picture, so that the signer's body is `target`."""
    body = find_body(frames)
    ratio = target.scale / body.scale
    placed = frames * np.float32(ratio)
    placed[..., :2] += (target.origin - ratio * body.origin).astype(np.float32)
    return placed


def has_part(frames: Frames) -> npt.NDArray[np.bool_]:
    """Whether the pose, the left hand and the right hand are present: bool [T, 3]."""
    return np.asarray(np.isfinite(frames[:, [POSE.start, LEFT_HAND.start, RIGHT_HAND.start], 0]))
