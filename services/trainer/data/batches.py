"""Training batches: random concatenations of augmented clips, made on the device.

A model that sees only single signs need not learn where a sign ends. Concatenations of a few clips train it for
continuous signing, without any recorded sentences.
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
from signet.landmarks.body import left_dominance
from signet.landmarks.concatenation import active_range

# The flat start assumes that a clip's sign lies between these shares of the clip; all other frames are blank.
SIGN_SPAN = (0.3, 0.7)

# Clips whose features are computed together: enough for long vectors, few enough to have similar lengths.
_CLIPS_AT_A_TIME = 64

# Padded frames that dividing a batch must save. They cost as much as one more call of the model on a CPU.
_MIN_SAVED_FRAMES = 512


@dataclass(frozen=True)
class Clips:
    """Clips of a snapshot, on the device. N frames in all, S samples a frame, M clips."""

    joints: Tensor  # float32 [N · S, 3 · J], x of all `USED_JOINTS`, then y, then z; 0 where a part is absent
    present: Tensor  # bool [N · S, 3], of pose, left hand and right hand
    samples_per_frame: int  # S. A model sees the first sample of a frame; augmentation also uses those between frames.
    starts: Tensor  # int64 [M], the first frame of each clip
    lengths: Tensor  # int64 [M], frames
    labels: Tensor  # int64 [M], classes 1..C
    active: Tensor  # int64 [M, 2], the first frame of each clip's movement, and the first frame after it
    left_handed: Tensor  # bool [M], which clips are by left-handed signers

    @classmethod
    def from_dataset(cls, dataset: Dataset, clips: Sequence[DatasetClip], device: torch.device) -> "Clips":
        """Load clips of a snapshot to the device."""
        lengths = torch.tensor([clip.frames for clip in clips], dtype=torch.long)
        samples_per_frame = dataset.samples.shape[1]
        joints = torch.empty((int(lengths.sum()) * samples_per_frame, 3, len(USED_JOINTS)))
        # Clip by clip, so that memory never holds all clips twice.
        for clip, rows in zip(clips, torch.split(joints, (lengths * samples_per_frame).tolist()), strict=True):
            samples = dataset.clip_samples(clip)[:, :, USED_JOINTS]
            rows.copy_(torch.from_numpy(samples).flatten(0, 1).transpose(1, 2))
        present = ~joints[:, 0, PART_STARTS].isnan()
        return cls(
            joints=joints.nan_to_num_().flatten(1).to(device),
            present=present.to(device),
            samples_per_frame=samples_per_frame,
            starts=(lengths.cumsum(0) - lengths).to(device),
            lengths=lengths.to(device),
            labels=torch.tensor([dataset.label(clip) for clip in clips], dtype=torch.long, device=device),
            active=torch.tensor(
                [active_range(dataset.clip_frames(clip)) for clip in clips], dtype=torch.long, device=device
            ).view(-1, 2),
            left_handed=torch.tensor(find_left_handed(dataset, clips), dtype=torch.bool, device=device),
        )

    def __len__(self) -> int:
        return len(self.starts)

    def split(self, count: int) -> "list[Clips]":
        """`count` parts of nearly equal size, or one part a clip if there are fewer clips."""
        rows = torch.arange(len(self), device=self.starts.device)
        return [self.select(part) for part in torch.tensor_split(rows, min(count, len(self)))]

    def select(self, rows: slice | Tensor) -> "Clips":
        """Some of these clips, by a slice or by their numbers int64; the parts share the frames' memory."""
        return replace(
            self,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            labels=self.labels[rows],
            active=self.active[rows],
            left_handed=self.left_handed[rows],
        )

    def padded(self) -> tuple[Tensor, Tensor]:
        """All clips without augmentation, as `Features` takes them: joints [3, J, M, T] and presence [3, M, T]."""
        steps = torch.arange(int(self.lengths.max()), device=self.starts.device)[None, :]
        frames = torch.minimum(self.starts[:, None] + steps, (self.starts + self.lengths - 1)[:, None])
        rows = frames * self.samples_per_frame
        return _frames_last(self.joints[rows]), self.present[rows].permute(2, 0, 1)


@dataclass(frozen=True)
class Batch:
    """Sequences of signs."""

    features: Tensor  # float32 [B, T, D]
    lengths: Tensor  # int64 [B], frames
    targets: Tensor  # int64 [B, S], classes, padded with 0
    target_lengths: Tensor  # int64 [B], signs
    frame_labels: Tensor  # int64 [B, T], the class of each frame in the flat start; 0 is blank
    inside: Tensor  # bool [B, T], which frames belong to the sequence

    def __len__(self) -> int:
        return len(self.lengths)

    def split(self, count: int) -> "list[Batch]":
        """`count` parts of nearly equal size, or one part a sequence if there are fewer sequences."""
        count = min(count, len(self))
        columns = (torch.tensor_split(getattr(self, column.name), count) for column in fields(self))
        return [Batch(*part) for part in zip(*columns, strict=True)]

    def repeat_without_features(self, times: int) -> "Batch":
        """All sequences `times` times in a row, with empty features [B · times, T, 0]."""
        empty = self.features[..., :0]
        columns = (empty if column.name == "features" else getattr(self, column.name) for column in fields(self))
        return Batch(*(column.repeat(times, *[1] * (column.dim() - 1)) for column in columns))

    def split_by_length(self) -> "list[Batch]":
        """Parts of similar lengths, the shortest first, each padded to its own longest sequence.

        Otherwise one long sequence would pad all others, and padding costs a CPU as much as real frames. On a GPU
        padding is nearly free, while reading the lengths makes the CPU wait: there the batch stays whole.
        """
        if self.lengths.is_cuda:
            return [self]
        lengths, order = self.lengths.sort()
        ends = _part_ends(lengths.tolist())
        return [self._select(order[start:end]) for start, end in pairwise([0, *ends])]

    def _select(self, rows: Tensor) -> "Batch":
        frames = int(self.lengths[rows].max())
        return Batch(
            features=self.features[rows, :frames],
            lengths=self.lengths[rows],
            targets=self.targets[rows],
            target_lengths=self.target_lengths[rows],
            frame_labels=self.frame_labels[rows, :frames],
            inside=self.inside[rows, :frames],
        )


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws the batches of an epoch: every clip once, in random order, augmented, in sequences of several signs.

    Args:
        clips: the training clips.
        features: computes their features.
        batch_size: clips in a batch.
        max_signs: signs in the longest sequence; each batch draws a number from 1 to this one.
        augmentation: the bounds of the random changes.
        generator: the random numbers, on the device of the clips. Its state is part of the training state.
    """

    clips: Clips
    features: Features
    batch_size: int
    max_signs: int
    augmentation: Augmentation
    generator: torch.Generator

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches of an epoch."""
        return -(-len(self.clips) // self.batch_size)

    def epoch(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        device = self.clips.starts.device
        features, starts, lengths = self.draw_features()
        order = torch.randperm(len(self.clips), generator=self.generator, device=device)
        for chosen in torch.split(order, self.batch_size):
            yield self._concatenate(self.clips.labels[chosen], starts[chosen], lengths[chosen], features)

    def epoch_features(self) -> Tensor:
        """The features of all frames of one epoch: [N, D]."""
        return self.draw_features()[0]

    def draw_features(self) -> tuple[Tensor, Tensor, Tensor]:
        """All clips, augmented, each by itself: features [N, D], first frames [M], lengths [M]."""
        device = self.clips.starts.device
        lengths = draw_lengths(self.clips.lengths, self.augmentation, self.generator)
        starts = lengths.cumsum(0) - lengths
        features = torch.empty((int(lengths.sum()), self.features.size), device=device)
        # Clips of similar lengths together, so that little is padding.
        for group in torch.split(lengths.argsort(), _CLIPS_AT_A_TIME):
            steps = torch.arange(int(lengths[group].max()), device=device)[None, :]
            inside = steps < lengths[group, None]
            times = draw_sample_times(self.clips.lengths[group], lengths[group], self.augmentation, self.generator)
            padded = self.features(*self._augment(group, times), lengths[group])
            features[(starts[group, None] + steps)[inside]] = padded.contiguous()[inside]
        return features, starts, lengths

    def _augment(self, group: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """These clips at these times [M, T] in frames, augmented: joints [3, J, M, T] and presence [3, M, T]."""
        clips = self.clips
        samples = clips.samples_per_frame * times
        before = samples.floor().long()
        after = torch.minimum(before + 1, clips.samples_per_frame * (clips.lengths[group, None] - 1))
        starts = clips.samples_per_frame * clips.starts[group, None]
        rows = before + starts, after + starts
        joints, present = interpolate(
            (clips.joints[rows[0]], clips.joints[rows[1]]),
            (clips.present[rows[0]], clips.present[rows[1]]),
            samples - before,
        )
        joints = distort_joints(joints, self.augmentation, self.generator)
        return joints, drop_hands(present, self.augmentation, self.generator)

    def _concatenate(self, labels: Tensor, starts: Tensor, lengths: Tensor, features: Tensor) -> Batch:
        """Join consecutive clips into sequences; the number of signs in each is drawn once for the batch.

        Labels, starts and lengths are int64 [M]. The starts are the clips' first frames in the features [N, D].
        """
        device = labels.device
        signs = int(torch.randint(1, self.max_signs + 1, (1,), generator=self.generator, device=device))
        # Fill up the last sequence with clips of no frames.
        missing = -len(labels) % signs
        labels, starts, lengths = (F.pad(x, (0, missing)).view(-1, signs) for x in (labels, starts, lengths))
        totals = lengths.sum(dim=1)
        ends = lengths.cumsum(dim=1)

        steps = torch.arange(int(totals.max()), device=device).expand(len(totals), -1).contiguous()
        inside = steps < totals[:, None]
        # For each frame: the number of its clip in the sequence, the frame within the clip, and the share of the clip.
        clip = torch.searchsorted(ends, steps, right=True).clamp(max=signs - 1)
        frame = steps - (ends - lengths).gather(1, clip)
        share = (frame + 0.5) / lengths.gather(1, clip).clamp(min=1)
        in_span = in_sign_span(share) & inside
        source = (starts.gather(1, clip) + frame) * inside
        return Batch(
            features=features[source] * inside[..., None],
            lengths=totals,
            targets=labels,
            target_lengths=(lengths > 0).sum(dim=1),
            frame_labels=labels.gather(1, clip) * in_span,
            inside=inside,
        )


def in_sign_span(share: Tensor) -> Tensor:
    """Which frames are in the middle of a sign, by their share of its clip or movement: bool, like `share`."""
    return (share >= SIGN_SPAN[0]) & (share < SIGN_SPAN[1])


def interpolate(joints: tuple[Tensor, Tensor], present: tuple[Tensor, Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Frames between two frames. A part that only one of the two has is that of the nearer frame, present or not.

    Args:
        joints: float32 [M, T, 3 · J] of the frames before, and of the frames after.
        present: bool [M, T, 3], likewise.
        weight: float32 [M, T], from 0 (the frame before) to 1 (the frame after).

    Returns:
        joints [3, J, M, T] and presence [3, M, T].
    """
    before, after = (part.permute(2, 0, 1) for part in present)
    nearer = weight.round()
    in_both = before & after
    weights = torch.where(in_both, weight, nearer)
    first, second = map(_frames_last, joints)
    parts = [
        torch.lerp(first[:, part], second[:, part], weights[index])
        for index, part in enumerate((POSE, LEFT_HAND, RIGHT_HAND))
    ]
    return torch.cat(parts, dim=1), in_both | torch.where(nearer > 0, after, before)


def find_left_handed(dataset: Dataset, clips: Sequence[DatasetClip]) -> list[bool]:
    """Which clips are by left-handed signers.

    All of the given clips of a signer decide together. A clip of an unknown signer decides alone.
    """
    signers = [clip.signer or clip.clip_id for clip in clips]
    dominance: dict[str, float] = {}
    for signer, clip in zip(signers, clips, strict=True):
        dominance[signer] = dominance.get(signer, 0.0) + left_dominance(dataset.clip_frames(clip))
    return [dominance[signer] > 0 for signer in signers]


def _frames_last(frames: Tensor) -> Tensor:
    """Frames [M, T, 3 · J] as [3, J, M, T]."""
    return torch.unflatten(frames.permute(2, 0, 1).contiguous(), 0, (3, -1))


def _part_ends(lengths: Sequence[int]) -> list[int]:
    """Where to divide sequences of ascending lengths: the end of each part. Each cut saves `_MIN_SAVED_FRAMES`."""
    count = len(lengths)
    if not count:
        return []
    saved, cut = max(((lengths[-1] - lengths[cut - 1]) * cut, cut) for cut in range(1, count + 1))
    if saved < _MIN_SAVED_FRAMES:
        return [count]
    return [*_part_ends(lengths[:cut]), *(cut + end for end in _part_ends(lengths[cut:]))]
