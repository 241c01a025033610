"""Phonological features of raw landmarks, as part of the model graph: handshape, orientation, location, movement.

Stokoe's parameters of a sign, in numbers that do not change with where the signer stands or how large the picture is.
They are computed by the exported model itself, so training and serving cannot differ.
"""

import torch
from torch import Tensor, nn

from signet.landmarks import JOINTS, POSE_JOINTS

# The joints that features are made of: nose, shoulders, elbows and wrists of MediaPipe's pose, and both hands. The rest
# is left out before anything is computed; the places below are among these.
USED_JOINTS = [0, 11, 12, 13, 14, 15, 16, *range(POSE_JOINTS, JOINTS)]
NOSE = 0
SHOULDERS = (1, 2)
ELBOWS = (3, 4)
WRISTS = (5, 6)
POSE = slice(0, 7)
LEFT_HAND = slice(7, 28)
RIGHT_HAND = slice(28, 49)

# A mirrored left elbow is a right elbow.
MIRRORED = [NOSE, *SHOULDERS[::-1], *ELBOWS[::-1], *WRISTS[::-1]]
MIRRORED += [*range(RIGHT_HAND.start, RIGHT_HAND.stop), *range(LEFT_HAND.start, LEFT_HAND.stop)]

# The left hand leads a clip if it is found in so many more of its frames than the right, as a share of the frames:
# signers are mostly right-handed, and two hands that are found alike do not say otherwise.
_LEFT_LEADS = 0.1

# MediaPipe hand joints: each finger from its root to its tip.
FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
TIPS = tuple(finger[-1] for finger in FINGERS)
KNUCKLES = (5, 9, 13, 17)

# A hand's length (wrist to knuckles) is about a quarter of the distance between the shoulders: the scale of a body that
# was not found, from its hands.
_SHOULDERS_PER_PALM = 4.0

# Below this nothing is measured: a hundredth of the frame's height.
_SMALLEST = 0.01


class Features(nn.Module):
    """Raw landmarks to one feature vector per hand and one for both.

    Input: float32 [B, T, 49, 3], `USED_JOINTS` of raw landmarks, NaN where a part is absent, and lengths int64 [B].
    Output: hands float32 [B, T, 2, `HAND`], both float32 [B, T, `BOTH`]; zeros where there is nothing to measure.

    A clip led by the left hand is mirrored first: a left-handed signer measures exactly as a right-handed one. The
    hand that follows comes first in the output, and is mirrored too, so that one set of weights serves both.
    """

    # 20 joints in the plane, 5 reaches, 4 spreads, 4 pinches, 2 palm; 2 location, 2 to the face, 2 elbow, 2 velocity, 1
    # presence
    HAND = 40 + 5 + 4 + 4 + 2 + 2 + 2 + 2 + 2 + 1
    # wrist to wrist, and its length
    BOTH = 3

    def forward(self, landmarks: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Measure every frame; see the class for shapes."""
        steps = torch.arange(landmarks.shape[1], device=landmarks.device)
        inside = (steps[None, :] < lengths[:, None])[..., None]
        landmarks = _right_led(landmarks, inside)
        missing = torch.isnan(landmarks[..., 0])
        posed = ~missing[:, :, NOSE, None] & inside
        handed = torch.stack([~missing[:, :, LEFT_HAND.start], ~missing[:, :, RIGHT_HAND.start]], dim=2) & inside
        joints = torch.nan_to_num(landmarks)
        pose = joints[:, :, POSE, :2]
        hands = torch.stack([joints[:, :, LEFT_HAND], joints[:, :, RIGHT_HAND]], dim=2)

        origin, scale = self._body_frame(pose, posed, hands[..., :2], handed)
        pose = (pose - origin[:, None]) / scale[:, None]
        wrist = torch.where(
            handed[..., None], (hands[:, :, :, 0, :2] - origin[:, None]) / scale[:, None], pose[:, :, WRISTS]
        )
        wrist = wrist * (handed | posed)[..., None]
        mirror = landmarks.new_tensor([[-1.0, 1.0], [1.0, 1.0]])

        location = wrist * mirror
        to_face = (wrist - pose[:, :, None, NOSE]) * mirror * posed[..., None]
        elbow = (pose[:, :, ELBOWS] - wrist) * mirror * posed[..., None]
        velocity = _velocity(location, lengths)
        shape = self._handshape(hands, scale, mirror) * handed[..., None]
        features = torch.cat([shape, location, to_face, elbow, velocity, handed[..., None].to(shape.dtype)], dim=-1)

        apart = wrist[:, :, 1] - wrist[:, :, 0]
        both = torch.cat([apart, torch.linalg.vector_norm(apart, dim=-1, keepdim=True)], dim=-1)
        return features * inside[..., None], both * inside

    @staticmethod
    def _body_frame(pose: Tensor, posed: Tensor, hands: Tensor, handed: Tensor) -> tuple[Tensor, Tensor]:
        """Where the body is and how large, over the whole clip: origin [B, 1, 2] and scale [B, 1, 1], in frame heights.

        Between the shoulders, in units of their distance; without a pose, from the hands.
        """
        left, right = pose[:, :, SHOULDERS[0]], pose[:, :, SHOULDERS[1]]
        width = torch.linalg.vector_norm(left - right, dim=-1, keepdim=True)
        posed_any = posed.any(dim=1)
        origin = _mean((left + right) / 2, posed)
        scale = _mean(width, posed)

        palm = torch.linalg.vector_norm(hands[:, :, :, KNUCKLES] - hands[:, :, :, :1], dim=-1).mean(
            dim=-1, keepdim=True
        )
        seen = handed[..., None]
        count = seen.sum(dim=(1, 2)).clamp(min=1)
        origin_hands = (hands[:, :, :, 0] * seen).sum(dim=(1, 2)) / count
        scale_hands = _SHOULDERS_PER_PALM * (palm * seen).sum(dim=(1, 2)) / count
        origin = torch.where(posed_any, origin, origin_hands)
        scale = torch.where(posed_any, scale, scale_hands).clamp(min=_SMALLEST)
        return origin[:, None], scale[:, None]

    @staticmethod
    def _handshape(hands: Tensor, scale: Tensor, mirror: Tensor) -> Tensor:
        """Joints about the wrist, and the distances that name a handshape: [B, T, 2, 55], in units of a palm's length.

        That length is the body's, not the hand's own in this frame: a hand that points at the camera measures nearly
        nothing, and would be blown up.
        """
        joints = hands - hands[:, :, :, :1]
        plane = joints[..., :2] * mirror[:, None]
        palm = scale[:, None, None] / _SHOULDERS_PER_PALM
        plane = plane / palm
        solid = torch.cat([plane, joints[..., 2:] / palm], dim=-1)

        tips = solid[:, :, :, TIPS]
        reach = torch.linalg.vector_norm(tips, dim=-1)
        spread = torch.linalg.vector_norm(tips[:, :, :, 1:] - tips[:, :, :, :-1], dim=-1)
        pinch = torch.linalg.vector_norm(tips[:, :, :, 1:] - tips[:, :, :, :1], dim=-1)
        # The palm's normal, as far as it leaves the picture: which way the palm faces.
        index, little = solid[:, :, :, KNUCKLES[0]], solid[:, :, :, KNUCKLES[3]]
        facing = index[..., 0] * little[..., 1] - index[..., 1] * little[..., 0]
        towards = index[..., 2] - little[..., 2]
        facing = torch.stack([facing, towards], dim=-1)
        return torch.cat([plane[:, :, :, 1:].flatten(-2), reach, spread, pinch, facing], dim=-1)


def _right_led(landmarks: Tensor, inside: Tensor) -> Tensor:
    """Clips as a right-handed signer would sign them: [B, T, 49, 3]."""
    found = ~torch.isnan(landmarks[:, :, (LEFT_HAND.start, RIGHT_HAND.start), 0]) & inside
    left, right = found.sum(dim=1).unbind(dim=1)
    left_leads = left - right > _LEFT_LEADS * inside.sum(dim=1)[:, 0]
    flip = landmarks.new_tensor([-1.0, 1.0, 1.0])
    return torch.where(left_leads[:, None, None, None], landmarks[:, :, MIRRORED] * flip, landmarks)


def _mean(values: Tensor, present: Tensor) -> Tensor:
    """Mean over the present frames: [B, T, D] and [B, T, 1] to [B, D]."""
    return (values * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def _velocity(location: Tensor, lengths: Tensor) -> Tensor:
    """Half the way from the frame before to the frame after, both within the clip: [B, T, 2, 2]."""
    steps = torch.arange(location.shape[1], device=location.device)
    before = location[:, (steps - 1).clamp(min=0)]
    last = (lengths[:, None] - 1).clamp(min=0)
    after = torch.minimum(steps[None, :] + 1, last)[..., None, None].expand(-1, -1, *location.shape[2:])
    return (torch.gather(location, 1, after) - before) / 2
