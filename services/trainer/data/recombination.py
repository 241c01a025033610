"""Made-up signs: the handshape and orientation of one clip with the place and movement of another (--recombination).

Signs are combined from a few parameters: handshape, orientation, place and movement (Stokoe 1960; Battison 1978). With
few exceptions, a recombination of two signs of a vocabulary is none of its signs. A model that is trained to give all
signs the same probability on recombinations must check all parameters of a sign, where one would be enough to tell the
few signs of a vocabulary apart. It also doubts signs that it has never seen (outlier exposure; Hendrycks et al. 2019,
arXiv 1812.04606). No further clips are needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from services.trainer.data.batches import Batch, Sampler, in_sign_span
from services.trainer.features.groups import SHAPE_GROUPS, hand_feature_names
from services.trainer.features.phonology import Features

# Made-up signs in a batch, for each clip of the sampler's batches.
_RATIO = 2

# At most this many classes, drawn anew for each batch, stand for all classes in the loss of a batch.
_MAX_CLASSES = 64


@dataclass(frozen=True, eq=False)
class Recombinations:
    """Draws batches of recombined clips.

    Args:
        sampler: draws the clips and their augmentation.
        classes: C, the number of signs.
    """

    sampler: Sampler
    classes: int

    def epoch(self) -> Iterator[Batch]:
        """One batch for each batch of the sampler's epoch; the features of all clips are drawn once.

        The targets of a batch are classes for the loss `objective.uniform_cross_entropy`, the same in each row, and its
        frame labels are 1 in the middle of a sign.
        """
        clips, generator = self.sampler.clips, self.sampler.generator
        device = clips.starts.device
        features, starts, lengths = self.sampler.draw_features()
        shape = shape_features(self.sampler.features).to(device)
        for _ in range(self.sampler.batches_per_epoch):
            size = 2, _RATIO * self.sampler.batch_size
            chosen = torch.randint(len(clips), size, generator=generator, device=device)
            shapes, moves = chosen[:, clips.labels[chosen[0]] != clips.labels[chosen[1]]]
            yield self._make_batch(features, starts, lengths, shape, shapes, moves)

    def _make_batch(
        self, features: Tensor, starts: Tensor, lengths: Tensor, shape: Tensor, shapes: Tensor, moves: Tensor
    ) -> Batch:
        """The clips `moves` with the `shape` features of the clips `shapes`, at the same share of both clips.

        A hand that one of the two clips lacks in a frame keeps the features of the clip that moves it.
        """
        device, totals = features.device, lengths[moves]
        steps = torch.arange(int(totals.max()) if len(totals) else 0, device=device).expand(len(totals), -1)
        inside = steps < totals[:, None]
        share = (steps + 0.5) / totals[:, None]
        same_share = torch.minimum((share * lengths[shapes][:, None]).long(), lengths[shapes][:, None] - 1)
        moved = features[(starts[moves][:, None] + steps) * inside]
        shaped = features[(starts[shapes][:, None] + same_share) * inside]
        exchanged = where_both_have_the_hand(moved, shaped, shape)
        classes = torch.randperm(self.classes, generator=self.sampler.generator, device=device)[:_MAX_CLASSES] + 1
        return Batch(
            features=torch.where(exchanged, shaped, moved) * inside[..., None],
            lengths=totals,
            targets=classes.expand(len(totals), -1),
            target_lengths=torch.full_like(totals, len(classes)),
            frame_labels=(in_sign_span(share) & inside).long(),
            inside=inside,
        )


def shape_features(features: Features) -> Tensor:
    """Which numbers of a frame's features are handshape or orientation: bool [2, D], of either hand."""
    hand = torch.tensor([group in SHAPE_GROUPS for group, _ in hand_feature_names(tuple(features.groups))])
    masks = torch.zeros((2, features.size), dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask[index * features.hand_size : (index + 1) * features.hand_size] = hand
    return masks


def where_both_have_the_hand(first: Tensor, second: Tensor, shape: Tensor) -> Tensor:
    """The `shape` features [2, D] of the hands that both have, of features [B, T, D]: bool [B, T, D].

    The features of a hand that is absent are zeros.
    """
    present = [((clip[..., None, :] != 0) & shape).any(dim=-1) for clip in (first, second)]
    return ((present[0] & present[1])[..., None] & shape).any(dim=-2)
