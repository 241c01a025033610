"""Which clips show the same recording: the search for near-duplicates, which must stay on one side of a split.

Clips of bit-identical videos are known by their hashes. This module finds the others by their landmarks: a recording
that was encoded again, scaled, cropped or trimmed, or that begins a little later. Two takes of the same sign by the
same signer are not duplicates, even if they look alike.

The search has two steps. *Blocking*: a window is the path of both wrists, relative to the shoulders, over half a
second and more. Each fourth window of a clip is compared with all windows of all other clips. So a duplicate is found
at any shift. *Comparison*: each pair of clips with similar windows is overlaid at this shift (to a quarter of a frame),
moved and scaled to fit, and measured joint by joint (`overlay_clips`).

docs/protocol.md has the distances of real duplicates and of other pairs, from which the limits were chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks import LEFT_HAND, RIGHT_HAND

Frames = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int_]

# In shoulder widths. With a body to fit the clips by and hands that move, two takes of one sign by one signer have a
# distance of at least 0.038. For still hands, and for hands without a body, other handshapes of one spelling lesson
# come as near as 0.016, and the same recording is mostly within 0.005.
MAX_DISTANCE = 0.037
MAX_STILL_DISTANCE = 0.012

# MediaPipe pose: nose, shoulders, elbows, wrists. The legs and the other points of the face say nothing about a sign.
_NOSE, _SHOULDERS, _ELBOWS, _WRISTS = (0,), (11, 12), (13, 14), (15, 16)
_BODY = (*_NOSE, *_SHOULDERS, *_ELBOWS, *_WRISTS)
_HANDS = (*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop))
_COMPARED = np.array([*_BODY, *_HANDS])
# Body, left hand and right hand among the compared joints.
_PARTS = (slice(0, 7), slice(7, 28), slice(28, 49))
# Wrists and index fingertips among the compared joints: they show whether a hand moves.
_MOVING = (5, 6, 7 + 8, 28 + 8)
_HAND_WRISTS = (LEFT_HAND.start, RIGHT_HAND.start)
# From the wrist of a hand to its middle knuckle: a quarter of the shoulder width where the whole palm is visible.
_MIDDLE_KNUCKLE = 9
_SHOULDERS_OF_HAND = 4.0
# In frame heights; prevents a division by zero.
_MIN_WIDTH = 1e-3
# The place of an absent hand, in shoulder widths from the shoulders. Any place would do, if it is always the same.
_ABSENT = (0.0, 2.5)
# Replaces the middle of the shoulders where there is no pose, in frame heights.
_NO_POSE_ORIGIN = (0.6, 0.5)

# A window is the places of the wrists at these frames (0.6 s at 10 Hz). Shorter windows are similar by chance; longer
# ones do not fit into short clips.
_WINDOW = (0, 2, 4, 6)
# A window whose path deviates less than this from its mean, in shoulder widths, shows a signer at rest: all such
# windows are alike. A clip keeps this many of them, those with the largest deviation, since some signs are held still.
_MIN_DEVIATION = 0.15
_MIN_WINDOWS = 4
_ANCHOR_STRIDE = 4
# Pairs of windows below this root mean square distance, in shoulder widths, are candidates.
_MAX_WINDOW_DISTANCE = 0.15
# A candidate pair is sampled at this many frames, spread over the part that both clips have in common. In more than
# half of them the wrists, and then all joints on average, must be nearer than this, in shoulder widths. The distances
# of duplicates are a third of it.
_SAMPLED_FRAMES = 8
_MAX_WRIST_DISTANCE = 0.15
_MAX_JOINT_DISTANCE = 0.12
# Sizes of batches; they bound the memory.
_ANCHORS_PER_BATCH = 256
_PAIRS_PER_BATCH = 4096

# Two clips must have at least this many frames, and this share of the shorter clip, in common.
_MIN_COMMON_FRAMES = 8
_MIN_COMMON_SHARE = 0.6
_SUBFRAMES = (0.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
# A pair with a larger distance at the whole shift does not become a duplicate at a fraction of a frame.
_HOPELESS_DISTANCE = 0.15
# A part is compared if both clips show it in this many common frames.
_MIN_FRAMES_OF_PART = 3


@dataclass(frozen=True)
class DuplicatePair:
    """Two clips that show the same recording."""

    first: int  # index of one clip
    second: int  # index of the other clip; larger than `first`
    distance: float  # see `overlay_clips`
    shift: float  # frame t of `first` shows the same moment as frame t + shift of `second`


@dataclass(frozen=True)
class Overlay:
    """Two clips, overlaid as well as possible."""

    distance: float  # the distance of corresponding joints, in shoulder widths; see `overlay_clips`
    shift: float  # in frames
    reliable: bool  # whether the clips show a body and hands that move. Without them, a small distance means less.

    @property
    def same_recording(self) -> bool:
        """Whether both clips show the same recording."""
        return self.distance <= (MAX_DISTANCE if self.reliable else MAX_STILL_DISTANCE)


def find_near_duplicates(frames: Frames, lengths: Sequence[int]) -> list[DuplicatePair]:
    """Find all pairs of clips that show the same recording, by their landmarks.

    Clips with equal frames are found too, at distance 0, each paired with the first of them.

    Args:
        frames: float32 [N, 75, 3]; the model inputs of all clips, one clip after the other; NaN where a part is absent.
        lengths: how many frames each clip has; their sum is N.

    Returns:
        The pairs, sorted by first and second clip.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    clips = [frames[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    first_with: dict[bytes, int] = {}
    pairs = []
    for index, clip in enumerate(clips):
        if np.isnan(clip).all():
            continue  # a clip without landmarks cannot be compared
        first = first_with.setdefault(np.ascontiguousarray(clip).tobytes(), index)
        if first != index:
            pairs.append(DuplicatePair(first, index, 0.0, 0.0))
    distinct = np.array(sorted(first_with.values()), int)
    for a, b, shift in _candidates(frames, starts, np.asarray(lengths), distinct):
        overlay = overlay_clips(clips[a], clips[b], shift)
        if overlay is not None and overlay.same_recording:
            pairs.append(DuplicatePair(a, b, overlay.distance, overlay.shift))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def overlay_clips(p: Frames, q: Frames, shift: int) -> Overlay | None:
    """Overlay two clips near a shift, and measure their distance, in shoulder widths.

    The shift is refined in quarters of a frame, up to three quarters in both directions. If both clips show the body,
    the joints of q are moved and scaled to fit those of p by least squares. (Without a body, hands of different people
    would be fitted to each other.) Two distances are computed over the parts (body, left hand, right hand) that both
    clips show: the median over frames and joints for each part, averaged over parts; and, in each frame, the part with
    the largest median, then the median over frames. The larger of the two counts, at the best shift. So one hand that
    moves differently is enough to separate two takes, and a hand that the tracker lost for some frames does no harm.

    Args:
        p: float32 [T, 75, 3].
        q: float32 [T', 75, 3].
        shift: frame t of p is laid over frame t + shift of q.

    Returns:
        The best overlay; None if the two clips have too little in common.
    """
    p_joints, q_joints = p[:, _COMPARED, :2].astype(np.float64), q[:, _COMPARED, :2].astype(np.float64)
    best: Overlay | None = None
    for part_of_frame in _SUBFRAMES:
        exact = shift + part_of_frame
        times = np.arange(max(0, int(np.ceil(-exact))), min(len(p), int(np.floor(len(q) - 1 - exact)) + 1))
        if len(times) < max(_MIN_COMMON_FRAMES, _MIN_COMMON_SHARE * min(len(p), len(q))):
            continue
        measured = _distance(p_joints[times], _interpolate(q_joints, times + exact))
        if measured is not None and (best is None or measured[0] < best.distance):
            best = Overlay(measured[0], float(exact), measured[1])
        if best is not None and best.distance > _HOPELESS_DISTANCE:
            break
    return best


def _distance(p: Points, q: Points) -> tuple[float, bool] | None:
    """The distance of corresponding frames, [T, 49, 2] each, and whether it is reliable (see `Overlay`)."""
    both = np.isfinite(p).all(axis=-1) & np.isfinite(q).all(axis=-1)
    parts = [part for part in _PARTS if both[:, part].any(axis=1).sum() >= _MIN_FRAMES_OF_PART]
    unit = _shoulder_width(p)
    if not parts or not unit:
        return None
    with_body = bool(both[:, _PARTS[0]].any())
    moved = max(_deviation(p[both[:, joint], joint]) for joint in _MOVING) / unit
    if with_body:
        a, b = p[both], q[both]
        centre_a, centre_b = a.mean(axis=0), b.mean(axis=0)
        spread = ((b - centre_b) ** 2).sum()
        scale = ((a - centre_a) * (b - centre_b)).sum() / spread if spread else 1.0
        p, q = p - centre_a, scale * (q - centre_b)
    distance = np.linalg.norm(p - q, axis=-1)
    # All joints of a part are present in a frame, or none, so a frame has one median for each part.
    with_part = [both[:, part].all(axis=1) for part in parts]
    frame_medians = np.full((len(parts), len(p)), -np.inf)
    part_medians = []
    for row, part, present in zip(frame_medians, parts, with_part, strict=True):
        if not present.any():
            continue
        row[present] = np.median(distance[present, part], axis=1)
        part_medians.append(np.median(distance[present, part]))
    worst = frame_medians.max(axis=0)
    worst = worst[np.isfinite(worst)]
    if not part_medians or not len(worst):
        return None
    return float(max(np.mean(part_medians), np.median(worst)) / unit), with_body and moved > _MIN_DEVIATION


def _deviation(places: Points) -> float:
    """The root mean square distance of a joint, [T, 2], from its mean place."""
    return float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=-1).mean())) if len(places) else 0.0


def _shoulder_width(p: Points) -> float:
    """The shoulder width in [T, 49, 2], or an estimate from the size of the hands; 0 if nothing is present."""
    shoulders = np.linalg.norm(p[:, 1] - p[:, 2], axis=-1)
    shoulders = shoulders[np.isfinite(shoulders)]
    if len(shoulders):
        return float(np.median(shoulders))
    hands = np.concatenate(
        [np.linalg.norm(p[:, part.start] - p[:, part.start + _MIDDLE_KNUCKLE], axis=-1) for part in _PARTS[1:]]
    )
    hands = hands[np.isfinite(hands)]
    return float(_SHOULDERS_OF_HAND * np.quantile(hands, 0.75)) if len(hands) else 0.0


def _interpolate(joints: Points, times: Points) -> Points:
    """Joints at times between frames, linearly; NaN where a joint is absent before or after the time."""
    left = np.floor(times).astype(int)
    weight = (times - left)[:, None, None]
    if not weight.any():
        return np.asarray(joints[left])
    right = np.minimum(left + 1, len(joints) - 1)
    return np.asarray((1 - weight) * joints[left] + weight * joints[right])


def _candidates(frames: Frames, starts: Indices, lengths: Indices, clips: Indices) -> Iterator[tuple[int, int, int]]:
    """Pairs of these clips that may be duplicates, and the shift at which they are most similar."""
    origins, widths = _frames_of_reference(frames, starts)
    tracks = _wrist_tracks(frames, np.repeat(origins, lengths, axis=0), np.repeat(widths, lengths))
    similar = _similar_pairs(tracks, starts, lengths, clips)
    compared = np.ascontiguousarray(frames[:, _COMPARED, :2])
    for begin in range(0, len(similar), _PAIRS_PER_BATCH):
        pairs, first, second = _sampled_frames(similar[begin : begin + _PAIRS_PER_BATCH], starts, lengths)
        near = np.abs(tracks[first] - tracks[second]).max(axis=-1) < _MAX_WRIST_DISTANCE
        remaining = near.sum(axis=1) > _SAMPLED_FRAMES / 2
        pairs, first, second = pairs[remaining], first[remaining], second[remaining]
        p, q = (
            (compared[sampled] - origins[clip, None, None]) / widths[clip, None, None, None]
            for sampled, clip in ((first, pairs[:, 0]), (second, pairs[:, 1]))
        )
        distance = np.linalg.norm(p - q, axis=-1)
        both = np.isfinite(distance)
        mean = np.where(both, distance, 0).sum(axis=-1) / np.maximum(both.sum(axis=-1), 1)
        near = both.any(axis=-1) & (mean < _MAX_JOINT_DISTANCE)
        yield from pairs[near.sum(axis=1) > _SAMPLED_FRAMES / 2].tolist()


def _frames_of_reference(frames: Frames, starts: Indices) -> tuple[Frames, Frames]:
    """The mean middle of each clip's shoulders, [n, 2], and their mean width, [n]; estimates where there are none."""

    def mean(values: Frames) -> Frames:
        """The mean of the values that are present in each clip; NaN if there are none."""
        present = np.isfinite(values)
        counts = np.add.reduceat(present, starts, axis=0, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.add.reduceat(np.where(present, values, 0), starts, axis=0) / counts)

    left, right = (frames[:, joint, :2] for joint in _SHOULDERS)
    width = mean(np.linalg.norm(left - right, axis=-1))
    palms = [mean(np.linalg.norm(frames[:, w, :2] - frames[:, w + _MIDDLE_KNUCKLE, :2], axis=-1)) for w in _HAND_WRISTS]
    with_pose = np.isfinite(width)
    width = np.where(with_pose, width, _SHOULDERS_OF_HAND * np.fmax(*palms))
    origin = np.where(with_pose[:, None], mean((left + right) / 2), _NO_POSE_ORIGIN)
    # NaN where a clip shows neither pose nor hands: all its wrists are absent as well.
    return origin.astype(np.float32), np.maximum(np.nan_to_num(width, nan=1.0), _MIN_WIDTH).astype(np.float32)


def _wrist_tracks(frames: Frames, origin: Frames, width: Frames) -> Frames:
    """The places of both wrists in shoulder widths from the middle of the shoulders: float32 [N, 4], without NaN."""
    pose = frames[:, list(_WRISTS), :2]
    wrists = np.where(np.isfinite(pose), pose, frames[:, list(_HAND_WRISTS), :2])
    placed = (wrists - origin[:, None]) / width[:, None, None]
    return np.where(np.isfinite(placed), placed, _ABSENT).reshape(len(frames), 4).astype(np.float32)


def _similar_pairs(tracks: Frames, starts: Indices, lengths: Indices, distinct: Indices) -> Indices:
    """Pairs of clips with similar windows: [P, 3], the first and second clip, and the shift of the nearest windows."""
    windows, clips, offsets, is_anchor = _windows(tracks, starts, lengths, distinct)
    if not len(windows):
        return np.zeros((0, 3), int)
    # Windows are sorted along the direction of their largest spread: similar windows are within the radius along it.
    radius = _MAX_WINDOW_DISTANCE * len(_WINDOW) ** 0.5
    centred = windows - windows.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = np.argsort(windows @ direction, kind="stable")
    windows, clips, offsets = windows[order], clips[order], offsets[order]
    anchors = np.flatnonzero(is_anchor[order])
    along = windows @ direction
    squares = (windows**2).sum(axis=1)
    similar, distances = [np.zeros((0, 3), int)], [np.zeros(0, np.float32)]
    for begin in range(0, len(anchors), _ANCHORS_PER_BATCH):
        batch = anchors[begin : begin + _ANCHORS_PER_BATCH]
        low, high = np.searchsorted(along, [along[batch[0]] - radius, along[batch[-1]] + radius])
        squared = squares[batch][:, None] + squares[low:high] - 2 * windows[batch] @ windows[low:high].T
        row, column = np.nonzero(squared < radius * radius)
        squared = squared[row, column]
        first, second = batch[row], column + low
        swap = clips[first] > clips[second]
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        different = clips[first] != clips[second]
        similar.append(np.stack([clips[first], clips[second], offsets[second] - offsets[first]], axis=1)[different])
        distances.append(squared[different])
    pairs = np.concatenate(similar)
    # Only the nearest windows of each pair of clips count.
    pairs = pairs[np.lexsort([np.concatenate(distances), pairs[:, 1], pairs[:, 0]])]
    nearest = (np.diff(pairs[:, :2], axis=0, prepend=-1) != 0).any(axis=1)
    return np.asarray(pairs[nearest])


def _windows(
    tracks: Frames, starts: Indices, lengths: Indices, distinct: Indices
) -> tuple[Frames, Indices, Indices, npt.NDArray[np.bool_]]:
    """The windows of these clips that show movement: [K, 16], their clips, first frames, and which are anchors."""
    counts = np.maximum(lengths[distinct] - _WINDOW[-1], 0)
    clips = np.repeat(distinct, counts)
    offsets = _count_up(counts)
    windows = np.stack([tracks[starts[clips] + offsets + step] for step in _WINDOW], axis=1)
    deviations = ((windows - windows.mean(axis=1, keepdims=True)) ** 2).sum(axis=-1).mean(axis=1)
    rank = np.empty(len(deviations), int)
    rank[np.lexsort([-deviations, clips])] = offsets  # sorted by clip, the n-th window has the n-th largest deviation
    moving = (deviations > _MIN_DEVIATION**2) | (rank < _MIN_WINDOWS)
    clips, offsets = clips[moving], offsets[moving]
    anchors = _count_up(np.unique(clips, return_counts=True)[1]) % _ANCHOR_STRIDE == 0
    return windows[moving].reshape(-1, 4 * len(_WINDOW)), clips, offsets, anchors


def _count_up(counts: Indices) -> Indices:
    """The numbers 0 to n - 1 for each n of `counts`, one after the other."""
    return np.asarray(np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts))


def _sampled_frames(pairs: Indices, starts: Indices, lengths: Indices) -> tuple[Indices, Indices, Indices]:
    """Pairs with enough in common, [P, 3], and the frames to compare, as indices into all frames: twice [P, frames]."""
    a, b, shift = pairs.T
    begin = np.maximum(0, -shift)
    common = np.minimum(lengths[a], lengths[b] - shift) - begin
    # Rounding the shift to whole frames can cost one common frame.
    enough = common + 1 >= np.maximum(_MIN_COMMON_FRAMES, _MIN_COMMON_SHARE * np.minimum(lengths[a], lengths[b]))
    steps = np.linspace(0, 1, _SAMPLED_FRAMES) * (common[:, None] - 1)
    first = (starts[a] + begin)[:, None] + np.rint(steps).astype(int)
    second = first + (starts[b] + shift - starts[a])[:, None]
    return pairs[enough], first[enough], second[enough]
