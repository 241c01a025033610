"""What training minimises: a flat start that gives every sign its moment, then CTC; and the posterior to judge by.

Why a flat start. Where the timing is free, CTC is satisfied early by a model that spreads one expected emission over
all frames: the ranking of the signs is right, P(exactly one sign) stays near 1/e, blank wins every frame, and the
gradient towards a sharp moment is weak. Frame labels, crude as they are, break that symmetry, as in hybrid speech
recognition; then CTC takes over the timing.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.model.recogniser import length_mask
from signet.decoding import BLANK

# Blank frames are the many; they count less than sign frames, so that the start is not a collapse of its own.
BLANK_FRAME_WEIGHT = 0.4


def ctc(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, signs: Tensor | None = None
) -> Tensor:
    """Mean CTC loss per sign (Graves et al. 2006).

    The derivative by log p(k at t) is minus the occupation of class k. PyTorch's is that by the logits of a log_softmax
    over these very classes, p(k at t) more; where they are some of many classes, or come of something else, that would
    be another loss' gradient. So p is taken off again.

    Args:
        log_probs: [B, T, C + 1]; finite, of all classes or of those that are in the targets.
        lengths: [B], frames.
        targets: [B, S], classes 1..C, padded with anything.
        target_lengths: [B], signs.
        signs: how many signs the mean is over, if not over those here. The parts of a batch that are each given the
            signs of the whole add up to the loss of the whole.
    """
    loss = F.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    inside = length_mask(log_probs, lengths)
    # Where no alignment fits, the loss counts as 0, and so does its gradient.
    mass = log_probs.float().exp().sum(dim=2) * (inside & (loss > 0)[:, None])
    return (loss.sum() + (mass.detach() - mass).sum()) / (target_lengths.sum() if signs is None else signs)


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


def sign_cross_entropy(given: Tensor, labels: Tensor, inside: Tensor, total: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of which sign it is, given that it is one, over the frames that are labelled with a sign.

    It says nothing of when.

    Args:
        given: [B, T, C], log p(sign | not blank) of each class from 1 on.
        labels: [B, T], class of each frame, 0 for blank.
        inside: [B, T], whether the frame belongs to a clip.
        total: how many frames the mean is over, if not over those here: for a part of a batch, those of the whole.
    """
    chosen = (labels != BLANK) & inside
    told = given.gather(2, (labels - 1).clamp(min=0)[..., None])[..., 0]
    return -(told * chosen).sum() / (chosen.sum().clamp(min=1) if total is None else total)


def single_sign_scores(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Log p([c] | x) for every gloss, with a gradient: `signet.decoding.single_sign_scores`, in torch.

    Their cross-entropy against the label is minus the log of the exact single-sign posterior. What all glosses share
    cancels there, so that a constant taken from the blank before log_softmax acts, and one that is added to every class
    does not.

    Args:
        log_probs: float32 or float64 [B, T, C + 1], finite within the clips; lower precisions are raised to float32.
        lengths: [B], frames, at least 1.

    Returns:
        float64 [B, C].
    """
    raised = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
    scores: Tensor = _SingleSignScores.apply(raised, lengths)  # type: ignore[no-untyped-call]
    return scores


class _SingleSignScores(torch.autograd.Function):
    """The recursion and its derivative, both in closed form.

    With d(t) = log p(c at t) - log p(blank at t), the runs of c that end at t weigh u(t) = exp(d(t)) · (1 + u(t - 1))
    relative to the path of blanks alone; `runs` holds log u. The derivative of log(sum of u) by d(t) is the probability
    that frame t belongs to the sign, its occupation,

        o(t) = u(t) / (sum of u) + o(t + 1) · u(t) / (1 + u(t))

    a sum of positive terms that are at most 1. Autograd through the recursion would give the same, and keep half a
    dozen times the memory.
    """

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor) -> Tensor:
        outside = ~length_mask(log_probs, lengths)
        runs = (log_probs[..., 1:] - log_probs[..., :1]).masked_fill_(outside[..., None], -torch.inf)
        nothing, grown = runs.new_zeros(()), torch.empty_like(runs[:, 0])
        for before, now in pairwise(runs.unbind(1)):
            now.add_(torch.logaddexp(before, nothing, out=grown))
        odds = runs.logsumexp(1)
        ctx.save_for_backward(runs, odds, outside)
        # A long clip's blanks add up to thousands of nats, beside which float32 would lose what tells glosses apart.
        blanks = log_probs[..., BLANK].double().masked_fill(outside, 0).sum(1, keepdim=True)
        return blanks + odds

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        runs, odds, outside = ctx.saved_tensors
        outer = outer.to(runs.dtype)
        gradient = runs.new_empty((*runs.shape[:2], runs.shape[2] + 1))
        # The sign's occupation of each frame, times what is asked of its score; the blank has the rest of each frame.
        sign = gradient[..., 1:]
        torch.exp(torch.sub(runs, odds[:, None], out=sign), out=sign).mul_(outer[:, None])
        earlier = list(zip(sign.unbind(1), runs.sigmoid().unbind(1), strict=True))
        for (later, _), (now, share) in pairwise(reversed(earlier)):
            now.addcmul_(share, later)
        torch.sub(outer.sum(1, keepdim=True), sign.sum(2), out=gradient[..., BLANK])
        gradient[..., BLANK].masked_fill_(outside, 0)
        return gradient, None
