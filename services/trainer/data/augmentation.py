"""Random changes of landmarks, of all clips of a batch at once: other signers, cameras, speeds and tracking losses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from services.trainer.features.phonology import LEFT_HAND, POSE, RIGHT_HAND


@dataclass(frozen=True)
class Augmentation:
    """The bounds of the random changes.

    Each change is drawn uniformly between minus and plus its bound, unless its comment says otherwise.
    """

    rotation: float = 0.2  # of the picture, radians
    shear: float = 0.15  # of the picture, as a camera sees it that does not face the signer
    stretch: float = 0.15  # of the picture's height, relative; bodies of other proportions
    hand_rotation: float = 0.2  # of each hand about its wrist, radians
    hand_scale: float = 0.15  # of each hand about its wrist, relative
    jitter: float = 0.003  # standard deviation of normal noise on each coordinate, frame heights
    speed: float = 0.3  # of the clip, relative
    warp: float = 0.1  # of time within the clip, as a share of its length
    crop: float = 0.1  # from 0, share of the clip that is cut from each end
    hand_loss: float = 0.3  # the probability that a hand of a clip is lost for a while


def draw_lengths(lengths: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """The lengths of clips [M] after a random change of speed: int64 [M], at least 2 frames."""
    speed = 1 + augmentation.speed * _uniform(lengths.shape, generator, lengths.device)
    return (lengths / speed).round().long().clamp(min=2)


def draw_sample_times(
    lengths: Tensor, warped: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """The times in clips of `lengths` [M] from which the frames of clips of `warped` [M] frames are taken.

    Returns float32 [M, T] in frames, ascending, T = warped.max(). The last time is repeated beyond a clip's length.
    """
    device = lengths.device
    shape = (len(lengths), 1)
    steps = torch.arange(int(warped.max()), device=device)[None, :]
    u = (steps / (warped[:, None] - 1)).clamp(max=1)
    # The derivative 1 + warp·(π·cos(πu + φ) + 2·sin φ) is positive for warp < 0.26, so time never runs backwards.
    phase = torch.pi * _uniform(shape, generator, device)
    bend = augmentation.warp * _uniform(shape, generator, device)
    u = u + bend * (torch.sin(torch.pi * u + phase) - (1 - u) * torch.sin(phase) - u * torch.sin(torch.pi + phase))
    first = augmentation.crop * torch.rand(shape, generator=generator, device=device)
    last = 1 - augmentation.crop * torch.rand(shape, generator=generator, device=device)
    return (first + (last - first) * u.clamp(0, 1)) * (lengths[:, None] - 1)


def distort_joints(joints: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Distort the picture and the hands of each clip: `USED_JOINTS` [3, J, M, T] to the same shape."""
    device, count = joints.device, joints.shape[2]

    def draw(bound: float) -> Tensor:
        return bound * _uniform((count, 1), generator, device)

    angle, shear, stretch = draw(augmentation.rotation), draw(augmentation.shear), 1 + draw(augmentation.stretch)
    cos, sin = angle.cos(), angle.sin()
    x, y, z = joints
    x, y = cos * x + (shear - sin) * y, sin * x + cos * stretch * y
    parts = [torch.stack([x[POSE], y[POSE], z[POSE]])]
    for part in (LEFT_HAND, RIGHT_HAND):
        hand = torch.stack([x[part], y[part], z[part]])
        wrist = hand[:, :1]
        turn, scale = draw(augmentation.hand_rotation), 1 + draw(augmentation.hand_scale)
        cos, sin = turn.cos() * scale, turn.sin() * scale
        dx, dy, dz = hand - wrist
        parts.append(torch.stack([cos * dx - sin * dy, sin * dx + cos * dy, scale * dz]) + wrist)
    distorted = torch.cat(parts, dim=1)
    return distorted + augmentation.jitter * torch.randn(distorted.shape, generator=generator, device=device)


def drop_hands(present: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Hide hands for up to a third of the frames, as the tracker loses them: presence bool [3, M, T], of `Clips`."""
    _, count, frames = present.shape

    def draw() -> Tensor:
        return torch.rand((2, count, 1), generator=generator, device=present.device)

    dropped, start, span = draw() < augmentation.hand_loss, draw() * frames, draw() * frames / 3
    steps = torch.arange(frames, device=present.device)
    lost = dropped & (steps >= start) & (steps < start + span)
    return torch.cat([present[:1], present[1:] & ~lost])


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform random numbers between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator, device=device) - 1
