"""Training batches: random concatenations of augmented clips, made on the device from all frames at once.

A model that only ever sees one sign per clip need never learn when it ends. Concatenations of a few clips make it a
recogniser of continuous signing that never saw a sentence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.augment import Augmentation, distort, sample_times, warped_lengths
from services.trainer.features import USED_JOINTS, Features
from services.trainer.loss import SIGN_SPAN
from signet.dataset import Dataset, DatasetClip

# Enough clips for long vectors, few enough that they are of like length.
_MEASURED_TOGETHER = 64


@dataclass(frozen=True)
class Clips:
    """Some clips of a snapshot, on the device.

    Attributes:
        frames: float32 [N, J, 3], all of them, of the joints that features are made of.
        starts: int64 [M], each clip's first frame.
        lengths: int64 [M].
        labels: int64 [M], classes 1..C.
    """

    frames: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def of(cls, dataset: Dataset, clips: list[DatasetClip], device: torch.device) -> "Clips":
        """These clips of this snapshot."""
        classes = {gloss: index + 1 for index, gloss in enumerate(dataset.manifest.vocabulary)}
        return cls(
            frames=torch.from_numpy(dataset.frames)[:, USED_JOINTS].to(device),
            starts=torch.tensor([clip.start for clip in clips], device=device),
            lengths=torch.tensor([clip.frames for clip in clips], device=device),
            labels=torch.tensor([classes[clip.gloss] for clip in clips], device=device),
        )

    def __len__(self) -> int:
        return len(self.starts)

    def parts(self, count: int) -> "list[Clips]":
        """These clips in so many parts of like size; in fewer if there are fewer clips."""
        count = min(count, len(self))
        columns = (self.starts, self.lengths, self.labels)
        parts = zip(*(torch.tensor_split(column, count) for column in columns), strict=True)
        return [replace(self, starts=starts, lengths=lengths, labels=labels) for starts, lengths, labels in parts]

    def every(self, step: int) -> "Clips":
        """Each `step`-th of these clips."""
        return replace(self, starts=self.starts[::step], lengths=self.lengths[::step], labels=self.labels[::step])

    def padded(self) -> Tensor:
        """All clips as they are, padded with NaN: [M, T, J, 3]."""
        steps = torch.arange(int(self.lengths.max()), device=self.starts.device)[None, :]
        inside = steps < self.lengths[:, None]
        frames = self.frames[(self.starts[:, None] + steps).clamp(max=len(self.frames) - 1)]
        return frames.masked_fill(~inside[..., None, None], torch.nan)


@dataclass(frozen=True)
class Batch:
    """Sequences of signs.

    Attributes:
        hands: float32 [B, T, 2, HAND].
        both: float32 [B, T, BOTH].
        lengths: int64 [B], frames.
        targets: int64 [B, S], classes, padded with 0.
        target_lengths: int64 [B], signs.
        frame_labels: int64 [B, T], the flat start's class of each frame.
        inside: bool [B, T].
    """

    hands: Tensor
    both: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor
    inside: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def parts(self, count: int) -> "list[Batch]":
        """These sequences in so many parts of like size; in fewer if there are fewer sequences."""
        count = min(count, len(self))
        columns = (torch.tensor_split(getattr(self, column.name), count) for column in fields(self))
        return [Batch(*part) for part in zip(*columns, strict=True)]


class Sampler:
    """Draws each epoch's batches: every clip once, in random order, augmented, in sequences of 1 to `longest` signs.

    Args:
        clips: the training clips.
        batch_size: clips in a batch.
        longest: signs in the longest sequence.
        augmentation: how far to bend them.
        generator: the randomness, on the clips' device; its state is part of a run's state.
    """

    def __init__(
        self, clips: Clips, batch_size: int, longest: int, augmentation: Augmentation, generator: torch.Generator
    ) -> None:
        self._clips = clips
        self._batch_size = batch_size
        self._longest = longest
        self._augmentation = augmentation
        self._generator = generator
        self._features = Features()

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._clips) // self._batch_size)

    def epoch(self) -> Iterator[Batch]:
        """One epoch's batches."""
        device = self._clips.starts.device
        hands, both, starts, lengths = self._measure()
        order = torch.randperm(len(self._clips), generator=self._generator, device=device)
        for chosen in torch.split(order, self._batch_size):
            yield self._concatenate(self._clips.labels[chosen], starts[chosen], lengths[chosen], hands, both)

    def frames(self) -> tuple[Tensor, Tensor]:
        """One epoch's frames, all together: hands [N, 2, HAND] and both [N, BOTH]."""
        return self._measure()[:2]

    def _measure(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Every clip, bent in its own way: hands [N, 2, HAND], both [N, BOTH], first frames [M], lengths [M]."""
        device = self._clips.starts.device
        lengths = warped_lengths(self._clips.lengths, self._augmentation, self._generator)
        starts = lengths.cumsum(0) - lengths
        hands = torch.empty((int(lengths.sum()), 2, Features.HAND), device=device)
        both = torch.empty((len(hands), Features.BOTH), device=device)
        # Clips of like length are measured together, so that little of the work is padding.
        for group in torch.split(lengths.argsort(), _MEASURED_TOGETHER):
            steps = torch.arange(int(lengths[group].max()), device=device)[None, :]
            inside = steps < lengths[group, None]
            place = (starts[group, None] + steps)[inside]
            measured = self._features(self._augmented(group, lengths[group]), lengths[group])
            hands[place], both[place] = measured[0][inside], measured[1][inside]
        return hands, both, starts, lengths

    def _augmented(self, group: Tensor, lengths: Tensor) -> Tensor:
        """These clips, each bent in its own way, in their new lengths: [M, T, J, 3]."""
        original = self._clips.lengths[group]
        times = sample_times(original, lengths, self._augmentation, self._generator)
        before = times.floor().long()
        after = torch.minimum(before + 1, original[:, None] - 1)
        weight = (times - before)[..., None, None]
        starts = self._clips.starts[group][:, None]
        left, right = self._clips.frames[starts + before], self._clips.frames[starts + after]
        between = left + weight * (right - left)
        # Between a frame that has a hand and one that has not, the nearer one decides.
        frames = torch.where(torch.isnan(between), torch.where(weight < 0.5, left, right), between)
        return distort(frames, self._augmentation, self._generator)

    def _concatenate(self, labels: Tensor, starts: Tensor, lengths: Tensor, hands: Tensor, both: Tensor) -> Batch:
        """Consecutive clips into sequences of as many signs as the dice say, the same number throughout a batch.

        Args:
            labels: [M], the clips' classes.
            starts: [M], their first frames in `hands` and `both`.
            lengths: [M].
            hands: [N, 2, HAND], all clips' features.
            both: [N, BOTH].
        """
        device = labels.device
        signs = int(torch.randint(1, self._longest + 1, (1,), generator=self._generator, device=device))
        empty = -len(labels) % signs
        # The last sequence is filled up with clips of no frames.
        labels, starts, lengths = (F.pad(x, (0, empty)).view(-1, signs) for x in (labels, starts, lengths))
        totals = lengths.sum(dim=1)
        ends = lengths.cumsum(dim=1)

        steps = torch.arange(int(totals.max()), device=device).expand(len(totals), -1).contiguous()
        inside = steps < totals[:, None]
        which = torch.searchsorted(ends, steps, right=True).clamp(max=signs - 1)
        local = steps - (ends - lengths).gather(1, which)
        share = (local + 0.5) / lengths.gather(1, which).clamp(min=1)
        signed = (share >= SIGN_SPAN[0]) & (share < SIGN_SPAN[1]) & inside
        source = (starts.gather(1, which) + local) * inside
        return Batch(
            hands=hands[source] * inside[..., None, None],
            both=both[source] * inside[..., None],
            lengths=totals,
            targets=labels,
            target_lengths=(lengths > 0).sum(dim=1),
            frame_labels=labels.gather(1, which) * signed,
            inside=inside,
        )
