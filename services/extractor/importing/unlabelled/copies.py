"""Finds augmented copies of one recording: mirrored, scaled, moved, noised or shifted in time.

Copies are found by their names, such as `12_aug0` beside `12`, and by their landmarks. A model that is trained on one
copy and evaluated on another one looks better than it is, so all copies go to one split.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.datasets.duplicates import overlay_clips
from signet.datasets.groups import merge_groups
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND

Frames = npt.NDArray[np.float32]

# The comparison of landmarks needs memory for all recordings at once: 0.6 kB for each frame.
MOST_COMPARED, MOST_COMPARED_FRAMES = 20_000, 2_000_000
# Its time and memory grow with the square of the recordings of a gloss: these take minutes, and 1 GB.
_MOST_OF_GLOSS = 2_000

# Tracks of wrists, thumbs, and fingertips of both hands are compared first: joints of the pose and of the hands.
_TRACKED = np.array([15, 16, *(hand.start + joint for hand in (LEFT_HAND, RIGHT_HAND) for joint in (0, 4, 8, 12, 20))])
_SHOULDERS = (11, 12)
_MIDDLE_KNUCKLE = 9
# From the wrist to the middle knuckle: a quarter of the shoulder width where the whole palm is visible.
_SHOULDERS_OF_PALM = 4.0
# Noise on single frames is averaged over this many frames.
_SMOOTHED = 5
# Copies are shifted by at most this many frames. Longer recordings are compared up to a number of frames.
_MOST_SHIFT, _MOST_FRAMES = 15, 240
# Pairs must have this share of the places of the shorter recording in common.
_MIN_COMMON_SHARE = 0.5
# Pairs whose tracks are farther apart (root mean square, in shoulder widths) are no copies. Of the nearer ones, this
# many of each recording are compared joint by joint.
_MAX_TRACK_DISTANCE, _MOST_CANDIDATES = 0.1, 3

_WORDS = (
    "augmented|augmentation|augm|aug|flipped|flip|mirrored|mirror|noised|noisy|noise|scaled|scale|shifted|shift|"
    "rotated|rotate|rot|translated|translate|jittered|jitter|warped|warp|cropped|crop|stretched|stretch|slow|fast|"
    "dropped|dropout|copy|synthetic|synth"
)
# A word for a copy at the end or the beginning of a name, with numbers: 12_aug0, 12-flip, aug_3_12, hello_0_noise_1.
_SEPARATORS = " _-.()"
_BETWEEN = r"[ _\-.()]"
_AT_END = re.compile(rf"^(?P<base>.*?)(?:{_BETWEEN}+(?:{_WORDS}){_BETWEEN}*\d*{_BETWEEN}*)+$", re.IGNORECASE)
_AT_START = re.compile(rf"^(?:(?:{_WORDS})(?:{_BETWEEN}*\d+)?{_BETWEEN}+)+(?P<base>.+)$", re.IGNORECASE)

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
        compared: the number of clips whose landmarks were compared.
    """

    groups: tuple[tuple[str, ...], ...]
    by_name: int
    by_content: int
    compared: int


def original_name(name: str) -> str:
    """The path of the recording that a copy was made of, by the path of the copy; the path itself if it is no copy."""
    folder, slash, last = name.rpartition("/")
    match = _AT_END.match(last) or _AT_START.match(last)
    base = match["base"].strip(_SEPARATORS) if match else ""
    return f"{folder}{slash}{base or last}"


def find_copies(
    names: Mapping[str, tuple[str, str]], clips: Mapping[str, npt.NDArray[np.floating[Any]]], aspect: float
) -> Copies:
    """Find copies among clips of the same gloss.

    Args:
        names: gloss and name of the recording, by clip id.
        clips: [T, 75, 3] in frame heights, by clip id; NaN where a part is absent. Clips that are not compared are left
            out.
        aspect: width of the frames divided by their height.
    """
    by_original: dict[tuple[str, str], list[str]] = {}
    by_gloss: dict[str, list[str]] = {}
    for clip_id, (gloss, name) in names.items():
        by_original.setdefault((gloss, original_name(name)), []).append(clip_id)
        if clip_id in clips:
            by_gloss.setdefault(gloss, []).append(clip_id)
    named = [group for group in by_original.values() if len(group) > 1]
    compared = [ids for ids in by_gloss.values() if len(ids) <= _MOST_OF_GLOSS]
    similar = [
        (ids[first], ids[second])
        for ids in compared
        for first, second in _find_similar([clips[clip_id].astype(np.float32) for clip_id in ids], aspect)
    ]
    return Copies(
        groups=merge_groups([*named, *similar]),
        by_name=sum(map(len, named)),
        by_content=len({clip_id for pair in similar for clip_id in pair}),
        compared=sum(map(len, compared)),
    )


def _find_similar(clips: Sequence[Frames], aspect: float) -> set[tuple[int, int]]:
    """Pairs of clips that show one recording, possibly mirrored, with or without exchanged names of the sides."""
    if len(clips) < 2:
        return set()
    clips = [_smooth(clip) for clip in clips]
    flipped = [_flip(clip, aspect) for clip in clips]
    tracks = _tracks(clips)
    pairs: set[tuple[int, int]] = set()
    for others in (clips, flipped, [clip[:, _SWAPPED] for clip in flipped]):
        for first, second, shift in _near_tracks(tracks, _tracks(others)):
            pair = (min(first, second), max(first, second))
            if pair not in pairs:
                overlay = overlay_clips(clips[first], others[second], shift)
                if overlay is not None and overlay.same_recording:
                    pairs.add(pair)
    return pairs


def _flip(clip: Frames, aspect: float) -> Frames:
    flipped = clip.copy()
    flipped[..., 0] = aspect - flipped[..., 0]
    return flipped


def _smooth(clip: Frames) -> Frames:
    """A clip whose joints are averaged over a few frames in which they are present."""
    reach = _SMOOTHED // 2
    padded = np.pad(clip, ((reach, reach), (0, 0), (0, 0)), constant_values=np.nan)
    around = np.stack([padded[step : step + len(clip)] for step in range(2 * reach + 1)])
    found = np.isfinite(around)
    sums = np.where(found, around, 0).sum(axis=0, dtype=np.float32)
    return np.where(np.isfinite(clip), sums / np.maximum(found.sum(axis=0), 1), np.nan).astype(np.float32)


def _tracks(clips: Sequence[Frames]) -> Frames:
    """Places of some joints in shoulder widths: float32 [n, T, 24]; NaN where they are absent."""
    frames = min(_MOST_FRAMES, max(len(clip) for clip in clips))
    tracks = np.full((len(clips), frames, len(_TRACKED), 2), np.nan, np.float32)
    for row, clip in zip(tracks, clips, strict=True):
        shown = clip[:frames]
        origin, width = _frame_of_reference(shown)
        row[: len(shown)] = (shown[:, _TRACKED, :2] - origin) / width
    return tracks.reshape(len(clips), frames, -1)


def _frame_of_reference(clip: Frames) -> tuple[Frames, float]:
    """The middle of the shoulders and their distance; without a pose, a corner of the picture and the size of palms."""
    left, right = (clip[:, joint, :2] for joint in _SHOULDERS)
    posed = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
    if posed.any():
        width = float(np.median(np.linalg.norm(left[posed] - right[posed], axis=1)))
        return np.asarray(((left[posed] + right[posed]) / 2).mean(axis=0)), max(width, 1e-3)
    palms = np.concatenate(
        [
            np.linalg.norm(clip[:, hand.start, :2] - clip[:, hand.start + _MIDDLE_KNUCKLE, :2], axis=1)
            for hand in (LEFT_HAND, RIGHT_HAND)
        ]
    )
    palms = palms[np.isfinite(palms)]
    return np.zeros(2, np.float32), max(
        _SHOULDERS_OF_PALM * float(np.quantile(palms, 0.75)) if len(palms) else 1.0, 1e-3
    )


def _near_tracks(first: Frames, second: Frames) -> list[tuple[int, int, int]]:
    """For each clip of `first`, the clips of `second` with the nearest tracks, and the shift at which they are nearest.

    The mean square distance of all pairs is computed for one shift at a time, with matrix products: the sum of
    (a - b)^2 over the places that both clips show is that of a^2 + b^2 - 2ab.
    """
    count = len(first)
    best = np.full((count, count), np.inf, np.float32)
    shifts = np.zeros((count, count), int)
    known_a, known_b = np.isfinite(first), np.isfinite(second)
    a, b = np.where(known_a, first, 0), np.where(known_b, second, 0)
    places = np.minimum(known_a.sum(axis=(1, 2))[:, None], known_b.sum(axis=(1, 2))[None])
    frames = first.shape[1]
    for shift in range(-min(_MOST_SHIFT, frames - 1), min(_MOST_SHIFT, frames - 1) + 1):
        own, other = slice(max(0, -shift), frames - max(0, shift)), slice(max(0, shift), frames - max(0, -shift))
        p, q = a[:, own].reshape(count, -1), b[:, other].reshape(count, -1)
        in_p = known_a[:, own].reshape(count, -1).astype(np.float32)
        in_q = known_b[:, other].reshape(count, -1).astype(np.float32)
        common = in_p @ in_q.T
        squares = (p * p) @ in_q.T + in_p @ (q * q).T - 2 * p @ q.T
        mean = np.where(common > _MIN_COMMON_SHARE * places, squares / np.maximum(common, 1), np.inf)
        nearer = mean < best
        best[nearer], shifts[nearer] = mean[nearer], shift
    np.fill_diagonal(best, np.inf)
    # A place has two coordinates.
    near = 2 * best < _MAX_TRACK_DISTANCE**2
    order = np.argsort(best, axis=1)[:, :_MOST_CANDIDATES]
    return [
        (row, int(column), int(shifts[row, column]))
        for row in range(count)
        for column in order[row]
        if near[row, column]
    ]
