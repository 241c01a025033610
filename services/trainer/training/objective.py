"""What a training minimises, and when: each head has its start, and CTC (Graves et al. 2006) has the last word.

A linear head needs a flat start, as in hybrid speech recognition: frame labels alone, crude as they are, give every
sign its moment; then they fade, and CTC takes over the timing. A competition head times by itself; the crude labels
tell it nothing but which sign the frames of a clip's middle belong to, from the first epoch to the last.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from services.trainer.data.batches import Batch
from services.trainer.model.recogniser import SignLogProbs
from services.trainer.training.losses import ctc, frame_cross_entropy, frame_weights, sign_cross_entropy
from signet.decoding import BLANK

# With a linear head, the share of the epochs over which the frame labels fade into CTC.
FADE = 0.2

# What remains of the frame term beside CTC then: enough to keep a sign's moment from spreading out again.
FRAME_WEIGHT = 0.15

# Weight, at the start and at the end, of the term that tells a competition head which sign it is. It teaches the signs
# while their moments are not known yet, and later only steadies what CTC says.
FIRST_SIGN_WEIGHT, LAST_SIGN_WEIGHT = 1.0, 0.2


@dataclass(frozen=True)
class Totals:
    """What the means of a batch's losses are over; its parts are given those of the whole.

    Attributes:
        signs: in its targets.
        weight: sum of `frame_weights`.
        sign_frames: labelled with a sign.
    """

    signs: Tensor
    weight: Tensor
    sign_frames: Tensor

    @classmethod
    def of(cls, batch: Batch, batches: int = 1) -> "Totals":
        """Those of a batch, as one of so many whose mean loss is minimised together."""
        return cls(
            signs=batch.target_lengths.sum() * batches,
            weight=frame_weights(batch.frame_labels, batch.inside).sum() * batches,
            sign_frames=((batch.frame_labels != BLANK) & batch.inside).sum().clamp(min=1) * batches,
        )


# Of what a model's branches say of a batch or part, that batch, the share of the epochs gone before, and the totals.
Loss = Callable[[SignLogProbs, Batch, float, Totals], Tensor]


def loss(head: str, start: float) -> Loss:
    """What is minimised with a head of `HEADS`.

    Args:
        head: its name.
        start: the share of the epochs in which CTC does not speak yet; 0 lets it speak from the first.
    """
    terms = _flat_start if head == "linear" else _competition

    def minimised(answer: SignLogProbs, batch: Batch, progress: float, totals: Totals) -> Tensor:
        branches = len(answer.given_emission)
        flat = SignLogProbs(answer.log_probs.flatten(0, 1), answer.given_emission.flatten(0, 1))
        return terms(flat, _placed(batch).repeat_without_features(branches), progress, totals, start) / branches

    return minimised


def _flat_start(answer: SignLogProbs, batch: Batch, progress: float, totals: Totals, start: float) -> Tensor:
    frames = frame_cross_entropy(answer.log_probs, batch.frame_labels, batch.inside, totals.weight)
    if progress < start:
        return frames
    faded = min(1.0, (progress - start) / FADE)
    share = 1 - (1 - FRAME_WEIGHT) * faded if start else 0.0
    return _timing(answer, batch, totals) + share * frames


def _competition(answer: SignLogProbs, batch: Batch, progress: float, totals: Totals, start: float) -> Tensor:
    weight = FIRST_SIGN_WEIGHT + progress * (LAST_SIGN_WEIGHT - FIRST_SIGN_WEIGHT)
    which = weight * sign_cross_entropy(answer.given_emission, batch.frame_labels, batch.inside, totals.sign_frames)
    return which if progress < start else which + _timing(answer, batch, totals)


def _timing(answer: SignLogProbs, batch: Batch, totals: Totals) -> Tensor:
    return ctc(answer.log_probs, batch.lengths, batch.targets, batch.target_lengths, totals.signs)


def _placed(batch: Batch) -> Batch:
    """The batch with each sign's first place in its sequence, from 1, for its class: as `SignLogProbs` counts them.

    CTC looks at no class that is not in the sequence, and what is there twice is one class for it.
    """
    targets = batch.targets
    first = (targets[:, :, None] == targets[:, None, :]).int().argmax(dim=2) + 1
    labels = batch.frame_labels
    place = (labels[..., None] == targets[:, None, :]).int().argmax(dim=2) + 1
    return replace(batch, targets=first, frame_labels=torch.where(labels == BLANK, BLANK, place))
