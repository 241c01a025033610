"""Draws training sequences that resemble signing: without rests, and with movements between the signs (--signing)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.data.augmentation import draw_lengths, draw_sample_times
from services.trainer.data.batches import Batch, Sampler, in_sign_span
from services.trainer.data.joining import JoiningLimits, PlacedClips, join, place_bodies
from services.trainer.features.phonology import USED_JOINTS

# Clips that are augmented together: enough for long vectors, few enough to have similar lengths.
_CLIPS_AT_A_TIME = 64

# The shortest movement of an augmented clip, in frames.
_SHORTEST_MOVEMENT = 2


@dataclass(frozen=True, eq=False)
class SigningSampler(Sampler):
    """Like `Sampler`, but clips are joined before their features are computed (`services.trainer.data.joining`).

    Args:
        joining: the bounds of how clips are joined.
    """

    joining: JoiningLimits = field(default_factory=JoiningLimits)

    def epoch(self) -> Iterator[Batch]:
        """See `Sampler.epoch`."""
        device = self.clips.starts.device
        placed = self._draw_placed_clips()
        order = torch.randperm(len(self.clips), generator=self.generator, device=device)
        for chosen in torch.split(order, self.batch_size):
            signs = int(torch.randint(1, self.max_signs + 1, (1,), generator=self.generator, device=device))
            # The last sequence may have fewer clips.
            yield self._make_batch(placed, F.pad(chosen, (0, -len(chosen) % signs), value=-1).view(-1, signs))

    def epoch_features(self) -> Tensor:
        """See `Sampler.epoch_features`."""
        return torch.cat([batch.features[batch.inside] for batch in self.epoch()])

    def _draw_placed_clips(self) -> PlacedClips:
        """All clips, augmented, with the bodies at the same place."""
        clips, device = self.clips, self.clips.starts.device
        lengths = draw_lengths(clips.lengths, self.augmentation, self.generator)
        starts = lengths.cumsum(0) - lengths
        joints = torch.empty((int(lengths.sum()), 3 * len(USED_JOINTS)), device=device)
        present = torch.empty((len(joints), 3), dtype=torch.bool, device=device)
        active = torch.empty_like(clips.active)
        # Clips of similar lengths together, so that little is padding.
        for group in torch.split(lengths.argsort(), _CLIPS_AT_A_TIME):
            steps = torch.arange(int(lengths[group].max()), device=device)[None, :]
            inside = steps < lengths[group, None]
            rows = (starts[group, None] + steps)[inside]
            times = draw_sample_times(clips.lengths[group], lengths[group], self.augmentation, self.generator)
            drawn, found = self._augment(group, times)
            placed, found = place_bodies(drawn, found & inside, clips.left_handed[group])
            joints[rows] = placed.permute(2, 3, 0, 1).flatten(2)[inside]
            present[rows] = found.permute(1, 2, 0)[inside]
            # The movement begins and ends where it does in the clip, at another frame.
            earlier = (times[..., None] < clips.active[group, None]) & inside[..., None]
            active[group] = earlier.sum(dim=1)
        first = torch.minimum(active[:, 0], lengths - _SHORTEST_MOVEMENT)
        last = torch.maximum(active[:, 1], first + _SHORTEST_MOVEMENT)
        return PlacedClips(joints, present, starts, lengths, torch.stack([first, last], dim=1))

    def _make_batch(self, placed: PlacedClips, chosen: Tensor) -> Batch:
        """The batch of these sequences of clips, int64 [B, S]; -1 is no clip, and ends a sequence."""
        joined = join(placed, chosen, self.joining, self.generator)
        there = chosen >= 0
        labels = self.clips.labels[chosen.clamp(min=0)] * there
        return Batch(
            features=self.features(joined.joints, joined.present, joined.lengths),
            lengths=joined.lengths,
            targets=labels,
            target_lengths=there.sum(dim=1),
            frame_labels=labels.gather(1, joined.clip) * in_sign_span(joined.share),
            inside=joined.inside,
        )
