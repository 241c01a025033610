"""Augmentation of landmarks on the device, a whole batch at a time: other signers, cameras, speeds and losses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.trainer.features.phonology import LEFT_HAND, POSE, RIGHT_HAND


@dataclass(frozen=True)
class Augmentation:
    """How far augmentation goes. Each figure is the largest change, drawn uniformly up to it.

    Attributes:
        rotation: of the picture, radians.
        shear: of the picture: cameras that do not face the signer.
        stretch: of height against width: other proportions.
        hand_rotation: of each hand about its wrist, radians.
        hand_scale: of each hand about its wrist.
        jitter: standard deviation of each joint, frame heights.
        speed: how much faster or slower, as a factor less one.
        warp: how unevenly, as a share of the clip.
        crop: share cut from either end.
        hand_loss: share of clips in which a hand is lost for a while.
    """

    rotation: float = 0.2
    shear: float = 0.15
    stretch: float = 0.15
    hand_rotation: float = 0.2
    hand_scale: float = 0.15
    jitter: float = 0.003
    speed: float = 0.3
    warp: float = 0.1
    crop: float = 0.1
    hand_loss: float = 0.3


def draw_lengths(lengths: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """New lengths after a change of speed: [M], at least 2 frames."""
    speed = 1 + augmentation.speed * _uniform(lengths.shape, generator, lengths.device)
    return (lengths / speed).round().long().clamp(min=2)


def draw_sample_times(
    lengths: Tensor, warped: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """Where in its clip each new frame is taken from: float [M, T'], in frames, for T' = warped.max()."""
    device = lengths.device
    count = (len(lengths), 1)
    steps = torch.arange(int(warped.max()), device=device)[None, :]
    u = (steps / (warped[:, None] - 1)).clamp(max=1)
    # A monotonic bend: the derivative 1 + warp·π·cos(πu + φ) stays positive for warp < 1/π.
    phase = torch.pi * _uniform(count, generator, device)
    bend = augmentation.warp * _uniform(count, generator, device)
    u = u + bend * (torch.sin(torch.pi * u + phase) - (1 - u) * torch.sin(phase) - u * torch.sin(torch.pi + phase))
    first = augmentation.crop * torch.rand(count, generator=generator, device=device)
    last = 1 - augmentation.crop * torch.rand(count, generator=generator, device=device)
    return (first + (last - first) * u.clamp(0, 1)) * (lengths[:, None] - 1)


def distort_joints(joints: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Bend the picture and the hands of each clip: [3, J, M, T], of `USED_JOINTS`."""
    device, count = joints.device, joints.shape[2]

    def draw(limit: float) -> Tensor:
        return limit * _uniform((count, 1), generator, device)

    angle, shear, stretch = draw(augmentation.rotation), draw(augmentation.shear), 1 + draw(augmentation.stretch)
    cos, sin = angle.cos(), angle.sin()
    x, y, z = joints
    x, y = cos * x + (shear - sin) * y, sin * x + cos * stretch * y
    parts = [torch.stack([x[POSE], y[POSE], z[POSE]])]
    for where in (LEFT_HAND, RIGHT_HAND):
        hand = torch.stack([x[where], y[where], z[where]])
        wrist = hand[:, :1]
        turn, size = draw(augmentation.hand_rotation), 1 + draw(augmentation.hand_scale)
        cos, sin = turn.cos() * size, turn.sin() * size
        right, down, towards = hand - wrist
        parts.append(torch.stack([cos * right - sin * down, sin * right + cos * down, size * towards]) + wrist)
    bent = torch.cat(parts, dim=1)
    return bent + augmentation.jitter * torch.randn(bent.shape, generator=generator, device=device)


def drop_hands(present: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Let some clips lose a hand for up to a third of their frames, as the tracker does: bool [3, M, T]."""
    _, count, frames = present.shape

    def draw() -> Tensor:
        return torch.rand((2, count, 1), generator=generator, device=present.device)

    chosen, start, span = draw() < augmentation.hand_loss, draw() * frames, draw() * frames / 3
    steps = torch.arange(frames, device=present.device)
    lost = chosen & (steps >= start) & (steps < start + span)
    return torch.cat([present[:1], present[1:] & ~lost])


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator, device=device) - 1
