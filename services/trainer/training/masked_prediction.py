"""The objective of masked pre-training: reconstruct the features of hidden frames from the frames around them.

Masked prediction as in BERT and HuBERT (Hsu et al. 2021, arXiv 2106.07447), with a regression target as in data2vec
(Baevski et al. 2022, arXiv 2202.03555), on hand poses as in SignBERT+ (Hu et al. 2023, arXiv 2305.04868). Labels are
not used. With x the standardised features, M the hidden frames and A(t) the features whose body part was found at t:

    L = Σ over t in M, d in A(t) of huber(W·h(t) + b - x(t))_d  /  Σ over t in M of |A(t)|

h is the output of the LSTMs for the clip in which x(t) = 0, the mean, at every t in M.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.data.batches import Batch, Clips
from services.trainer.features.groups import BOTH_GROUPS, HAND_GROUPS
from services.trainer.features.phonology import Features
from services.trainer.model.masked import MaskedModel
from services.trainer.model.sign_model import length_mask

# The share of the frames that is hidden, and the frames of a span: 0.3 to 0.8 s at 10 Hz, too long to interpolate.
HIDDEN_SHARE = 0.35
SHORTEST_SPAN, LONGEST_SPAN = 3, 8

# Groups whose features are all zero where a hand is absent. The other groups may also use the wrist of the body.
_GROUPS_OF_PRESENT_HANDS = frozenset({"handshape", "outline", "orientation", "presence"})

# Held-out clips that are evaluated at a time, and the seed of their hidden spans: the same spans in every epoch.
_EVALUATED_TOGETHER = 64
_EVALUATION_SEED = 0


def hide_spans_in_batch(batch: Batch, generator: torch.Generator) -> Batch:
    """The batch without its labels. A frame's label is 1 where the frame is hidden; no sequence has a sign."""
    hidden = hide_spans(batch.lengths, batch.inside.shape[1], generator)
    return replace(batch, targets=torch.zeros_like(batch.targets), frame_labels=hidden.long())


def hidden_frames(batch: Batch) -> Tensor:
    """Which frames of a batch from `hide_spans_in_batch` are hidden: bool [B, T]."""
    return batch.frame_labels > 0


def hide_spans(lengths: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Draw the spans to hide, about `HIDDEN_SHARE` of each sequence's frames and never all of them: bool [B, T].

    Every frame is equally likely to start a span, and every length from `SHORTEST_SPAN` to `LONGEST_SPAN` is equally
    likely. Spans may overlap, and a span may start before the sequence.

    Args:
        lengths: int64 [B], at least 1.
        frames: T.
        generator: the source of randomness, on the device of `lengths`.
    """
    mean = (SHORTEST_SPAN + LONGEST_SPAN) / 2
    chance = 1 - (1 - HIDDEN_SHARE) ** (1 / mean)
    shape, device = (len(lengths), frames + LONGEST_SPAN - 1), lengths.device
    begins = torch.rand(shape, generator=generator, device=device) < chance
    spans = torch.randint(SHORTEST_SPAN, LONGEST_SPAN + 1, shape, generator=generator, device=device) * begins
    # Column k: a span that began k frames earlier is longer than k, and so it covers this frame.
    covering = [spans[:, LONGEST_SPAN - 1 - k : LONGEST_SPAN - 1 - k + frames] > k for k in range(LONGEST_SPAN)]
    hidden = torch.stack(covering).any(dim=0) & length_mask(begins[:, :frames], lengths)
    # Of a sequence that would be hidden completely, the frame in the middle stays visible.
    complete = hidden.sum(dim=1) == lengths
    middle = torch.arange(frames, device=device)[None, :] == (lengths // 2)[:, None]
    return hidden & ~(middle & complete[:, None])


def target_mask(batch: Batch, measured: Features) -> Tensor:
    """Which features of a batch from `hide_spans_in_batch` must be reconstructed: bool [B, T, D]."""
    return present_features(batch.features, measured) & hidden_frames(batch)[..., None]


def present_features(features: Tensor, measured: Features) -> Tensor:
    """Which of the features [B, T, D] belong to a body part that is present: bool [B, T, D].

    Features of a hand count where that hand is present, and features of both hands where both are. Whether the body is
    present always counts.
    """
    hands = torch.unflatten(features[..., : 2 * measured.hand_size], -1, (2, measured.hand_size))
    hand_columns = _group_of_each_column(HAND_GROUPS, measured)
    zero_if_absent = [column for column, group in enumerate(hand_columns) if group in _GROUPS_OF_PRESENT_HANDS]
    hand_present = (hands[..., zero_if_absent or list(range(measured.hand_size))] != 0).any(dim=-1)
    both_present = hand_present.all(dim=-1, keepdim=True)
    of_both = [
        torch.ones_like(both_present) if group == "presence" else both_present
        for group in _group_of_each_column(BOTH_GROUPS, measured)
    ]
    return torch.cat([hand_present.repeat_interleave(measured.hand_size, dim=-1), *of_both], dim=-1)


def huber_sum(residuals: Tensor, mask: Tensor) -> Tensor:
    """The sum of the Huber losses, quadratic up to one deviation and linear beyond; the mean over the branches.

    The residuals float32 [K, B, T, D] are those of `MaskedModel.residuals`. The mask bool [B, T, D] says what is
    summed.
    """
    return (F.smooth_l1_loss(residuals, torch.zeros_like(residuals), reduction="none") * mask).sum() / len(residuals)


@torch.no_grad()
def evaluate_reconstruction(model: MaskedModel, clips: Clips, parts: int) -> float:
    """The reconstruction loss of a model in evaluation mode on at least one clip, without augmentation.

    The clips are computed in at least this many parts.
    """
    device = clips.starts.device
    generator = torch.Generator(device).manual_seed(_EVALUATION_SEED)
    total = torch.zeros(2, device=device)
    for part in clips.split(max(parts, -(-len(clips) // _EVALUATED_TOGETHER))):
        features = model.features(*part.padded(), part.lengths)
        hidden = hide_spans(part.lengths, features.shape[1], generator)
        mask = present_features(features, model.features) & hidden[..., None]
        total += torch.stack([huber_sum(model.residuals(features, part.lengths, hidden), mask), mask.sum()])
    loss, targets = total.tolist()
    return float(loss / max(1.0, targets))


def _group_of_each_column(groups: dict[str, int], measured: Features) -> list[str]:
    """The group of each feature, of one hand or of both."""
    return [group for group, size in groups.items() if group in measured.groups for _ in range(size)]
