"""What a training minimises, and when: a flat start on crude frame labels, then CTC with what is left of them."""

import torch
from torch import Tensor

from services.trainer.batches import Batch
from services.trainer.loss import ctc, frame_cross_entropy

# Share of the epochs with frame labels alone, and the share over which they then fade into CTC.
FLAT_START = 0.4
FADE = 0.2

# What remains of the frame term beside CTC: enough to keep a sign's moment from spreading out again.
FRAME_WEIGHT = 0.15


def loss(log_probs: Tensor, batch: Batch, progress: float, signs: Tensor, weight: Tensor) -> Tensor:
    """What these sequences add to the loss of a whole batch, which they may be a part of.

    Args:
        log_probs: [B, T, C + 1], what the model says of `batch`.
        batch: the sequences.
        progress: the share of the epochs gone before, 0 to 1.
        signs: how many signs the whole batch has.
        weight: the sum of `frame_weights` of the whole batch.
    """
    frames = frame_cross_entropy(log_probs, batch.frame_labels, batch.inside, weight)
    if in_flat_start(progress):
        return frames
    faded = min(1.0, (progress - FLAT_START) / FADE)
    frame_share = 1 - (1 - FRAME_WEIGHT) * faded
    timing: torch.Tensor = ctc(log_probs, batch.lengths, batch.targets, batch.target_lengths, signs)
    return timing + frame_share * frames


def in_flat_start(progress: float) -> bool:
    """Whether CTC has not spoken yet."""
    return progress < FLAT_START
