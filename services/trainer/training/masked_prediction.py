"""Pre-training: what a hidden span of a clip's features was, told from the frames around it. No label is looked at.

Masked prediction, as BERT and HuBERT (Hsu et al. 2021, arXiv 2106.07447) do it, with a regression target as in data2vec
(Baevski et al. 2022, arXiv 2202.03555), on hand poses as in SignBERT+ (Hu et al. 2023, arXiv 2305.04868). With x the
standardised features, M the hidden frames and A(t) the features whose part is there at t:

    L = Σ over t in M, d in A(t) of huber(W·h(t) + b - x(t))_d  /  Σ over t in M of |A(t)|

where h is what the LSTMs say of the clip with x(t) = 0, the mean, at every t in M.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.trainer.data.batches import Batch, Clips
from services.trainer.features.groups import BOTH_GROUPS, HAND_GROUPS
from services.trainer.features.phonology import Features
from services.trainer.model.masked import MaskedModel
from services.trainer.model.recogniser import Recogniser, length_mask
from services.trainer.training.validate import NOTHING, Score

# Share of the frames that is hidden, and the frames of a span: 0.3 to 0.8 s at 10 Hz, too long to be drawn through.
HIDDEN_SHARE = 0.35
SHORTEST_SPAN, LONGEST_SPAN = 3, 8

# Groups that are zero throughout where a hand was not found; the others may come from the body's wrist.
_FOUND_GROUPS = frozenset({"handshape", "outline", "orientation", "presence"})

# Held-out clips that are judged together, and the seed of what is hidden of them: the same in every epoch.
_JUDGED_TOGETHER = 64
_JUDGED_SEED = 0


class MaskedPrediction:
    """What a pre-training minimises, and what it is judged by. See `services.trainer.training.tasks.Aim`."""

    # One clip a sequence: of a concatenation, a whole clip might be hidden.
    longest = 1

    def __init__(self, features: Features) -> None:
        self._features = features

    def parameters(self, model: Recogniser) -> list[nn.Parameter]:
        """All but the heads'."""
        return _masked(model).learnt()

    def prepared(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch without its labels: a frame's is 1 where it is hidden, and no sequence has a sign."""
        hidden = hide(batch.lengths, batch.inside.shape[1], generator)
        return replace(batch, targets=torch.zeros_like(batch.targets), frame_labels=hidden.long())

    def totals(self, batch: Batch, batches: int) -> Any:
        """How many features are asked for in a batch, as one of so many."""
        return (self._asked(batch.features, batch.frame_labels > 0).sum() * batches).clamp(min=1)

    def answer(self, model: Recogniser, part: Batch) -> Tensor:
        """See `MaskedModel.residuals`."""
        return _masked(model).residuals(part.features, part.lengths, part.frame_labels > 0)

    def loss(self, answer: Tensor, part: Batch, share: float, totals: Any) -> Tensor:
        """The Huber loss of what was asked for, its sum over the total."""
        mean: Tensor = _huber(answer, self._asked(part.features, part.frame_labels > 0)) / totals
        return mean

    @torch.no_grad()
    def judge(self, model: Recogniser, clips: Clips, parts: int, searched: bool) -> Score:
        """The loss on clips as they are, a score of no clips: none was to be recognised."""
        device = clips.starts.device
        generator = torch.Generator(device).manual_seed(_JUDGED_SEED)
        total = torch.zeros(2, device=device)
        for some in clips.split(max(parts, -(-len(clips) // _JUDGED_TOGETHER))):
            features = self._features(*some.padded(), some.lengths)
            hidden = hide(some.lengths, features.shape[1], generator)
            asked = self._asked(features, hidden)
            residuals = _masked(model).residuals(features, some.lengths, hidden)
            total += torch.stack([_huber(residuals, asked), asked.sum()])
        loss, asked_for = total.tolist()
        return replace(NOTHING, loss=loss / max(1.0, asked_for))

    def _asked(self, features: Tensor, hidden: Tensor) -> Tensor:
        return features_there(features, self._features) & hidden[..., None]


def hide(lengths: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Spans of each sequence to be hidden, about `HIDDEN_SHARE` of its frames and never all: bool [B, T].

    A span begins at any frame with the same chance, and is of any length from `SHORTEST_SPAN` to `LONGEST_SPAN` with
    the same chance; it may overlap another, or begin before the sequence.

    Args:
        lengths: int64 [B], at least 1 where anything is to be seen.
        frames: T.
        generator: the randomness, on the lengths' device.
    """
    mean = (SHORTEST_SPAN + LONGEST_SPAN) / 2
    chance = 1 - (1 - HIDDEN_SHARE) ** (1 / mean)
    shape, device = (len(lengths), frames + LONGEST_SPAN - 1), lengths.device
    begins = torch.rand(shape, generator=generator, device=device) < chance
    spans = torch.randint(SHORTEST_SPAN, LONGEST_SPAN + 1, shape, generator=generator, device=device) * begins
    reaching = [spans[:, LONGEST_SPAN - 1 - k : LONGEST_SPAN - 1 - k + frames] > k for k in range(LONGEST_SPAN)]
    inside = length_mask(begins[:, :frames], lengths)
    hidden = torch.stack(reaching).any(dim=0) & inside
    # One frame of a sequence that would be hidden whole is shown: the one in its middle.
    whole = hidden.sum(dim=1) == lengths
    middle = torch.arange(frames, device=device)[None, :] == (lengths // 2)[:, None]
    return hidden & ~(middle & whole[:, None])


def features_there(features: Tensor, measured: Features) -> Tensor:
    """Which features of [B, T, D] tell of something that was found: bool [B, T, D].

    A hand's are there where the hand is, those of both hands where both are. That a body is there is always asked.
    """
    blocks = torch.unflatten(features[..., : 2 * measured.hand_size], -1, (2, measured.hand_size))
    found = [place for place, group in enumerate(_columns(HAND_GROUPS, measured)) if group in _FOUND_GROUPS] or list(
        range(measured.hand_size)
    )
    handed = (blocks[..., found] != 0).any(dim=-1)
    both = handed.all(dim=-1, keepdim=True)
    of_hands = handed.repeat_interleave(measured.hand_size, dim=-1)
    of_both = [torch.ones_like(both) if group == "presence" else both for group in _columns(BOTH_GROUPS, measured)]
    return torch.cat([of_hands, *of_both], dim=-1)


def _columns(groups: dict[str, int], measured: Features) -> list[str]:
    """The group of each number."""
    return [group for group, size in groups.items() if group in measured.groups for _ in range(size)]


def _huber(residuals: Tensor, asked: Tensor) -> Tensor:
    """Sum over what is asked for [B, T, D], quadratic up to one deviation and linear beyond; the branches' mean."""
    return (F.smooth_l1_loss(residuals, torch.zeros_like(residuals), reduction="none") * asked).sum() / len(residuals)


def _masked(model: Recogniser) -> MaskedModel:
    assert isinstance(model, MaskedModel)  # noqa: S101  (`new_model` gives a pre-training one)
    return model
