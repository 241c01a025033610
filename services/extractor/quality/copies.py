"""Groups of clips of a corpus that show the same recording, also mirrored or trimmed.

The search by landmarks is that of snapshots (`signet.datasets.duplicates`). Here it also finds mirrored copies.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.datasets.duplicates import find_near_duplicates
from signet.datasets.groups import merge_groups
from signet.landmarks import LEFT_HAND, POSE_JOINTS, RIGHT_HAND, ClipRecord

Frames = npt.NDArray[np.float32]

SAME_FILE, SAME_RECORDING, MIRRORED = "same file", "same recording", "mirrored"

# The time of the search grows faster than the number of clips. Mirrored copies of more clips are not searched for.
MAX_MIRRORED_CLIPS = 5000

# MediaPipe's pose joints after mirroring: nose, eyes, ears and mouth; then left and right take turns.
_MIRRORED_POSE = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9]
_MIRRORED_POSE += [joint + 1 if joint % 2 else joint - 1 for joint in range(11, POSE_JOINTS)]
_MIRRORED = [
    *_MIRRORED_POSE,
    *range(RIGHT_HAND.start, RIGHT_HAND.stop),
    *range(LEFT_HAND.start, LEFT_HAND.stop),
]


@dataclass(frozen=True, eq=False)
class CopyCandidate:
    """A clip for the search: its record, and its model input, float32 [T, 75, 3]."""

    record: ClipRecord
    frames: Frames


@dataclass(frozen=True)
class CopyGroup:
    """Clips that show the same recording.

    Attributes:
        clips: their records, in the order of their ids.
        kind: how they are related: `SAME_FILE`, `SAME_RECORDING` or `MIRRORED`; the last one that occurs.
    """

    clips: tuple[ClipRecord, ...]
    kind: str

    @property
    def glosses(self) -> list[str]:
        """The glosses of the clips."""
        return sorted({clip.gloss for clip in self.clips})

    @property
    def splits(self) -> list[str]:
        """The splits of the clips."""
        return sorted({clip.split for clip in self.clips})


def find_copies(
    clips: Sequence[CopyCandidate], on_step: Callable[[str], None] = lambda _: None
) -> tuple[list[CopyGroup], bool]:
    """Find the groups of clips that show the same recording.

    Args:
        clips: all clips.
        on_step: called with the name of each step of the search.

    Returns:
        The groups, and whether mirrored copies were searched for.
    """
    ids = [clip.record.clip_id for clip in clips]
    on_step("comparing landmarks")
    lengths = [len(clip.frames) for clip in clips]
    pairs: dict[tuple[str, str], str] = {}
    if clips:
        frames = np.concatenate([clip.frames for clip in clips])
        for pair in find_near_duplicates(frames, lengths):
            pairs[ids[pair.first], ids[pair.second]] = SAME_RECORDING
        if mirrored := len(clips) <= MAX_MIRRORED_CLIPS:
            on_step("comparing mirrored landmarks")
            for first, second in _find_mirrored(clips, frames, lengths):
                pairs.setdefault((ids[first], ids[second]), MIRRORED)
    for pair_of_ids in _same_files(clips):
        pairs[pair_of_ids] = SAME_FILE
    records = {clip.record.clip_id: clip.record for clip in clips}
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for (first_id, second_id), kind in pairs.items():
        kinds[first_id].add(kind)
        kinds[second_id].add(kind)
    groups = []
    for group in merge_groups(pairs):
        found = set().union(*(kinds[clip_id] for clip_id in group))
        kind = next(kind for kind in (MIRRORED, SAME_RECORDING, SAME_FILE) if kind in found)
        groups.append(CopyGroup(tuple(records[clip_id] for clip_id in group), kind))
    return groups, not clips or mirrored


def mirror(frames: Frames, aspect: float) -> Frames:
    """The landmarks of the mirrored picture; `aspect` is its width divided by its height."""
    mirrored = frames[:, _MIRRORED].copy()
    mirrored[..., 0] = aspect - mirrored[..., 0]
    return np.asarray(mirrored, np.float32)


def _find_mirrored(clips: Sequence[CopyCandidate], frames: Frames, lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of clips of which one shows the mirrored recording of the other, as indices with first < second."""
    reflected = [mirror(clip.frames, clip.record.width / clip.record.height) for clip in clips]
    count = len(clips)
    found = find_near_duplicates(np.concatenate([frames, *reflected]), [*lengths, *lengths])
    return [
        (pair.first, pair.second - count)
        for pair in found
        if pair.first < count <= pair.second and pair.first < pair.second - count
    ]


def _same_files(clips: Sequence[CopyCandidate]) -> list[tuple[str, str]]:
    """Pairs of clips of common frames of the same video file; each is paired with the first one of the file."""
    first: dict[str, list[ClipRecord]] = {}
    pairs = []
    for record in (clip.record for clip in clips):
        if not record.source_sha256:
            continue
        earlier = first.setdefault(record.source_sha256, [])
        for other in earlier:
            if record.frame_start <= other.frame_end and other.frame_start <= record.frame_end:
                pairs.append((other.clip_id, record.clip_id))
                break
        earlier.append(record)
    return pairs
