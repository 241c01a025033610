"""Which clips show the same recording: the audit that keeps twins on one side of a split.

Clips made from bit-identical videos are known by their hashes. This finds the others by their landmarks: a recording
that was encoded again, scaled, cropped, trimmed, or begins a little later. Two takes of the same sign by the same
signer are not twins, however alike they are.

Two steps. *Blocking*: half a second and more of both wrists' path, relative to the shoulders, is a window; every
fourth window of each clip is compared with all windows of all others, so that a twin is met at whatever shift, and
nothing depends on where a clip begins. *Comparison*: each pair that met is laid over one another at that shift (to a
quarter of a frame), moved and scaled to fit, and measured joint by joint (`overlay_clips`).

Distances of the pairs that met, in shoulder widths; | is the limit that they are judged by:

    a body, and hands that move         < 0.012  < 0.02  < 0.03  < 0.037 |  < 0.045  < 0.06  < 0.08  < 0.1
    64 re-encodings of 16 clips of ours       6      31      11        4 |        3       4       2      0
    other pairs of 707 clips of WLASL         0       0       0        0 |        2       3       2     14

    no body, or hands held still         < 0.005  < 0.01  < 0.012 |  < 0.015  < 0.02  < 0.03  < 0.045
    hands of 10,566 clips, of one URL         89       3        0 |        0       1       1        2
    the same, of two URLs                      1       1        0 |        0       2      14       32

The re-encodings are harsh (x264 at CRF 28 to 33; a quarter at three quarters of their size, some of 288 x 192 pixels, a
quarter cropped, a quarter without their first third); two did not meet at all, and one is left without hands that move.
The other pairs below 0.06 are two takes of a sign by one signer, as eyes confirm; the two of two URLs are one recording
put up twice. The hands' 10,566 clips take some 90 s of one core.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signet.landmarks import LEFT_HAND, RIGHT_HAND

Frames = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int_]

# Shoulder widths; see the histograms above. With a body to fit them by and hands that move, two takes of one sign by
# one signer are not nearer than 0.038. Of still hands, and of hands without a body, other handshapes of one spelling
# lesson come as near as 0.016, and the same recording is mostly within 0.005.
MAX_DISTANCE = 0.037
MAX_STILL_DISTANCE = 0.012

# MediaPipe pose: nose, shoulders, elbows, wrists. The legs and the face's other points say nothing about a sign.
_NOSE, _SHOULDERS, _ELBOWS, _WRISTS = (0,), (11, 12), (13, 14), (15, 16)
_BODY = (*_NOSE, *_SHOULDERS, *_ELBOWS, *_WRISTS)
_HANDS = (*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop))
_COMPARED = np.array([*_BODY, *_HANDS])
# Body, left hand and right hand among the compared joints.
_PARTS = (slice(0, 7), slice(7, 28), slice(28, 49))
# Wrists and index fingertips among the compared joints: where a hand that moves can be seen to.
_MOVING = (5, 6, 7 + 8, 28 + 8)
_HAND_WRISTS = (LEFT_HAND.start, RIGHT_HAND.start)
# From a hand's wrist to its middle knuckle; a quarter of the shoulders' width where the palm is seen in full.
_MIDDLE_KNUCKLE = 9
_SHOULDERS_OF_HAND = 4.0
# In frame heights; guards a division.
_LEAST_WIDTH = 1e-3
# Where an absent hand is taken to be, in shoulder widths from the shoulders: as good as any place, if always the same.
_ABSENT = (0.0, 2.5)
# Stands for the shoulders' middle where there is no pose, in frame heights.
_NO_POSE_ORIGIN = (0.6, 0.5)

# A window is the wrists' places at these frames (0.6 s at 10 Hz): shorter ones meet by chance, longer ones do not fit
# into short clips.
_WINDOW = (0, 2, 4, 6)
# Windows whose path strays less than this from its mean, in shoulder widths, show a signer at rest, and all are alike.
# A clip keeps so many nevertheless, those that stray most: there are signs that are held still.
_LEAST_PATH = 0.15
_LEAST_WINDOWS = 4
_ANCHOR_STRIDE = 4
# Root mean square over a window's instants, in shoulder widths, below which a pair is looked at.
_MEETING = 0.15
# A pair that met is looked at in so many frames, spread over what the two have in common; in more than half of them the
# wrists, and then all joints in the mean, are nearer than this, in shoulder widths. Twins are at a third of it.
_LOOKS = 8
_NEAR_WRISTS = 0.15
_NEAR_JOINTS = 0.12
_ANCHORS_AT_ONCE = 256
_PAIRS_AT_ONCE = 4096

# Two clips have at least this in common, or nothing is said of them.
_LEAST_FRAMES = 8
_LEAST_SHARE = 0.6
_SUBFRAMES = (0.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
# What is farther apart than this at the whole shift is not brought together by parts of a frame.
_HOPELESS = 0.15
# A part takes part in the comparison if it is there in so many common frames.
_LEAST_PRESENT = 3


@dataclass(frozen=True)
class DuplicatePair:
    """Two clips that show the same recording.

    Attributes:
        first: index of one clip.
        second: index of the other; more than `first`.
        distance: see `overlay_clips`.
        shift: frame t of `first` shows what frame t + shift of `second` shows.
    """

    first: int
    second: int
    distance: float
    shift: float


@dataclass(frozen=True)
class Overlay:
    """Two clips, laid over one another as well as they can be.

    Attributes:
        distance: how far apart corresponding joints are, in shoulder widths; see `overlay_clips`.
        shift: in frames.
        reliable: whether there is enough to go by: a body, and hands that move.
    """

    distance: float
    shift: float
    reliable: bool

    @property
    def same_recording(self) -> bool:
        """Whether both show the same recording."""
        return self.distance <= (MAX_DISTANCE if self.reliable else MAX_STILL_DISTANCE)


def find_near_duplicates(frames: Frames, lengths: Sequence[int]) -> list[DuplicatePair]:
    """All pairs of clips that show the same recording, by their landmarks.

    Clips with equal frames are found too, at distance 0, each with the first of its kind.

    Args:
        frames: float32 [N, 75, 3]; all clips' model inputs, one after the other; NaN where a part is absent.
        lengths: how many frames each clip has; their sum is N.

    Returns:
        The pairs, by first and second clip.
    """
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    clips = [frames[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    first_of: dict[bytes, int] = {}
    twins = []
    for index, clip in enumerate(clips):
        if np.isnan(clip).all():
            continue  # nothing was found in it, and so nothing is known of it
        first = first_of.setdefault(np.ascontiguousarray(clip).tobytes(), index)
        if first != index:
            twins.append(DuplicatePair(first, index, 0.0, 0.0))
    kept = np.array(sorted(first_of.values()), int)
    for a, b, shift in _candidates(frames, starts, np.asarray(lengths), kept):
        overlay = overlay_clips(clips[a], clips[b], shift)
        if overlay is not None and overlay.same_recording:
            twins.append(DuplicatePair(a, b, overlay.distance, overlay.shift))
    return sorted(twins, key=lambda twin: (twin.first, twin.second))


def overlay_clips(p: Frames, q: Frames, shift: int) -> Overlay | None:
    """Lay one clip over another near a shift, and measure how far apart they are, in shoulder widths.

    At each quarter of a frame within three quarters of the shift, q's joints are moved and scaled to fit p's by least
    squares, if both show the body: without one, hands of different people would be fitted to one another. Of each part
    (body, left hand, right hand) that both show, the median over frames and joints of the distances is taken, and the
    mean over parts; and, of each frame, the part with the largest median, and the median over frames. The larger of
    the two counts, at the best shift: so one hand that moves otherwise is enough to tell two takes apart, while a
    tracker that lost a hand for some frames is forgiven.

    Args:
        p: float32 [T, 75, 3].
        q: float32 [T', 75, 3].
        shift: frame t of p is laid over frame t + shift of q.

    Returns:
        The best overlay; None where the two have too little in common.
    """
    here, there = p[:, _COMPARED, :2].astype(np.float64), q[:, _COMPARED, :2].astype(np.float64)
    best: Overlay | None = None
    for part_of_frame in _SUBFRAMES:
        exact = shift + part_of_frame
        instants = np.arange(max(0, int(np.ceil(-exact))), min(len(p), int(np.floor(len(q) - 1 - exact)) + 1))
        if len(instants) < max(_LEAST_FRAMES, _LEAST_SHARE * min(len(p), len(q))):
            continue
        found = _apart(here[instants], _between(there, instants + exact))
        if found is not None and (best is None or found[0] < best.distance):
            best = Overlay(found[0], float(exact), found[1])
        if best is not None and best.distance > _HOPELESS:
            break
    return best


def _apart(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> tuple[float, bool] | None:
    """The distance of frames that belong together, [T, 49, 2] each, and whether a body and movement vouch for it."""
    both = np.isfinite(p).all(axis=-1) & np.isfinite(q).all(axis=-1)
    parts = [part for part in _PARTS if both[:, part].any(axis=1).sum() >= _LEAST_PRESENT]
    unit = _unit(p)
    if not parts or not unit:
        return None
    with_body = bool(both[:, _PARTS[0]].any())
    moved = max(_strays(p[both[:, joint], joint]) for joint in _MOVING) / unit
    if with_body:
        a, b = p[both], q[both]
        centre_a, centre_b = a.mean(axis=0), b.mean(axis=0)
        spread = ((b - centre_b) ** 2).sum()
        scale = ((a - centre_a) * (b - centre_b)).sum() / spread if spread else 1.0
        p, q = p - centre_a, scale * (q - centre_b)
    apart = np.linalg.norm(p - q, axis=-1)
    # A frame's joints of a part are there together or not at all, so a frame has one median for each part.
    with_part = [both[:, part].all(axis=1) for part in parts]
    frame_medians = np.full((len(parts), len(p)), -np.inf)
    overall = []
    for row, part, there in zip(frame_medians, parts, with_part, strict=True):
        if not there.any():
            continue
        row[there] = np.median(apart[there, part], axis=1)
        overall.append(np.median(apart[there, part]))
    worst = frame_medians.max(axis=0)
    worst = worst[np.isfinite(worst)]
    if not overall or not len(worst):
        return None
    return float(max(np.mean(overall), np.median(worst)) / unit), with_body and moved > _LEAST_PATH


def _strays(places: npt.NDArray[np.float64]) -> float:
    """How far a joint strays from its mean place, root mean square: of [T, 2]."""
    return float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=-1).mean())) if len(places) else 0.0


def _unit(p: npt.NDArray[np.float64]) -> float:
    """The shoulders' width in [T, 49, 2], or what the hands' size says of it; 0 if nothing is there."""
    shoulders = np.linalg.norm(p[:, 1] - p[:, 2], axis=-1)
    shoulders = shoulders[np.isfinite(shoulders)]
    if len(shoulders):
        return float(np.median(shoulders))
    hands = np.concatenate(
        [np.linalg.norm(p[:, part.start] - p[:, part.start + _MIDDLE_KNUCKLE], axis=-1) for part in _PARTS[1:]]
    )
    hands = hands[np.isfinite(hands)]
    return float(_SHOULDERS_OF_HAND * np.quantile(hands, 0.75)) if len(hands) else 0.0


def _between(joints: npt.NDArray[np.float64], instants: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Joints at instants between frames, linearly; a joint must be there on both sides."""
    left = np.floor(instants).astype(int)
    weight = (instants - left)[:, None, None]
    if not weight.any():
        return np.asarray(joints[left])
    right = np.minimum(left + 1, len(joints) - 1)
    return np.asarray((1 - weight) * joints[left] + weight * joints[right])


def _candidates(frames: Frames, starts: Indices, lengths: Indices, kept: Indices) -> Iterator[tuple[int, int, int]]:
    """Pairs of the kept clips that may be twins, and the shift at which they are most alike."""
    origins, widths = _frames_of_reference(frames, starts)
    tracks = _tracks(frames, np.repeat(origins, lengths, axis=0), np.repeat(widths, lengths))
    pairs = _meetings(tracks, starts, lengths, kept)
    compared = np.ascontiguousarray(frames[:, _COMPARED, :2])
    for begin in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[begin : begin + _PAIRS_AT_ONCE]
        some, one, other = _looks(some, starts, lengths)
        near = np.abs(tracks[one] - tracks[other]).max(axis=-1) < _NEAR_WRISTS
        alike = near.sum(axis=1) > _LOOKS / 2
        some, one, other = some[alike], one[alike], other[alike]
        p, q = (
            (compared[looks] - origins[clips, None, None]) / widths[clips, None, None, None]
            for looks, clips in ((one, some[:, 0]), (other, some[:, 1]))
        )
        apart = np.linalg.norm(p - q, axis=-1)
        both = np.isfinite(apart)
        mean = np.where(both, apart, 0).sum(axis=-1) / np.maximum(both.sum(axis=-1), 1)
        near = both.any(axis=-1) & (mean < _NEAR_JOINTS)
        yield from some[near.sum(axis=1) > _LOOKS / 2].tolist()


def _frames_of_reference(frames: Frames, starts: Indices) -> tuple[Frames, Frames]:
    """Each clip's mean middle of the shoulders, [n, 2], and their mean width, [n], or what stands for it."""

    def mean(values: Frames) -> Frames:
        """The mean of what is there in each clip; NaN if nothing is."""
        there = np.isfinite(values)
        counts = np.add.reduceat(there, starts, axis=0, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.add.reduceat(np.where(there, values, 0), starts, axis=0) / counts)

    left, right = (frames[:, joint, :2] for joint in _SHOULDERS)
    width = mean(np.linalg.norm(left - right, axis=-1))
    palms = [mean(np.linalg.norm(frames[:, w, :2] - frames[:, w + _MIDDLE_KNUCKLE, :2], axis=-1)) for w in _HAND_WRISTS]
    with_pose = np.isfinite(width)
    width = np.where(with_pose, width, _SHOULDERS_OF_HAND * np.fmax(*palms))
    origin = np.where(with_pose[:, None], mean((left + right) / 2), _NO_POSE_ORIGIN)
    # Not a number where a clip shows neither: all its wrists are absent as well.
    return origin.astype(np.float32), np.maximum(np.nan_to_num(width, nan=1.0), _LEAST_WIDTH).astype(np.float32)


def _tracks(frames: Frames, origin: Frames, width: Frames) -> Frames:
    """Both wrists' places in shoulder widths from the shoulders' middle: float32 [N, 4], no NaN."""
    pose = frames[:, list(_WRISTS), :2]
    wrists = np.where(np.isfinite(pose), pose, frames[:, list(_HAND_WRISTS), :2])
    placed = (wrists - origin[:, None]) / width[:, None, None]
    return np.where(np.isfinite(placed), placed, _ABSENT).reshape(len(frames), 4).astype(np.float32)


def _meetings(tracks: Frames, starts: Indices, lengths: Indices, kept: Indices) -> Indices:
    """Pairs of the kept clips whose wrists move alike for a window: [P, 3], first, second, and the shift there."""
    windows, clips, offsets, is_anchor = _windows(tracks, starts, lengths, kept)
    if not len(windows):
        return np.zeros((0, 3), int)
    # Neighbours in the direction of largest spread: nothing farther along it than the radius can be near.
    radius = _MEETING * len(_WINDOW) ** 0.5
    centred = windows - windows.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = np.argsort(windows @ direction, kind="stable")
    windows, clips, offsets = windows[order], clips[order], offsets[order]
    anchors = np.flatnonzero(is_anchor[order])
    along = windows @ direction
    squares = (windows**2).sum(axis=1)
    met, apart = [np.zeros((0, 3), int)], [np.zeros(0, np.float32)]
    for begin in range(0, len(anchors), _ANCHORS_AT_ONCE):
        some = anchors[begin : begin + _ANCHORS_AT_ONCE]
        low, high = np.searchsorted(along, [along[some[0]] - radius, along[some[-1]] + radius])
        away = squares[some][:, None] + squares[low:high] - 2 * windows[some] @ windows[low:high].T
        row, column = np.nonzero(away < radius * radius)
        away = away[row, column]
        one, other = some[row], column + low
        swap = clips[one] > clips[other]
        one, other = np.where(swap, other, one), np.where(swap, one, other)
        two = clips[one] != clips[other]
        met.append(np.stack([clips[one], clips[other], offsets[other] - offsets[one]], axis=1)[two])
        apart.append(away[two])
    pairs = np.concatenate(met)
    # Of all meetings of a pair the nearest.
    ranked = np.lexsort([np.concatenate(apart), pairs[:, 1], pairs[:, 0]])
    pairs = pairs[ranked]
    first = (np.diff(pairs[:, :2], axis=0, prepend=-1) != 0).any(axis=1)
    return np.asarray(pairs[first])


def _windows(
    tracks: Frames, starts: Indices, lengths: Indices, kept: Indices
) -> tuple[Frames, Indices, Indices, npt.NDArray[np.bool_]]:
    """The kept clips' windows that show movement: [K, 16], their clips, first frames there, and which are anchors."""
    counts = np.maximum(lengths[kept] - _WINDOW[-1], 0)
    clips = np.repeat(kept, counts)
    offsets = _within(counts)
    windows = np.stack([tracks[starts[clips] + offsets + step] for step in _WINDOW], axis=1)
    strays = ((windows - windows.mean(axis=1, keepdims=True)) ** 2).sum(axis=-1).mean(axis=1)
    place = np.empty(len(strays), int)
    place[np.lexsort([-strays, clips])] = offsets  # by clip, so that the n-th there is the clip's n-th largest
    moving = (strays > _LEAST_PATH**2) | (place < _LEAST_WINDOWS)
    clips, offsets = clips[moving], offsets[moving]
    anchors = _within(np.unique(clips, return_counts=True)[1]) % _ANCHOR_STRIDE == 0
    return windows[moving].reshape(-1, 4 * len(_WINDOW)), clips, offsets, anchors


def _within(counts: Indices) -> Indices:
    """0 to n - 1 for each n, one after the other."""
    return np.asarray(np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts))


def _looks(pairs: Indices, starts: Indices, lengths: Indices) -> tuple[Indices, Indices, Indices]:
    """Pairs that have enough in common, [P, 3], and the frames to look at among all clips', twice [P, looks]."""
    a, b, shift = pairs.T
    begin = np.maximum(0, -shift)
    common = np.minimum(lengths[a], lengths[b] - shift) - begin
    # Half a frame may be lost at the shift that is best in the end.
    enough = common + 1 >= np.maximum(_LEAST_FRAMES, _LEAST_SHARE * np.minimum(lengths[a], lengths[b]))
    steps = np.linspace(0, 1, _LOOKS) * (common[:, None] - 1)
    one = (starts[a] + begin)[:, None] + np.rint(steps).astype(int)
    other = one + (starts[b] + shift - starts[a])[:, None]
    return pairs[enough], one[enough], other[enough]
