"""Phonological features of landmarks: handshape, orientation, location, contact and movement of the hands.

These are the parameters that distinguish signs (Stokoe 1960; orientation: Battison 1978). The numbers do not depend on
where the signer stands or how large the picture is. The features are part of the exported model, so training and
serving compute the same numbers. Each group has its own function below and can be left out.

Units: the body is measured in shoulder widths from the midpoint of the shoulders, a hand in palm lengths from its
wrist. x points right in the picture, y down, z away from the camera.

Frames are the last dimension of every tensor here, [..., B, T]. Each operation then works on long contiguous rows. On a
CPU this is several times faster than rows of three coordinates.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from services.trainer.features.groups import BOTH_GROUPS, GROUPS, HAND_GROUPS
from signet.landmarks import JOINTS, POSE_JOINTS

# The joints that features need: nose, mouth corners, shoulders, elbows and wrists of MediaPipe's pose, and both hands.
# All other joints are dropped first. The indices below count within these joints; left comes before right.
USED_JOINTS = [0, 9, 10, 11, 12, 13, 14, 15, 16, *range(POSE_JOINTS, JOINTS)]
NOSE = 0
MOUTH = slice(1, 3)
SHOULDERS = slice(3, 5)
ELBOWS = slice(5, 7)
WRISTS = slice(7, 9)
POSE = slice(0, 9)
LEFT_HAND = slice(9, 30)
RIGHT_HAND = slice(30, 51)
HANDS = slice(9, 51)

# The first joint of pose, left hand and right hand. A part is absent from a frame if its first joint is NaN.
PART_STARTS = [POSE.start, LEFT_HAND.start, RIGHT_HAND.start]

# Where each joint goes when the picture is mirrored: left and right change places.
MIRRORED = [NOSE, 2, 1, 4, 3, 6, 5, 8, 7]
MIRRORED += [*range(RIGHT_HAND.start, RIGHT_HAND.stop), *range(LEFT_HAND.start, LEFT_HAND.stop)]

# The weight of each difference between the hands in `left_dominance`, chosen by cross-validation (docs/experiments.md).
_PRESENCE_WEIGHT, _MOVEMENT_WEIGHT, _HEIGHT_WEIGHT = 1.0, 0.5, 0.5

# Joints of a MediaPipe hand: 0 is the wrist, then four joints a finger from its root to its tip. Each joint but the
# wrist ends a bone; the bone starts at the joint before it on the finger, or at the wrist.
_BONE_STARTS = [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]
_ROOTS = [1, 5, 9, 13, 17]
_TIPS = [4, 8, 12, 16, 20]
_KNUCKLES = [5, 9, 13, 17]
_INDEX_ROOT, _INDEX_TIP, _MIDDLE_ROOT, _LITTLE_ROOT = 5, 8, 9, 17

# The shoulders are about four palm lengths (wrist to knuckles) apart. This gives the scale of a clip without a pose.
_SHOULDERS_PER_PALM = 4.0

# Lower bounds of divisors: shoulder width in frame heights, palm length in palms (a hand may point at the camera), and
# length of a direction in palms.
_SMALLEST_SCALE = 0.01
_SMALLEST_PALM = 0.1
_SMALLEST_LENGTH = 1e-4

# Nearness is exp(-_FADING · distance): it halves within a third of a shoulder width.
_FADING = 2.0

# The chest lies about half a shoulder width below the midpoint of the shoulders.
_CHEST = 0.5

# Frames before and after over which the fast and the slow velocity of the wrist are measured.
_FAST, _SLOW = 1, 3


class _Signer(NamedTuple):
    """Clips relative to the signer's body. H = 2 hands: non-dominant, dominant."""

    pose: Tensor  # [2, 9, B, T], shoulder widths from the origin
    pose_present: Tensor  # bool [B, T], where a pose is present
    hands: Tensor  # [3, H, 21, B, T], joints from the wrist in palm lengths; x of the non-dominant hand is mirrored
    hands_present: Tensor  # bool [H, B, T], where each hand is present
    wrists: Tensor  # [2, H, B, T], shoulder widths from the origin; the pose's wrist where the hand is absent
    # [2, H, 1, 1], factors that mirror x of the non-dominant hand: both hands then measure as right hands.
    mirror: Tensor
    lengths: Tensor  # int64 [B], frames

    def location(self) -> Tensor:
        """Wrists as those of right hands: [2, H, B, T]."""
        return self.wrists * self.mirror

    def place(self, joint: int) -> Tensor:
        """A joint of each hand in shoulder widths from the origin, as of a right hand; the wrist if absent."""
        return self.location() + self.hands[:2, :, joint] / _SHOULDERS_PER_PALM * self.hands_present


class Features(nn.Module):
    """Compute one feature vector per frame: the non-dominant hand's features, the dominant hand's, those of both hands.

    A clip in which the left hand is dominant is mirrored first, so a left-handed signer gives the same features as a
    right-handed one. The non-dominant hand is mirrored too: one set of weights serves both hands.

    Args:
        groups: the feature groups to compute, of `GROUPS`.

    Attributes:
        hand_size: features of each hand.
        both_size: features of both hands together.
        size: D, features of a frame.
    """

    def __init__(self, groups: Sequence[str] = GROUPS) -> None:
        super().__init__()
        self.groups = frozenset(groups)
        self.hand_size = sum(size for group, size in HAND_GROUPS.items() if group in self.groups)
        self.both_size = sum(size for group, size in BOTH_GROUPS.items() if group in self.groups)
        self.size = 2 * self.hand_size + self.both_size

    def forward(self, joints: Tensor, present: Tensor, lengths: Tensor, dominance: Tensor | None = None) -> Tensor:
        """Compute the features of every frame.

        Args:
            joints: float32 [3, J, B, T], x, y, z of `USED_JOINTS`; any finite number where a part is absent.
            present: bool [3, B, T], of pose, left hand and right hand.
            lengths: int64 [B], frames.
            dominance: float32 [B] or [1], added to `left_dominance`; None adds nothing.

        Returns:
            float32 [B, T, D]; zeros for absent parts and beyond a clip's length.
        """
        steps = torch.arange(joints.shape[-1], device=joints.device)
        inside = steps[None, :] < lengths[:, None]
        joints, present = mirror_left_dominant(joints, present & inside, lengths, dominance)
        signer = _relative_to_body(joints, present, lengths)
        hands = [function(signer) for group, function in _HAND_FUNCTIONS.items() if group in self.groups]
        both = [function(signer) for group, function in _BOTH_FUNCTIONS.items() if group in self.groups]
        features = torch.cat([torch.cat(hands, dim=1).flatten(0, 1), *both]) * inside
        return features.permute(1, 2, 0)


def mirror_left_dominant(
    joints: Tensor, present: Tensor, lengths: Tensor, dominance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mirror the clips in which the left hand is dominant.

    Joints [3, J, B, T], presence [3, B, T] and dominance are those of `Features.forward`.
    """
    measured = left_dominance(joints, present, lengths)
    left_dominant = ((measured if dominance is None else measured + dominance) > 0)[:, None]
    flip = joints.new_tensor([-1.0, 1.0, 1.0])[:, None, None, None]
    mirrored = joints[:, MIRRORED] * flip
    # Not `where`: ONNX Runtime does not implement it for bool.
    swapped = (present[[0, 2, 1]] & left_dominant) | (present & ~left_dominant)
    return torch.where(left_dominant, mirrored, joints), swapped


def left_dominance(joints: Tensor, present: Tensor, lengths: Tensor) -> Tensor:
    """How much the left hand dominates: float32 [B], positive if it does, negative if the right hand does.

    The weighted sum of three differences between the hands: the share of the frames in which the hand is present, the
    length of the wrist's path (as a share of both paths), and the wrist's mean height (in shoulder widths, at most 1).
    Each difference only changes its sign when a clip is mirrored. The features of a mirrored clip are therefore equal.

    Joints [3, J, B, T] and presence [3, B, T] are those of `Features.forward`.
    """
    hands_present = present[1:]
    located = hands_present | present[0]
    _, _, wrists, _ = _in_shoulder_widths(joints, present)
    presence = hands_present.sum(dim=-1) / lengths.clamp(min=1)
    path = (_length(_velocity(wrists, lengths, _FAST)) * _around(located, lengths)).sum(dim=-1)
    both = located.all(dim=0)
    depth = (wrists[1] * both).sum(dim=-1) / both.sum(dim=-1).clamp(min=1)
    return (
        _PRESENCE_WEIGHT * (presence[0] - presence[1])
        + _MOVEMENT_WEIGHT * (path[0] - path[1]) / (path[0] + path[1]).clamp(min=_SMALLEST_LENGTH)
        + _HEIGHT_WEIGHT * (depth[1] - depth[0]).clamp(-1, 1)
    )


def body_origin_and_scale(
    pose: Tensor, pose_present: Tensor, hands: Tensor, hands_present: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the body is and how large, one value a clip: origin [2, B, 1] and scale [B, 1], in frame heights.

    The origin is the midpoint of the shoulders and the scale their distance, both averaged over the frames with a pose.
    Without any pose they are the mean wrist and `_SHOULDERS_PER_PALM` times the mean palm length.
    """
    shoulders = pose[:, SHOULDERS]
    frames = pose_present.sum(dim=-1, keepdim=True)
    count = frames.clamp(min=1)
    origin = (shoulders.mean(dim=1) * pose_present).sum(dim=-1, keepdim=True) / count
    scale = (_length(shoulders[:, 0] - shoulders[:, 1]) * pose_present).sum(dim=-1, keepdim=True) / count

    palm = _length(hands[:2, :, _KNUCKLES] - hands[:2, :, :1]).mean(dim=1)
    count = hands_present.sum(dim=(0, -1)).clamp(min=1)[:, None]
    hands_origin = (hands[:2, :, 0] * hands_present).sum(dim=1).sum(dim=-1, keepdim=True) / count
    hands_scale = _SHOULDERS_PER_PALM * (palm * hands_present).sum(dim=0).sum(dim=-1, keepdim=True) / count
    has_pose = frames > 0
    return (
        torch.where(has_pose, origin, hands_origin),
        torch.where(has_pose, scale, hands_scale).clamp(min=_SMALLEST_SCALE),
    )


def _in_shoulder_widths(joints: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pose [2, 9, B, T] and wrists [2, H, B, T] as in `_Signer`, raw hands [3, H, 21, B, T] and the scale [B, 1].

    The order is pose, hands, wrists, scale. Joints [3, J, B, T] and presence [3, B, T] are those of `Features.forward`.
    """
    pose_present, hands_present = present[0], present[1:]
    pose = joints[:2, POSE]
    hands = torch.unflatten(joints[:, HANDS], 1, (2, LEFT_HAND.stop - LEFT_HAND.start))
    origin, scale = body_origin_and_scale(pose, pose_present, hands, hands_present)
    pose = (pose - origin[:, None]) / scale
    wrists = torch.where(hands_present, (hands[:2, :, 0] - origin[:, None]) / scale, pose[:, WRISTS])
    return pose, hands, wrists * (hands_present | pose_present), scale


def _relative_to_body(joints: Tensor, present: Tensor, lengths: Tensor) -> _Signer:
    """Joints [3, J, B, T] of clips in which the right hand is dominant, as `_Signer`."""
    pose_present, hands_present = present[0], present[1:]
    pose, hands, wrists, scale = _in_shoulder_widths(joints, present)
    mirror = joints.new_tensor([[-1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])[:, :, None, None]
    return _Signer(
        pose=pose,
        pose_present=pose_present,
        hands=(hands - hands[:, :, :1]) * mirror[:, :, None] / (scale / _SHOULDERS_PER_PALM),
        hands_present=hands_present,
        wrists=wrists,
        mirror=mirror[:2],
        lengths=lengths,
    )


def _handshape(signer: _Signer) -> Tensor:
    """How the fingers bend and touch, independent of the hand's rotation: [H, 31, B, T].

    With the unit bones b of a finger, its tip p and root r, u(v) = v / |v|, and the palm length
    s = mean of |knuckles|, for neighbouring fingers f, f + 1:
    flexion b_k · b_k+1, spread u(p_f - r_f) · u(p_f+1 - r_f+1), reach |p| / s, pinch |p - p_thumb| / s, and
    gap |p_f - p_f+1| / s without the thumb.
    """
    hands = signer.hands
    palm = _length(hands[:, :, _KNUCKLES]).mean(dim=1).clamp(min=_SMALLEST_PALM)[:, None]
    bones = torch.unflatten(_directions(hands[:, :, 1:] - hands[:, :, _BONE_STARTS]), 2, (5, 4))
    flexion = (bones[:, :, :, 1:] * bones[:, :, :, :-1]).sum(dim=0).flatten(1, 2)
    tips = hands[:, :, _TIPS]
    pointing = _directions(tips - hands[:, :, _ROOTS])
    spread = (pointing[:, :, 1:] * pointing[:, :, :-1]).sum(dim=0)
    reach = _length(tips) / palm
    pinch = _length(tips[:, :, 1:] - tips[:, :, :1]) / palm
    gap = _length(tips[:, :, 2:] - tips[:, :, 1:-1]) / palm
    return torch.cat([flexion, spread, reach, pinch, gap], dim=1) * signer.hands_present[:, None]


def _outline(signer: _Signer) -> Tensor:
    """Joints but the wrist, all x and then all y, in palm lengths from the wrist: [H, 40, B, T]."""
    return signer.hands[:2, :, 1:].transpose(0, 1).flatten(1, 2) * signer.hands_present[:, None]


def _orientation(signer: _Signer) -> Tensor:
    """Unit vectors [H, 9, B, T]: where the hand points, the palm faces and the index finger points.

    The hand points from the wrist to the root of the middle finger, p. The palm faces along a × p, where a points from
    the root of the little finger to that of the index finger.
    """
    hands = signer.hands
    pointing = _directions(hands[:, :, _MIDDLE_ROOT])
    across = _directions(hands[:, :, _INDEX_ROOT] - hands[:, :, _LITTLE_ROOT])
    normal = across[[1, 2, 0]] * pointing[[2, 0, 1]] - across[[2, 0, 1]] * pointing[[1, 2, 0]]
    index = _directions(hands[:, :, _INDEX_TIP] - hands[:, :, _INDEX_ROOT])
    return torch.cat([pointing, _directions(normal), index]).transpose(0, 1) * signer.hands_present[:, None]


def _location(signer: _Signer) -> Tensor:
    """Wrist from the shoulders' midpoint, wrist from nose and elbow from wrist, in shoulder widths: [H, 6, B, T]."""
    location, mirror, pose_present = signer.location(), signer.mirror, signer.pose_present
    from_nose = (location - signer.pose[:, NOSE, None] * mirror) * pose_present
    elbow = (signer.pose[:, ELBOWS] * mirror - location) * pose_present
    return torch.cat([location, from_nose, elbow]).transpose(0, 1)


def _contact(signer: _Signer) -> Tensor:
    """Nearness to places on the body, and the index tip from the nose: [H, 7, B, T].

    Nearness is exp(-2 · distance) from the root of the middle finger to the nose, the mouth, the shoulder on the hand's
    own side, the other shoulder, and the chest. Distances are in shoulder widths.
    """
    pose, mirror = signer.pose, signer.mirror
    left, right = pose[:, SHOULDERS].unbind(1)
    chest = torch.zeros_like(left) + pose.new_tensor([0.0, _CHEST])[:, None, None]
    mouth = pose[:, MOUTH].mean(dim=1)
    of_left, of_right = (
        torch.stack([pose[:, NOSE], mouth, own, other, chest], dim=1) for own, other in ((left, right), (right, left))
    )
    places = torch.stack([of_left, of_right], dim=1)
    distances = _length(signer.place(_MIDDLE_ROOT)[:, :, None] - places * mirror[:, :, None])
    from_nose = (signer.place(_INDEX_TIP) - pose[:, NOSE, None] * mirror).transpose(0, 1)
    return (
        torch.cat([torch.exp(-_FADING * distances), from_nose], dim=1)
        * (signer.hands_present & signer.pose_present)[:, None]
    )


def _movement(signer: _Signer) -> Tensor:
    """Fast and slow velocity of the wrist, its speed, and the velocity of the fingertips: [H, 15, B, T].

    See `_velocity`. The wrist is measured in shoulder widths a frame, the fingertips relative to the wrist in palm
    lengths a frame. Tips count only where the hand is present in the frames before and after too.
    """
    location, lengths = signer.location(), signer.lengths
    fast, slow = _velocity(location, lengths, _FAST), _velocity(location, lengths, _SLOW)
    tips = _velocity(signer.hands[:2, :, _TIPS], lengths, _FAST).transpose(0, 1).flatten(1, 2)
    steady = _around(signer.hands_present, lengths)
    wrist = [fast.transpose(0, 1), slow.transpose(0, 1), _length(fast)[:, None]]
    return torch.cat([*wrist, tips * steady[:, None]], dim=1)


def _hands(signer: _Signer) -> Tensor:
    """Where the hands are to each other, and whether they move alike: [10, B, T].

    Wrist to wrist, index tip to index tip, each with its length, and the dominant index tip from the other wrist, in
    shoulder widths. The feature `alike` is 100 times the product of both hands' velocities, for x and for y, limited to
    ± 10. It is positive along an axis if the hands move as mirror images along it. The factor 100 gives 1 for two
    velocities of 0.1 shoulder widths a frame.
    """
    wrists, tips = signer.wrists, signer.place(_INDEX_TIP) * signer.mirror
    apart = wrists[:, 1] - wrists[:, 0]
    tips_apart = tips[:, 1] - tips[:, 0]
    tip_to_wrist = tips[:, 1] - wrists[:, 0]
    velocity = _velocity(signer.location(), signer.lengths, _FAST)
    alike = (100 * velocity[:, 0] * velocity[:, 1]).clamp(-10, 10)
    near = torch.cat([tips_apart, _length(tips_apart)[None], tip_to_wrist, alike])
    return torch.cat([apart, _length(apart)[None], near * signer.hands_present.all(dim=0)])


_HAND_FUNCTIONS: dict[str, Callable[[_Signer], Tensor]] = {
    "handshape": _handshape,
    "outline": _outline,
    "orientation": _orientation,
    "location": _location,
    "contact": _contact,
    "movement": _movement,
    "presence": lambda signer: signer.hands_present[:, None].to(signer.pose.dtype),
}
_BOTH_FUNCTIONS: dict[str, Callable[[_Signer], Tensor]] = {
    "hands": _hands,
    "presence": lambda signer: signer.pose_present[None].to(signer.pose.dtype),
}


def _length(vectors: Tensor) -> Tensor:
    """Length of vectors [2 or 3, ...]: [...]."""
    return vectors.square().sum(dim=0).sqrt()


def _directions(vectors: Tensor) -> Tensor:
    """Unit vectors of [3, ...]."""
    return vectors / _length(vectors).clamp(min=_SMALLEST_LENGTH)


def _velocity(values: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """(x(t + reach) - x(t - reach)) / (2 · reach), with both frames kept within the clip: like values [..., B, T]."""
    before, after = (at.expand(values.shape) for at in _frames_around(lengths, values.shape[-1], reach))
    return (values.gather(-1, after) - values.gather(-1, before)) / (2 * reach)


def _around(present: Tensor, lengths: Tensor) -> Tensor:
    """Which frames of bool [H, B, T] are True, as are the frames before and after them, kept within the clip."""
    before, after = (at.expand(present.shape) for at in _frames_around(lengths, present.shape[-1], _FAST))
    return present & present.gather(-1, after) & present.gather(-1, before)


def _frames_around(lengths: Tensor, frames: int, reach: int) -> tuple[Tensor, Tensor]:
    """The frames `reach` before and after each frame, kept within the clip: int64 [B, T] each."""
    steps = torch.arange(frames, device=lengths.device)[None, :]
    last = (lengths[:, None] - 1).clamp(min=0)
    # `expand_as` instead of the number of clips: `len` would become a constant of the exported graph.
    return (steps - reach).clamp(min=0).expand_as(last + steps), torch.minimum(steps + reach, last)
