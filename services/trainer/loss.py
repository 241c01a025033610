"""What training minimises: a flat start that gives every sign its moment, then CTC; and the posterior to judge by.

Why a flat start. Where the timing is free, CTC is satisfied early by a model that spreads one expected emission over
all frames: the ranking of the signs is right, P(exactly one sign) stays near 1/e, blank wins every frame, and the
gradient towards a sharp moment is weak. Frame labels, crude as they are, break that symmetry, as in hybrid speech
recognition; then CTC takes over the timing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from signet.decoding import BLANK

# Where in a clip its sign is taken to be while the timing is not yet learnt; the rest is blank.
SIGN_SPAN = (0.3, 0.7)

# Blank frames are the many; they count less than sign frames, so that the start is not a collapse of its own.
BLANK_FRAME_WEIGHT = 0.4


def ctc(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, signs: Tensor | None = None
) -> Tensor:
    """Mean CTC loss per sign (Graves et al. 2006).

    Args:
        log_probs: [B, T, C + 1], the output of log_softmax: CTC's gradient is that of the logits only then.
        lengths: [B], frames.
        targets: [B, S], classes 1..C, padded with anything.
        target_lengths: [B], signs.
        signs: how many signs the mean is over, if not over those here. The parts of a batch that are each given the
            signs of the whole add up to the loss of the whole.
    """
    loss = F.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    return loss.sum() / (target_lengths.sum() if signs is None else signs)


def frame_weights(labels: Tensor, inside: Tensor) -> Tensor:
    """How much each frame counts in `frame_cross_entropy`, whose arguments these are: [B, T]."""
    return torch.where(labels == BLANK, BLANK_FRAME_WEIGHT, 1.0) * inside


def frame_cross_entropy(
    log_probs: Tensor, labels: Tensor, inside: Tensor, total_weight: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of the frames against the crude labels of a flat start.

    Args:
        log_probs: [B, T, C + 1].
        labels: [B, T], class of each frame, 0 for blank.
        inside: [B, T], whether the frame belongs to a clip.
        total_weight: what the mean is over, if not over the frames here: for a part of a batch, the sum of
            `frame_weights` of the whole.
    """
    weight = frame_weights(labels, inside)
    chosen = log_probs.gather(2, labels[..., None])[..., 0]
    return -(chosen * weight).sum() / (weight.sum() if total_weight is None else total_weight)


def single_sign_scores(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Log p([c] | x) for every gloss: [B, T, C + 1] to [B, C]. `signet.decoding.single_sign_scores`, in torch."""
    inside = torch.arange(log_probs.shape[1], device=log_probs.device)[None, :] < lengths[:, None]
    kept = log_probs.double() * inside[..., None]
    blank = F.pad(kept[..., :1].cumsum(1), (0, 0, 1, 0))
    sign = F.pad(kept[..., 1:].cumsum(1), (0, 0, 1, 0))
    starts = (blank[:, :-1] - sign[:, :-1]).logcumsumexp(1)
    ends = (sign[:, 1:] - blank[:, 1:] + starts).masked_fill(~inside[..., None], -torch.inf)
    return blank[:, -1] + ends.logsumexp(1)
