"""Training batches: random concatenations of augmented clips, made on the device from all frames at once.

A model that only ever sees one sign per clip need never learn when it ends. Concatenations of a few clips make it a
recogniser of continuous signing that never saw a sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from services.trainer.data.augmentation import Augmentation, distort_joints, draw_lengths, draw_sample_times, drop_hands
from services.trainer.features.phonology import LEFT_HAND, PART_STARTS, POSE, RIGHT_HAND, USED_JOINTS, Features
from signet.datasets.snapshot import Dataset, DatasetClip

# The flat start assumes that a clip's sign lies between these shares of the clip; all other frames are blank.
SIGN_SPAN = (0.3, 0.7)

# Enough clips for long vectors, few enough that they are of like length.
_MEASURED_TOGETHER = 64

# Padded frames that a further part of a batch must save: what its own start costs on a CPU.
_WORTH_A_CUT = 512


@dataclass(frozen=True)
class Clips:
    """Some clips of a snapshot, on the device.

    Attributes:
        joints: float32 [N · S, 3 · J], all of them, S instants to a frame, of which a model sees the first: x of the
            joints that features are made of, then y, then z; zero where a part is absent.
        present: bool [N · S, 3]: pose, left hand, right hand.
        samples_per_frame: S, how many there are to a frame.
        starts: int64 [M], each clip's first frame.
        lengths: int64 [M], frames.
        labels: int64 [M], classes 1..C.
    """

    joints: Tensor
    present: Tensor
    samples_per_frame: int
    starts: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def from_dataset(cls, dataset: Dataset, clips: Sequence[DatasetClip], device: torch.device) -> "Clips":
        """These clips of this snapshot."""
        lengths = torch.tensor([clip.frames for clip in clips], dtype=torch.long)
        samples_per_frame = dataset.samples.shape[1]
        joints = torch.empty((int(lengths.sum()) * samples_per_frame, 3, len(USED_JOINTS)))
        # Clip by clip, so that of thousands no second copy is ever there.
        for clip, rows in zip(clips, torch.split(joints, (lengths * samples_per_frame).tolist()), strict=True):
            seen = dataset.clip_samples(clip)[:, :, USED_JOINTS]
            rows.copy_(torch.from_numpy(seen).flatten(0, 1).transpose(1, 2))
        present = ~joints[:, 0, PART_STARTS].isnan()
        return cls(
            joints=joints.nan_to_num_().flatten(1).to(device),
            present=present.to(device),
            samples_per_frame=samples_per_frame,
            starts=(lengths.cumsum(0) - lengths).to(device),
            lengths=lengths.to(device),
            labels=torch.tensor([dataset.label(clip) for clip in clips], dtype=torch.long, device=device),
        )

    def __len__(self) -> int:
        return len(self.starts)

    def split(self, count: int) -> "list[Clips]":
        """These clips in so many parts of like size; in fewer if there are fewer clips."""
        count = min(count, len(self))
        columns = (self.starts, self.lengths, self.labels)
        parts = zip(*(torch.tensor_split(column, count) for column in columns), strict=True)
        return [replace(self, starts=starts, lengths=lengths, labels=labels) for starts, lengths, labels in parts]

    def select(self, rows: slice | Tensor) -> "Clips":
        """Some of these clips, by a slice or by their rows, int64; all frames stay."""
        return replace(self, starts=self.starts[rows], lengths=self.lengths[rows], labels=self.labels[rows])

    def padded(self) -> tuple[Tensor, Tensor]:
        """All clips as they are, as `Features` takes them: joints [3, J, M, T] and what is present [3, M, T]."""
        steps = torch.arange(int(self.lengths.max()), device=self.starts.device)[None, :]
        frames = torch.minimum(self.starts[:, None] + steps, (self.starts + self.lengths - 1)[:, None])
        rows = frames * self.samples_per_frame
        return _frames_last(self.joints[rows]), self.present[rows].permute(2, 0, 1)


@dataclass(frozen=True)
class Batch:
    """Sequences of signs.

    Attributes:
        features: float32 [B, T, D].
        lengths: int64 [B], frames.
        targets: int64 [B, S], classes, padded with 0.
        target_lengths: int64 [B], signs.
        frame_labels: int64 [B, T], the flat start's class of each frame.
        inside: bool [B, T].
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor
    inside: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def split(self, count: int) -> "list[Batch]":
        """These sequences in so many parts of like size; in fewer if there are fewer sequences."""
        count = min(count, len(self))
        columns = (torch.tensor_split(getattr(self, column.name), count) for column in fields(self))
        return [Batch(*part) for part in zip(*columns, strict=True)]

    def repeat_without_features(self, times: int) -> "Batch":
        """These sequences so many times, one time after the other; of their features there are none."""
        nothing = self.features[..., :0]
        columns = (nothing if column.name == "features" else getattr(self, column.name) for column in fields(self))
        return Batch(*(column.repeat(times, *[1] * (column.dim() - 1)) for column in columns))

    def split_by_length(self) -> "list[Batch]":
        """These sequences in parts without the frames that only longer ones have, the shortest first.

        One long sequence would have all others padded to its length, and on a CPU padding costs what signing does. On a
        GPU it is nearly free, and looking at the lengths is not: there the batch stays whole.
        """
        if self.lengths.is_cuda:
            return [self]
        lengths, order = self.lengths.sort()
        ends = _cuts(lengths.tolist())
        return [self._of(order[start:end]) for start, end in pairwise([0, *ends])]

    def _of(self, rows: Tensor) -> "Batch":
        frames = int(self.lengths[rows].max())
        return Batch(
            features=self.features[rows, :frames],
            lengths=self.lengths[rows],
            targets=self.targets[rows],
            target_lengths=self.target_lengths[rows],
            frame_labels=self.frame_labels[rows, :frames],
            inside=self.inside[rows, :frames],
        )


class Sampler:
    """Draws each epoch's batches: every clip once, in random order, augmented, in sequences of 1 to `longest` signs.

    Args:
        clips: the training clips.
        features: what is measured of them.
        batch_size: clips in a batch.
        longest: signs in the longest sequence.
        augmentation: how far to bend them.
        generator: the randomness, on the clips' device; its state is part of a run's state.
    """

    def __init__(
        self,
        clips: Clips,
        features: Features,
        batch_size: int,
        longest: int,
        augmentation: Augmentation,
        generator: torch.Generator,
    ) -> None:
        self._clips = clips
        self._features = features
        self._batch_size = batch_size
        self._longest = longest
        self._augmentation = augmentation
        self._generator = generator

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._clips) // self._batch_size)

    def epoch(self) -> Iterator[Batch]:
        """One epoch's batches."""
        device = self._clips.starts.device
        features, starts, lengths = self._measure()
        order = torch.randperm(len(self._clips), generator=self._generator, device=device)
        for chosen in torch.split(order, self._batch_size):
            yield self._concatenate(self._clips.labels[chosen], starts[chosen], lengths[chosen], features)

    def epoch_features(self) -> Tensor:
        """One epoch's frames, all together: [N, D]."""
        return self._measure()[0]

    def _measure(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every clip, bent in its own way: features [N, D], first frames [M], lengths [M]."""
        device = self._clips.starts.device
        lengths = draw_lengths(self._clips.lengths, self._augmentation, self._generator)
        starts = lengths.cumsum(0) - lengths
        features = torch.empty((int(lengths.sum()), self._features.size), device=device)
        # Clips of like length are measured together, so that little of the work is padding.
        for group in torch.split(lengths.argsort(), _MEASURED_TOGETHER):
            steps = torch.arange(int(lengths[group].max()), device=device)[None, :]
            inside = steps < lengths[group, None]
            measured = self._features(*self._augmented(group, lengths[group]), lengths[group])
            features[(starts[group, None] + steps)[inside]] = measured.contiguous()[inside]
        return features, starts, lengths

    def _augmented(self, group: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """These clips, each bent in its own way, in their new lengths: joints [3, J, M, T], present [3, M, T]."""
        clips = self._clips
        original = clips.lengths[group]
        times = clips.samples_per_frame * draw_sample_times(original, lengths, self._augmentation, self._generator)
        before = times.floor().long()
        after = torch.minimum(before + 1, clips.samples_per_frame * (original[:, None] - 1))
        weight = times - before
        starts = clips.samples_per_frame * clips.starts[group, None]
        before, after = before + starts, after + starts
        left, right = clips.present[before].permute(2, 0, 1), clips.present[after].permute(2, 0, 1)
        # Between an instant that has a part and one that has not, the nearer one decides.
        nearer = weight.round()
        both = left & right
        present = both | torch.where(nearer > 0, right, left)
        weights = torch.where(both, weight, nearer)
        here, there = _frames_last(clips.joints[before]), _frames_last(clips.joints[after])
        joints = [
            torch.lerp(here[:, part], there[:, part], weights[index])
            for index, part in enumerate((POSE, LEFT_HAND, RIGHT_HAND))
        ]
        bent = distort_joints(torch.cat(joints, dim=1), self._augmentation, self._generator)
        return bent, drop_hands(present, self._augmentation, self._generator)

    def _concatenate(self, labels: Tensor, starts: Tensor, lengths: Tensor, features: Tensor) -> Batch:
        """Consecutive clips into sequences of as many signs as the dice say, the same number throughout a batch.

        Args:
            labels: [M], the clips' classes.
            starts: [M], their first frames in `features`.
            lengths: [M].
            features: [N, D], of all clips.
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
            features=features[source] * inside[..., None],
            lengths=totals,
            targets=labels,
            target_lengths=(lengths > 0).sum(dim=1),
            frame_labels=labels.gather(1, which) * signed,
            inside=inside,
        )


def _frames_last(frames: Tensor) -> Tensor:
    """Frames [M, T, 3 · J] as [3, J, M, T]."""
    return torch.unflatten(frames.permute(2, 0, 1).contiguous(), 0, (3, -1))


def _cuts(lengths: Sequence[int]) -> list[int]:
    """Where sequences of ascending lengths are parted, each part's end: a cut is made where it saves enough frames."""
    count = len(lengths)
    if not count:
        return []
    saved, cut = max(((lengths[-1] - lengths[cut - 1]) * cut, cut) for cut in range(1, count + 1))
    if saved < _WORTH_A_CUT:
        return [count]
    return [*_cuts(lengths[:cut]), *(cut + end for end in _cuts(lengths[cut:]))]
