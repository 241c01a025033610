"""What a training minimises in each epoch: every head starts with frame labels, and then learns by CTC.

A linear head needs a flat start, as in hybrid speech recognition: crude frame labels alone give every sign a moment;
then they fade, and CTC (Graves et al. 2006) takes over the timing. A competition head finds the timing by itself. From
the first epoch to the last, its frame labels say only which sign the middle frames of a clip show.

Why the flat start: where the timing is free, CTC is satisfied early by a model that spreads one expected emission over
all frames. The ranking of the signs is right, P(exactly one sign) stays near 1/e, the blank wins every frame, and the
gradient towards a sharp moment is weak. Frame labels break that symmetry.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.data.batches import Batch
from services.trainer.model.sign_model import SignLogProbs, length_mask
from signet.decoding import BLANK

# Blank frames are the majority. They count less than sign frames, or the model would learn to say blank everywhere.
BLANK_FRAME_WEIGHT = 0.4

# With a linear head, the share of the epochs in which the frame labels fade into CTC.
FADE = 0.2

# The weight of the frame term after that: enough to keep the moment of a sign from spreading out again.
FRAME_WEIGHT = 0.15

# The weight, at the start and at the end, of the term that teaches a competition head which sign a frame shows. It
# teaches the signs while their timing is unknown, and later it only stabilises what CTC has learned.
FIRST_SIGN_WEIGHT, LAST_SIGN_WEIGHT = 1.0, 0.2


@dataclass(frozen=True)
class LossTotals:
    """The denominators of a batch's mean losses. The losses of its parts use those of the whole batch."""

    signs: Tensor  # the number of signs in its targets
    weight: Tensor  # the sum of `frame_weights`
    sign_frames: Tensor  # the number of frames that are labelled with a sign

    @classmethod
    def of(cls, batch: Batch, batches: int = 1) -> "LossTotals":
        """The totals of a batch; `batches` is the number of batches whose mean loss one step minimises."""
        return cls(
            signs=batch.target_lengths.sum() * batches,
            weight=frame_weights(batch.frame_labels, batch.inside).sum() * batches,
            sign_frames=((batch.frame_labels != BLANK) & batch.inside).sum().clamp(min=1) * batches,
        )


# A loss, from the branches' log-probabilities of a batch or part, that batch or part, the share of the epochs that are
# trained, and the totals of the whole batch.
Objective = Callable[[SignLogProbs, Batch, float, LossTotals], Tensor]


def make_objective(head: str, start: float) -> Objective:
    """The mean of the branches' losses. CTC begins after the share `start` of the epochs; 0 uses it from the first."""
    branch_loss = _flat_start if head == "linear" else _competition

    def objective(log_probs: SignLogProbs, batch: Batch, progress: float, totals: LossTotals) -> Tensor:
        branches = len(log_probs.given_emission)
        # All branches as one large batch: one CTC call instead of one for each.
        flat = SignLogProbs(log_probs.log_probs.flatten(0, 1), log_probs.given_emission.flatten(0, 1))
        repeated = _place_classes(batch).repeat_without_features(branches)
        return branch_loss(flat, repeated, progress, totals, start) / branches

    return objective


def _flat_start(log_probs: SignLogProbs, batch: Batch, progress: float, totals: LossTotals, start: float) -> Tensor:
    frames = frame_cross_entropy(log_probs.log_probs, batch.frame_labels, batch.inside, totals.weight)
    if progress < start:
        return frames
    faded = min(1.0, (progress - start) / FADE)
    weight = 1 - (1 - FRAME_WEIGHT) * faded if start else 0.0
    return _ctc(log_probs, batch, totals) + weight * frames


def _competition(log_probs: SignLogProbs, batch: Batch, progress: float, totals: LossTotals, start: float) -> Tensor:
    weight = FIRST_SIGN_WEIGHT + progress * (LAST_SIGN_WEIGHT - FIRST_SIGN_WEIGHT)
    signs = weight * sign_cross_entropy(log_probs.given_emission, batch.frame_labels, batch.inside, totals.sign_frames)
    return signs if progress < start else signs + _ctc(log_probs, batch, totals)


def _ctc(log_probs: SignLogProbs, batch: Batch, totals: LossTotals) -> Tensor:
    return ctc(log_probs.log_probs, batch.lengths, batch.targets, batch.target_lengths, totals.signs)


def _place_classes(batch: Batch) -> Batch:
    """The batch with each class replaced by its first place in its sequence, from 1, as `SignLogProbs` counts them.

    CTC uses no class that is not in the sequence, and a sign that occurs twice is one class for it.
    """
    targets, labels = batch.targets, batch.frame_labels
    first = (targets[:, :, None] == targets[:, None, :]).int().argmax(dim=2) + 1
    place = (labels[..., None] == targets[:, None, :]).int().argmax(dim=2) + 1
    return replace(batch, targets=first, frame_labels=torch.where(labels == BLANK, BLANK, place))


def ctc(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, signs: Tensor | None = None
) -> Tensor:
    """Mean CTC loss per sign (Graves et al. 2006).

    With γ_t(k) the occupation of class k at frame t, the gradient with respect to log p(k at t) is −γ_t(k). PyTorch
    returns p(k at t) − γ_t(k), the gradient with respect to the logits of a log_softmax over exactly these classes. The
    heads do not end in such a log_softmax, so p(k at t) is subtracted here.

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


def uniform_cross_entropy(given_emission: Tensor, labels: Tensor, inside: Tensor, total: Tensor) -> Tensor:
    """Mean cross-entropy of the sign against equal probabilities of all signs, over the frames with a label.

    The least value is log C. Any subset of the classes gives an estimate; its mean over subsets is the loss.

    Args:
        given_emission: [K, B, T, S], log p(sign | not blank) of some classes, of each branch.
        labels: [B, T], not 0 where a frame counts.
        inside: [B, T], whether the frame belongs to a clip.
        total: the number of frames to divide by.
    """
    counts = (labels != BLANK) & inside
    return -(given_emission.mean(dim=-1) * counts).sum() / (len(given_emission) * total)
