"""Finds augmented copies of one recording: mirrored, scaled, moved, noised or shifted in time.

Copies are found by their names, such as `12_aug0` beside `12`, and by their landmarks. A model that is trained on one
copy and evaluated on another one looks better than it is, so all copies go to one split.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.datasets.duplicates import find_near_duplicates
from signet.datasets.groups import merge_groups
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND

Frames = npt.NDArray[np.float32]

# The comparison of landmarks needs memory for all recordings at once.
MOST_COMPARED = 20_000

_WORDS = (
    "augmented|augmentation|augm|aug|flipped|flip|mirrored|mirror|noised|noisy|noise|scaled|scale|shifted|shift|"
    "rotated|rotate|rot|translated|translate|jittered|jitter|warped|warp|cropped|crop|stretched|stretch|slow|fast|"
    "dropped|dropout|copy|synthetic|synth"
)
# A word for a copy at the end or the beginning of a name, with numbers: 12_aug0, 12-flip, aug_3_12, hello_0_noise_1.
_AT_END = re.compile(rf"^(?P<base>.*?)(?:[ _\-.]*(?:{_WORDS})(?:[ _\-.]*\(?\d*\)?))+$", re.IGNORECASE)
_AT_START = re.compile(rf"^(?:(?:{_WORDS})(?:[ _\-.]*\d+)?[ _\-.]+)+(?P<base>.+)$", re.IGNORECASE)

# Left and right of the pose in mirrored order: each left joint and its right counterpart change places.
_SWAPPED = np.array(
    [
        *(0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9),
        *(joint + 1 if joint % 2 else joint - 1 for joint in range(11, POSE.stop)),
        *range(RIGHT_HAND.start, RIGHT_HAND.stop),
        *range(LEFT_HAND.start, LEFT_HAND.stop),
    ]
)


@dataclass(frozen=True)
class Copies:
    """Groups of clips that are copies of one recording, two clips or more each.

    Attributes:
        groups: all groups.
        by_name: the number of clips in groups that names alone give.
        by_content: the number of clips that are in a group because of their landmarks.
    """

    groups: tuple[tuple[str, ...], ...]
    by_name: int
    by_content: int


def original_name(name: str) -> str:
    """The name of the recording that a copy was made of, by the copy's name; the name itself if it is no copy."""
    match = _AT_END.match(name) or _AT_START.match(name)
    return match["base"].strip(" _-.") if match and match["base"].strip(" _-.") else name


def find_copies(names: Mapping[str, tuple[str, str]], frames: Mapping[str, Frames], aspect: float) -> Copies:
    """Find copies among clips.

    Args:
        names: gloss and name of the recording, by clip id.
        frames: model inputs, float32 [T, 75, 3] in frame heights, by clip id; empty if landmarks are not compared.
        aspect: width of the frames divided by their height.
    """
    by_original: dict[tuple[str, str], list[str]] = {}
    for clip_id, (gloss, name) in names.items():
        by_original.setdefault((gloss, original_name(name)), []).append(clip_id)
    named = [group for group in by_original.values() if len(group) > 1]
    similar = _find_similar(list(frames), list(frames.values()), aspect) if frames else []
    groups = merge_groups([*named, *similar])
    return Copies(groups, sum(map(len, named)), len({clip_id for pair in similar for clip_id in pair}))


def _find_similar(ids: Sequence[str], clips: Sequence[Frames], aspect: float) -> list[tuple[str, str]]:
    """Pairs of clips that show one recording, possibly mirrored, with or without exchanged names of the sides."""
    flipped = [_flip(clip, aspect) for clip in clips]
    mirrored = [clip[:, _SWAPPED] for clip in flipped]
    pairs = set()
    for others in (flipped, mirrored):
        joined = [*clips, *others]
        for pair in find_near_duplicates(np.concatenate(joined), [len(clip) for clip in joined]):
            first, second = pair.first % len(clips), pair.second % len(clips)
            if first != second:
                pairs.add((min(first, second), max(first, second)))
    return [(ids[first], ids[second]) for first, second in sorted(pairs)]


def _flip(clip: Frames, aspect: float) -> Frames:
    flipped = clip.copy()
    flipped[..., 0] = aspect - flipped[..., 0]
    return flipped
