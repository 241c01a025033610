"""Joins augmented clips to sequences that resemble signing.

A clip of one sign begins and ends with the hands at rest. In signing, the hands go from one sign to the next. So the
rests are cut from the clips of some sequences, and the hands move from the last place of one sign to the first place of
the next. Landmarks are joined, and features are computed afterwards: a model then finds the velocities and the one
dominant hand that it finds in a video.

`signet.landmarks.concatenation` makes the sequences of evaluation. It works on one sequence of model inputs; this
module works on batches, on the device.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.data.batches import interpolate
from services.trainer.features.phonology import HANDS, LEFT_HAND, MIRRORED, POSE, body_origin_and_scale


@dataclass(frozen=True)
class JoiningLimits:
    """The bounds of how clips are joined. Frames are those of a model, a tenth of a second each."""

    cut: float = 0.5  # the probability that the rests of a sequence's clips are cut
    slack: int = 3  # at most this many frames of a rest remain before and after the movement
    transition: int = 6  # at most this many frames are inserted between two movements


@dataclass(frozen=True)
class PlacedClips:
    """Clips of bodies at the same place and of the same size. N frames, M clips."""

    joints: Tensor  # float32 [N, 3 · J]
    present: Tensor  # bool [N, 3]
    starts: Tensor  # int64 [M], the first frame of each clip
    lengths: Tensor  # int64 [M]
    active: Tensor  # int64 [M, 2], the first frame of the movement, and the first frame after it


@dataclass(frozen=True)
class JoinedClips:
    """Sequences of up to S clips each."""

    joints: Tensor  # float32 [3, J, B, T]
    present: Tensor  # bool [3, B, T]
    lengths: Tensor  # int64 [B], frames
    inside: Tensor  # bool [B, T], which frames belong to the sequence
    clip: Tensor  # int64 [B, T], the place in its sequence of the clip that a frame belongs to, from 0
    # float32 [B, T], where a frame is in the movement of its clip: 0 at its start, 1 at its end; nan in a transition
    share: Tensor


def place_bodies(joints: Tensor, present: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Move and scale the picture of each clip, so that all signers are at the same place and of the same size.

    Args:
        joints: float32 [3, J, B, T], as `Features.forward` takes them.
        present: bool [3, B, T].
        mirrored: bool [B], which clips are mirrored first.

    Returns:
        Joints and presence, of the same shapes.
    """
    mirrored = mirrored[:, None]
    flip = joints.new_tensor([-1.0, 1.0, 1.0])[:, None, None, None]
    joints = torch.where(mirrored, joints[:, MIRRORED] * flip, joints)
    present = torch.where(mirrored, present[[0, 2, 1]], present)
    hands = torch.unflatten(joints[:, HANDS], 1, (2, LEFT_HAND.stop - LEFT_HAND.start))
    origin, scale = body_origin_and_scale(joints[:2, POSE], present[0], hands, present[1:])
    return torch.cat([joints[:2] - origin[:, None], joints[2:]]) / scale, present


def join(clips: PlacedClips, chosen: Tensor, joining: JoiningLimits, generator: torch.Generator) -> JoinedClips:
    """Join clips to sequences.

    Args:
        clips: the clips.
        chosen: int64 [B, S], the clips of each sequence in their order; -1 is no clip, and ends a sequence.
        joining: the bounds of the random choices.
        generator: the random numbers, on the device of the clips.
    """
    sequences, signs = chosen.shape
    device = chosen.device
    there, chosen = chosen >= 0, chosen.clamp(min=0)
    starts, lengths, active = clips.starts[chosen], clips.lengths[chosen], clips.active[chosen]

    cut = torch.rand((sequences, 1), generator=generator, device=device) < joining.cut
    slack = torch.randint(joining.slack + 1, (2, sequences, signs), generator=generator, device=device)
    first = torch.where(cut, (active[..., 0] - slack[0]).clamp(min=0), 0)
    last = torch.where(cut, torch.minimum(active[..., 1] + slack[1], lengths), lengths)
    transitions = torch.randint(joining.transition + 1, (sequences, signs), generator=generator, device=device)
    transitions = transitions * (cut & there)
    transitions[:, 0] = 0

    # A sequence consists of pieces: for each clip, the transition to it and then its frames.
    pieces = torch.stack([transitions, (last - first) * there], dim=2).flatten(1)
    ends = pieces.cumsum(dim=1)
    totals = ends[:, -1]
    steps = torch.arange(int(totals.max()), device=device).expand(sequences, -1).contiguous()
    inside = steps < totals[:, None]
    piece = torch.searchsorted(ends, steps, right=True).clamp(max=2 * signs - 1)
    offset = steps - (ends - pieces).gather(1, piece)
    clip, in_clip = piece // 2, piece % 2 == 1
    first_row = (starts + first).gather(1, clip)
    last_row_before = F.pad((starts + last - 1)[:, :-1], (1, 0)).gather(1, clip)
    after = torch.where(in_clip, first_row + offset, first_row) * inside
    before = torch.where(in_clip, first_row + offset, last_row_before) * inside
    # Hands accelerate and brake: the share of the way after the share s of the time is 3s² - 2s³.
    time = (offset + 1) / (pieces.gather(1, piece) + 1)
    weight = torch.where(in_clip, 0.0, time * time * (3 - 2 * time)) * inside
    joints, present = interpolate(
        (clips.joints[before], clips.joints[after]), (clips.present[before], clips.present[after]), weight
    )
    begin, end = active[..., 0].gather(1, clip), active[..., 1].gather(1, clip)
    share = (first.gather(1, clip) + offset - begin + 0.5) / (end - begin)
    return JoinedClips(joints, present & inside, totals, inside, clip, torch.where(in_clip & inside, share, torch.nan))
