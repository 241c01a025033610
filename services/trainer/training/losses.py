"""The losses of training, and the exact scores of single signs with which a model is evaluated.

Where the timing is free, CTC is satisfied early by a model that spreads one expected emission over all frames: the
ranking of the signs is right, P(exactly one sign) stays near 1/e, the blank wins every frame, and the gradient towards
a sharp moment is weak. Crude frame labels break that symmetry, as in hybrid speech recognition.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.model.recogniser import length_mask
from signet.decoding import BLANK

# Blank frames are the majority. They count less than sign frames, or the model would learn to say blank everywhere.
BLANK_FRAME_WEIGHT = 0.4


def ctc(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, signs: Tensor | None = None
) -> Tensor:
    """Mean CTC loss per sign (Graves et al. 2006).

    The derivative by log p(k at t) is minus the occupation of class k. PyTorch returns the derivative by the logits of
    a log_softmax over exactly these classes, which is larger by p(k at t). Here the classes may be a part of all
    classes, or the log-probabilities may come from something else, and so p is subtracted again.

    Args:
        log_probs: [B, T, C + 1]; finite, of all classes or of those in the targets.
        lengths: [B], frames.
        targets: [B, S], classes 1..C, padded with anything.
        target_lengths: [B], signs.
        signs: the number of signs to divide by, if not those of the targets. The losses of a batch's parts add up to
            the loss of the batch if each is divided by the signs of the whole batch.
    """
    loss = F.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    inside = length_mask(log_probs, lengths)
    # Where no alignment fits, the loss counts as 0, and so does its gradient.
    mass = log_probs.float().exp().sum(dim=2) * (inside & (loss > 0)[:, None])
    return (loss.sum() + (mass.detach() - mass).sum()) / (target_lengths.sum() if signs is None else signs)


def frame_weights(labels: Tensor, inside: Tensor) -> Tensor:
    """The weight of each frame in `frame_cross_entropy`, which explains the arguments: [B, T]."""
    return torch.where(labels == BLANK, BLANK_FRAME_WEIGHT, 1.0) * inside


def frame_cross_entropy(
    log_probs: Tensor, labels: Tensor, inside: Tensor, total_weight: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of the frames against crude labels.

    Args:
        log_probs: [B, T, C + 1].
        labels: [B, T], the class of each frame, 0 for blank.
        inside: [B, T], whether the frame belongs to a clip.
        total_weight: the weight to divide by, if not that of these frames: for a part of a batch, the sum of
            `frame_weights` over the whole batch.
    """
    weight = frame_weights(labels, inside)
    of_label = log_probs.gather(2, labels[..., None])[..., 0]
    return -(of_label * weight).sum() / (weight.sum() if total_weight is None else total_weight)


def sign_cross_entropy(given_emission: Tensor, labels: Tensor, inside: Tensor, total: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of the sign, given that there is one, over the frames that are labelled with a sign.

    It does not depend on when the model emits a sign.

    Args:
        given_emission: [B, T, C], log p(sign | not blank) of each class from 1 on.
        labels: [B, T], the class of each frame, 0 for blank.
        inside: [B, T], whether the frame belongs to a clip.
        total: the number of frames to divide by, if not that of these frames: for a part of a batch, that of the whole.
    """
    labelled = (labels != BLANK) & inside
    of_label = given_emission.gather(2, (labels - 1).clamp(min=0)[..., None])[..., 0]
    return -(of_label * labelled).sum() / (labelled.sum().clamp(min=1) if total is None else total)


@torch.no_grad()
def single_sign_scores(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Log p([c] | x) for every gloss: `signet.decoding.single_sign_scores`, in torch.

    With d(t) = log p(c at t) - log p(blank at t), the runs of c that end at t have the weight
    u(t) = exp(d(t)) · (1 + u(t - 1)) relative to the path of blanks alone; `runs` holds log u.

    Args:
        log_probs: float32 or float64 [B, T, C + 1], finite within the clips; lower precisions are raised to float32.
        lengths: [B], frames, at least 1.

    Returns:
        float64 [B, C].
    """
    raised = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
    outside = ~length_mask(raised, lengths)
    runs = (raised[..., 1:] - raised[..., :1]).masked_fill_(outside[..., None], -torch.inf)
    zero, grown = runs.new_zeros(()), torch.empty_like(runs[:, 0])
    for before, now in pairwise(runs.unbind(1)):
        now.add_(torch.logaddexp(before, zero, out=grown))
    # The blanks of a long clip add up to thousands of nats. In float32 the differences between glosses would vanish.
    blanks = raised[..., BLANK].double().masked_fill(outside, 0).sum(1, keepdim=True)
    return blanks + runs.logsumexp(1)
