"""Phonological features of raw landmarks, as part of the model graph: handshape, orientation, location, movement.

Stokoe's parameters of a sign (Stokoe 1960; orientation by Battison 1978), in numbers that do not change with where the
signer stands or how large the picture is. They are computed by the exported model itself, so training and serving
cannot differ. Each group of features can be left out, to learn what it is worth.

Frames come last in every tensor here, [..., B, T]: each operation then runs over long contiguous rows, which on a CPU
is several times faster than over rows of three coordinates.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from services.trainer.features.groups import BOTH_GROUPS, GROUPS, HAND_GROUPS
from signet.landmarks import JOINTS, POSE_JOINTS

# The joints that features are made of: nose, corners of the mouth, shoulders, elbows and wrists of MediaPipe's pose,
# and both hands. The rest is left out before anything is computed; the places below are among these.
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

# The first joint of pose, left hand and right hand: a part is absent if this one is.
PART_STARTS = [POSE.start, LEFT_HAND.start, RIGHT_HAND.start]

# A mirrored left elbow is a right elbow, and a mirrored left hand a right hand.
MIRRORED = [NOSE, 2, 1, 4, 3, 6, 5, 8, 7]
MIRRORED += [*range(RIGHT_HAND.start, RIGHT_HAND.stop), *range(LEFT_HAND.start, LEFT_HAND.stop)]

# The left hand leads a clip if it is found in so many more of its frames than the right, as a share of the frames:
# signers are mostly right-handed, and two hands that are found alike do not say otherwise.
_LEFT_LEADS = 0.1

# MediaPipe hand joints: the wrist is 0, and each finger has four from its root to its tip. A bone ends at each joint
# but the wrist; it begins at the one before it on the finger, or at the wrist.
_BONE_STARTS = [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]
_ROOTS = [1, 5, 9, 13, 17]
_TIPS = [4, 8, 12, 16, 20]
_KNUCKLES = [5, 9, 13, 17]
_INDEX_ROOT, _INDEX_TIP, _MIDDLE_ROOT, _LITTLE_ROOT = 5, 8, 9, 17

# A hand's length (wrist to knuckles) is about a quarter of the distance between the shoulders: the scale of a body that
# was not found, from its hands.
_SHOULDERS_PER_PALM = 4.0

# Below these nothing is measured: a hundredth of the frame's height for a body, a tenth of a palm for a hand that
# points at the camera, and what keeps the direction of a bone of no length finite.
_SMALLEST_SCALE = 0.01
_SMALLEST_PALM = 0.1
_SMALLEST_LENGTH = 1e-4

# How fast nearness to a place on the body fades: by half within a third of the shoulders' distance.
_FADING = 2.0

# The chest, about half the shoulders' distance below their middle.
_CHEST = 0.5

# Frames before and after over which the slower of two velocities is taken.
_SLOW = 3


class Features(nn.Module):
    """Landmarks to one feature vector per frame: that of each hand, then that of both.

    Args:
        groups: which groups to measure, of `GROUPS`.

    Attributes:
        hand: numbers per hand.
        both: numbers for both hands together.

    A clip led by the left hand is mirrored first: a left-handed signer measures exactly as a right-handed one. The
    hand that follows comes first in the output, and is mirrored too, so that one set of weights serves both.
    """

    def __init__(self, groups: Sequence[str] = GROUPS) -> None:
        super().__init__()
        self._groups = frozenset(groups)
        self.hand = sum(size for group, size in HAND_GROUPS.items() if group in self._groups)
        self.both = sum(size for group, size in BOTH_GROUPS.items() if group in self._groups)

    @property
    def groups(self) -> frozenset[str]:
        """The groups that are measured."""
        return self._groups

    @property
    def size(self) -> int:
        """D, numbers per frame."""
        return 2 * self.hand + self.both

    def forward(self, joints: Tensor, present: Tensor, lengths: Tensor) -> Tensor:
        """Measure every frame.

        Args:
            joints: float32 [3, J, B, T], x, y, z of `USED_JOINTS`; anything finite where a part is absent.
            present: bool [3, B, T]: pose, left hand, right hand.
            lengths: int64 [B].

        Returns:
            float32 [B, T, D]; zeros where there is nothing to measure.
        """
        steps = torch.arange(joints.shape[-1], device=joints.device)
        inside = steps[None, :] < lengths[:, None]
        joints, present = mirror_left_led(joints, present & inside, lengths)
        posed, handed = present[0], present[1:]
        pose = joints[:2, POSE]
        hands = torch.unflatten(joints[:, HANDS], 1, (2, LEFT_HAND.stop - LEFT_HAND.start))

        origin, scale = body_origin_and_scale(pose, posed, hands, handed)
        pose = (pose - origin[:, None]) / scale
        # The hand that follows is mirrored, so that both measure as right hands: [2 or 3, 2 hands, 1, 1].
        mirror = joints.new_tensor([[-1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])[:, :, None, None]
        shape = (hands - hands[:, :, :1]) * mirror[:, :, None] / (scale / _SHOULDERS_PER_PALM)
        wrists = torch.where(handed, (hands[:2, :, 0] - origin[:, None]) / scale, pose[:, WRISTS]) * (handed | posed)
        location = wrists * mirror[:2]
        nose = pose[:, NOSE, None]
        index_tip = location + shape[:2, :, _INDEX_TIP] / _SHOULDERS_PER_PALM * handed
        middle = location + shape[:2, :, _MIDDLE_ROOT] / _SHOULDERS_PER_PALM * handed

        bones = _directions(shape[:, :, 1:] - shape[:, :, _BONE_STARTS])
        measured: dict[str, Callable[[], Tensor]] = {
            "handshape": lambda: _handshape(shape, bones) * handed[:, None],
            "outline": lambda: shape[:2, :, 1:].transpose(0, 1).flatten(1, 2) * handed[:, None],
            "orientation": lambda: _orientation(shape) * handed[:, None],
            "location": lambda: torch.cat(
                [
                    location,
                    (location - nose * mirror[:2]) * posed,
                    (pose[:, ELBOWS] * mirror[:2] - location) * posed,
                ]
            ).transpose(0, 1),
            "contact": lambda: _contact(middle, index_tip, pose, mirror[:2]) * (handed & posed)[:, None],
            "movement": lambda: _movement(location, shape, handed, lengths),
            "presence": lambda: handed[:, None].to(joints.dtype),
        }
        of_hands = [measured[group]() for group in HAND_GROUPS if group in self._groups]
        measured = {
            "hands": lambda: _two_handed(wrists, index_tip * mirror[:2], location, handed, lengths),
            "presence": lambda: posed[None].to(joints.dtype),
        }
        of_both = [measured[group]() for group in BOTH_GROUPS if group in self._groups]
        features = torch.cat([torch.cat(of_hands, dim=1).flatten(0, 1), *of_both]) * inside
        return features.permute(1, 2, 0)


def mirror_left_led(joints: Tensor, present: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Clips as a right-handed signer would sign them: joints [3, J, B, T] and what is present [3, B, T]."""
    _, left, right = present.sum(dim=-1).unbind()
    left_leads = (left - right > _LEFT_LEADS * lengths)[:, None]
    flip = joints.new_tensor([-1.0, 1.0, 1.0])[:, None, None, None]
    mirrored = joints[:, MIRRORED] * flip
    # Not `where`: ONNX Runtime has none for bool.
    swapped = (present[[0, 2, 1]] & left_leads) | (present & ~left_leads)
    return torch.where(left_leads, mirrored, joints), swapped


def body_origin_and_scale(pose: Tensor, posed: Tensor, hands: Tensor, handed: Tensor) -> tuple[Tensor, Tensor]:
    """Where the body is and how large, over the whole clip, in frame heights: origin [2, B, 1] and scale [B, 1].

    Between the shoulders, in units of their distance; without a pose, from the hands.
    """
    shoulders = pose[:, SHOULDERS]
    frames = posed.sum(dim=-1, keepdim=True)
    count = frames.clamp(min=1)
    origin = (shoulders.mean(dim=1) * posed).sum(dim=-1, keepdim=True) / count
    scale = (_length(shoulders[:, 0] - shoulders[:, 1]) * posed).sum(dim=-1, keepdim=True) / count

    palm = _length(hands[:2, :, _KNUCKLES] - hands[:2, :, :1]).mean(dim=1)
    count = handed.sum(dim=(0, -1)).clamp(min=1)[:, None]
    origin_hands = (hands[:2, :, 0] * handed).sum(dim=1).sum(dim=-1, keepdim=True) / count
    scale_hands = _SHOULDERS_PER_PALM * (palm * handed).sum(dim=0).sum(dim=-1, keepdim=True) / count
    found = frames > 0
    return (
        torch.where(found, origin, origin_hands),
        torch.where(found, scale, scale_hands).clamp(min=_SMALLEST_SCALE),
    )


def _handshape(shape: Tensor, bones: Tensor) -> Tensor:
    """How the fingers stand to one another, whichever way the hand is turned: [2, 31, B, T].

    Args:
        shape: [3, 2, 21, B, T], joints about the wrist.
        bones: [3, 2, 20, B, T], directions.
    """
    own = _length(shape[:, :, _KNUCKLES]).mean(dim=1).clamp(min=_SMALLEST_PALM)[:, None]
    fingers = torch.unflatten(bones, 2, (5, 4))
    flexion = (fingers[:, :, :, 1:] * fingers[:, :, :, :-1]).sum(dim=0).flatten(1, 2)
    tips = shape[:, :, _TIPS]
    pointing = _directions(tips - shape[:, :, _ROOTS])
    spread = (pointing[:, :, 1:] * pointing[:, :, :-1]).sum(dim=0)
    reach = _length(tips) / own
    pinch = _length(tips[:, :, 1:] - tips[:, :, :1]) / own
    gap = _length(tips[:, :, 2:] - tips[:, :, 1:-1]) / own
    return torch.cat([flexion, spread, reach, pinch, gap], dim=1)


def _orientation(shape: Tensor) -> Tensor:
    """Which way the hand points, the palm faces and the index finger points, as unit vectors: [2, 9, B, T]."""
    pointing = _directions(shape[:, :, _MIDDLE_ROOT])
    across = _directions(shape[:, :, _INDEX_ROOT] - shape[:, :, _LITTLE_ROOT])
    normal = across[[1, 2, 0]] * pointing[[2, 0, 1]] - across[[2, 0, 1]] * pointing[[1, 2, 0]]
    index = _directions(shape[:, :, _INDEX_TIP] - shape[:, :, _INDEX_ROOT])
    return torch.cat([pointing, _directions(normal), index]).transpose(0, 1)


def _contact(middle: Tensor, index_tip: Tensor, pose: Tensor, mirror: Tensor) -> Tensor:
    """How near the hand is to nose, mouth, its own shoulder, the other and chest; index tip to nose: [2, 7, B, T].

    Args:
        middle: [2, 2, B, T], the middle of each hand, mirrored as a right hand.
        index_tip: likewise.
        pose: [2, 9, B, T].
        mirror: [2, 2, 1, 1].
    """
    left, right = pose[:, SHOULDERS].unbind(1)
    chest = torch.zeros_like(left) + pose.new_tensor([0.0, _CHEST])[:, None, None]
    mouth = pose[:, MOUTH].mean(dim=1)
    places = torch.stack(
        [
            torch.stack([pose[:, NOSE], mouth, own, other, chest], dim=1)
            for own, other in ((left, right), (right, left))
        ],
        dim=1,
    )
    distances = _length(middle[:, :, None] - places * mirror[:, :, None])
    return torch.cat(
        [torch.exp(-_FADING * distances), (index_tip - pose[:, NOSE, None] * mirror).transpose(0, 1)], dim=1
    )


def _movement(location: Tensor, shape: Tensor, handed: Tensor, lengths: Tensor) -> Tensor:
    """Velocity of the wrist over 2 and 6 frames, its speed, and the tips' velocity about the wrist: [2, 15, B, T]."""
    fast, slow = _velocity(location, lengths, 1), _velocity(location, lengths, _SLOW)
    tips = _velocity(shape[:2, :, _TIPS], lengths, 1)
    steady = _steady(handed, lengths)
    return torch.cat(
        [
            fast.transpose(0, 1),
            slow.transpose(0, 1),
            _length(fast)[:, None],
            tips.transpose(0, 1).flatten(1, 2) * steady[:, None],
        ],
        dim=1,
    )


def _two_handed(wrists: Tensor, tips: Tensor, location: Tensor, handed: Tensor, lengths: Tensor) -> Tensor:
    """Where the hands are to one another, and whether they move alike: [10, B, T].

    Args:
        wrists: [2, 2, B, T], as seen: nothing is mirrored.
        tips: likewise, of the index fingers.
        location: [2, 2, B, T], wrists, mirrored.
        handed: bool [2, B, T].
        lengths: [B].
    """
    apart = wrists[:, 1] - wrists[:, 0]
    tips_apart = tips[:, 1] - tips[:, 0]
    tip_to_wrist = tips[:, 1] - wrists[:, 0]
    velocity = _velocity(location, lengths, 1)
    # Positive along an axis where the hands move alike as mirror images; in units of 0.1 shoulders a frame, squared.
    alike = 100 * velocity[:, 0] * velocity[:, 1]
    near = torch.cat([tips_apart, _length(tips_apart)[None], tip_to_wrist, alike.clamp(-10, 10)])
    return torch.cat([apart, _length(apart)[None], near * handed.all(dim=0)])


def _length(vectors: Tensor) -> Tensor:
    """Of [2 or 3, ...]: [...]."""
    return vectors.square().sum(dim=0).sqrt()


def _directions(vectors: Tensor) -> Tensor:
    """Vectors [3, ...] at length one."""
    return vectors / _length(vectors).clamp(min=_SMALLEST_LENGTH)


def _velocity(values: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Mean change per frame over `reach` frames before and after, both kept within the clip: like [..., B, T]."""
    before, after = _around(lengths, values.shape[-1], reach)
    shape = values.shape
    return (values.gather(-1, after.expand(shape)) - values.gather(-1, before.expand(shape))) / (2 * reach)


def _steady(handed: Tensor, lengths: Tensor) -> Tensor:
    """Whether the hand is there in the frame before, this one and the next: bool [2, B, T]."""
    before, after = _around(lengths, handed.shape[-1], 1)
    return handed & handed.gather(-1, after.expand(handed.shape)) & handed.gather(-1, before.expand(handed.shape))


def _around(lengths: Tensor, frames: int, reach: int) -> tuple[Tensor, Tensor]:
    """The frames `reach` before and after each, kept within the clip: int64 [B, T] each."""
    steps = torch.arange(frames, device=lengths.device)[None, :]
    last = (lengths[:, None] - 1).clamp(min=0)
    # Not by the number of clips: `len` would fix it in the exported graph.
    return (steps - reach).clamp(min=0).expand_as(last + steps), torch.minimum(steps + reach, last)
