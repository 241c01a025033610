"""From stored landmarks to a model's input: gaps are filled, and the clip is smoothed and resampled.

Training and serving use the same functions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import JOINTS, MAX_SECONDS, PARTS, ClipLength, Landmarks

# Frames per second that each model sees. The movements of a sign last 0.2 s and more. At 15 Hz, training and serving
# take 1.5 times as long, and no more clips are recognised (docs/experiments.md).
FRAME_RATE = 10.0

# A snapshot keeps this many samples for each frame of a model: the frame itself, and evenly spaced times up to the next
# frame.
SAMPLES_PER_FRAME = 3

# A part that is lost for at most this long is interpolated: MediaPipe loses a fast hand for a few frames, and the holds
# within a sign are longer.
MAX_GAP_SECONDS = 0.3

# The joints of a tracker jitter from frame to frame. Each sample is read off a line through the frames around it, which
# are weighted by a Gaussian with this standard deviation, cut off at three deviations.
SMOOTHING_SECONDS = 0.05

# Stored times are float32. At 30 fps, gaps of exactly 0.3 s and distances of exactly half a step are common; at 20 fps,
# the Gaussian ends exactly at the third frame. Rounding must decide none of these cases.
_TIME_TOLERANCE = 1e-4
_REACH_SECONDS = 3 * SMOOTHING_SECONDS + _TIME_TOLERANCE
# A part that is found before and after a time, `MAX_GAP_SECONDS` apart, depends on the frames within this distance.
REACH_SECONDS = _REACH_SECONDS + _TIME_TOLERANCE
# Any sample depends on the frames within this distance, and on whether a gap is bridged.
UNBRIDGED_REACH_SECONDS = 0.5 / FRAME_RATE + REACH_SECONDS + _TIME_TOLERANCE

# Samples of one clip that are computed together: their frames are a window of the clip. With `_TOGETHER`, weights of
# frames in samples, it bounds the memory for clips of any length.
_SAMPLES_PER_PIECE = 64
_TOGETHER = 32_768

# Clips are computed together as if each began so long after the one before.
_CLIP_SECONDS = 2 * MAX_SECONDS

# The values of each part among the 225 values of a frame.
_VALUES = [slice(3 * part.start, 3 * part.stop) for part in PARTS.values()]
_PART_NUMBERS = np.arange(len(PARTS))[:, None, None]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# The value of each float16 by its bits, and 0 for NaN. A lookup is faster than numpy's conversion.
_FLOATS: Floats = np.nan_to_num(np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64))


def to_model_input(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Resample a clip to `FRAME_RATE`, smooth it, and fill its short gaps.

    A part is present at a time if it was found in a frame before and a frame after it that are at most
    `MAX_GAP_SECONDS` apart, or in a frame within half a step. Its place is read off a line through the frames around
    this time. If the gap is longer than the Gaussian reaches, it is the line between the two frames (`_weights`).

    Returns:
        float32 [T', 75, 3] with T' = ceil(duration · FRAME_RATE), at least 1; NaN where a part is absent.
    """
    (frames,) = to_model_inputs([clip])
    return frames


def to_model_inputs(clips: Sequence[Landmarks]) -> list[npt.NDArray[np.float32]]:
    """`to_model_input` of each clip. Short clips together take less time than one by one."""
    return _sample(clips, 1)


def count_model_frames(length: ClipLength) -> int:
    """T', the number of frames that a model sees of a clip."""
    return max(1, math.ceil(length.seconds * FRAME_RATE))


def to_subframe_samples(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Like `to_model_input`, with additional samples between the frames, from which training draws its frames.

    Returns:
        float32 [T', SAMPLES_PER_FRAME, 75, 3]; a model sees the first sample of each frame.
    """
    (sampled,) = _sample([clip], SAMPLES_PER_FRAME)
    return sampled.reshape(-1, SAMPLES_PER_FRAME, JOINTS, 3)


def describe_sampling_difference(frame_rate: float, smoothing_seconds: float) -> str:
    """How this sampling differs from today's, in words; "" if it does not."""
    if frame_rate != FRAME_RATE:
        return f"its clips were sampled at {frame_rate:g} frames a second instead of {FRAME_RATE:g}"
    if smoothing_seconds != SMOOTHING_SECONDS:
        return f"its landmarks were smoothed over {smoothing_seconds:g} s instead of {SMOOTHING_SECONDS:g} s"
    return ""


@dataclass(frozen=True, eq=False)
class _Frames:
    """The frames of several clips, one clip after the other."""

    seconds: Floats  # [N], since the first frame of the clip
    # [N], the same times, such that those of a clip are after all those of the clip before it.
    order: Floats
    found: npt.NDArray[np.bool_]  # [3, N], whether each part was found
    begins: Integers  # [clips], the first frame of each clip
    ends: Integers  # [clips], the frame after the last one of each clip

    @classmethod
    def join(cls, clips: Sequence[Landmarks]) -> "_Frames":
        """The frames of these clips."""
        lengths = [clip.frames for clip in clips]
        ends = np.cumsum(lengths)
        begins = ends - lengths
        times = np.concatenate([clip.timestamps for clip in clips]).astype(np.float64)
        seconds = times - np.repeat(times[begins], lengths)
        order = seconds + np.repeat(_CLIP_SECONDS * np.arange(len(clips)), lengths)
        return cls(seconds, order, np.concatenate([clip.presence for clip in clips]).T == 1, begins, ends)


@dataclass(frozen=True, eq=False)
class _Samples:
    """The samples of several clips: for each part, [3, G], where it is read off, and the frames around this time."""

    clip: Integers  # [G], the number of the clip
    present: npt.NDArray[np.bool_]  # whether the part is present at the time of the sample
    seconds: Floats  # the time at which the part is read off
    # The last frame with the part until then, and the first one from then on; the same frame if it is just then. For a
    # sample without the part: any frame close to it.
    left: Integers
    right: Integers

    def part(self, which: slice) -> "_Samples":
        """Some of the samples."""
        return _Samples(*(values[..., which] for values in vars(self).values()))


def _sample(clips: Sequence[Landmarks], samples_per_frame: int) -> list[npt.NDArray[np.float32]]:
    """The samples of clips at even times: float32 [T' · samples_per_frame, 75, 3] of each."""
    if not clips:
        return []
    grids = [_grid(clip, samples_per_frame) for clip in clips]

    def joints_of(clip: int) -> Floats:
        return _FLOATS.take(clips[clip].landmarks.view(np.uint16).reshape(clips[clip].frames, -1))

    sampled = _read_off(_Frames.join(clips), grids, joints_of)
    ends = np.cumsum([len(grid) for grid in grids])
    return [part.reshape(-1, JOINTS, 3) for part in np.split(sampled, ends[:-1])]


def sample_at(seconds: Floats, joints: Floats, found: npt.NDArray[np.bool_], grid: Floats) -> npt.NDArray[np.float32]:
    """The samples of a piece of a stream at the times `grid`, as `to_model_input` would give them.

    A sample depends on the frames within `UNBRIDGED_REACH_SECONDS`, and on the other side of a gap.

    Args:
        seconds: [N], the times of the frames, strictly increasing, on any clock; at least one.
        joints: [N, 225], finite; 0 where a part is absent.
        found: [N, 3], whether the pose, the left and the right hand were found.
        grid: [G], times, increasing.

    Returns:
        float32 [G, 75, 3], NaN where a part is absent.
    """
    begin = seconds[0]
    times = seconds - begin
    frames = _Frames(times, times, found.T, np.array([0]), np.array([len(times)]))
    return _read_off(frames, [grid - begin], lambda _: joints).reshape(-1, JOINTS, 3)


def _read_off(frames: _Frames, grids: Sequence[Floats], joints_of: Callable[[int], Floats]) -> npt.NDArray[np.float32]:
    """The samples of clips at the times of their grids: float32 [G, 225], one clip after the other.

    `joints_of` gives the joints of the frames of a clip, [N, 225]. Those of absent parts are 0, and get no weight.
    """
    samples = _find_neighbours(frames, grids)
    sampled = np.empty((len(samples.clip), 3 * JOINTS), np.float32)
    current, joints = -1, np.empty((0, 3 * JOINTS))
    for rows, first, weights in _weights(frames, samples):
        clip = int(samples.clip[rows.start])
        if clip != current:
            joints = joints_of(clip)
            current, begin = clip, int(frames.begins[clip])
        window = joints[first - begin : first - begin + weights.shape[2]]
        for values, weight in zip(_VALUES, weights, strict=True):
            np.matmul(weight, window[:, values], out=sampled[rows, values], casting="same_kind")
    for values, present in zip(_VALUES, samples.present, strict=True):
        sampled[~present, values] = np.nan
    return sampled


def _grid(clip: Landmarks, samples_per_frame: int) -> Floats:
    """The times of the samples, in seconds after the first frame."""
    frames = count_model_frames(clip.length)
    return np.asarray(
        (np.arange(frames)[:, None] + np.arange(samples_per_frame) / samples_per_frame).ravel() / FRAME_RATE
    )


def _find_neighbours(frames: _Frames, grids: Sequence[Floats]) -> _Samples:
    """Find the frames around the times of the samples of each clip."""
    seconds, found, index = frames.seconds, frames.found, np.arange(len(frames.seconds))
    clip = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    begin, end = frames.begins[clip], frames.ends[clip]
    grid = np.concatenate(grids)
    after = np.searchsorted(frames.order, grid + _CLIP_SECONDS * clip)
    # In frames [3, N]: the next one with the part, from this one on, and the last one with it, up to this one.
    following = np.minimum.accumulate(np.where(found, index, len(index))[:, ::-1], axis=1)[:, ::-1]
    until = np.maximum.accumulate(np.where(found, index, -1), axis=1)
    # After its last frame, a part has this frame as its right neighbour.
    closest = np.minimum(after, end - 1)
    right = following[:, closest]
    right = np.where((after < end) & (right < end), right, until[:, end - 1])
    present = right >= begin
    left = np.take_along_axis(until, np.maximum(right, 1) - 1, axis=1)
    left = np.where(left >= begin, np.minimum(left, right), right)
    start, stop = seconds[left], seconds[right]
    bridged = (stop - start <= MAX_GAP_SECONDS + _TIME_TOLERANCE) & (start <= grid) & (grid <= stop)
    nearest = np.where(np.abs(grid - start) <= np.abs(stop - grid), left, right)
    present &= bridged | (np.abs(seconds[nearest] - grid) <= 0.5 / FRAME_RATE + _TIME_TOLERANCE)
    # At the edge of a gap that is not bridged, the part stays where it was found; its movement is not extrapolated.
    right = np.where(bridged, right, nearest)
    return _Samples(
        clip=clip,
        present=present,
        seconds=np.where(bridged | ~present, grid, seconds[nearest]),
        left=np.where(present, np.where(bridged & (stop > grid), left, right), closest),
        right=np.where(present, right, closest),
    )


def _weights(frames: _Frames, samples: _Samples) -> Iterator[tuple[slice, int, Floats]]:
    """The weight of each frame in each sample, by local linear regression.

    A line is fitted by least squares to the frames around a time, each weighted by a Gaussian of its distance, and read
    off at this time (Cleveland 1979, *Robust Locally Weighted Regression and Smoothing Scatterplots*, without the
    robustness). Unlike a mean, it does not change uniform motion, even at the ends of a clip and between irregular
    frames. With the distance d of a frame, its Gaussian weight w and S_k the sum of w·d^k, the weight of the frame is
    w·(S_2 − S_1·d) / (S_0·S_2 − S_1²). If frames are farther apart than the Gaussian reaches, the sample is on the line
    from the frame before to the frame after.

    Yields:
        Samples of one clip, the first frame with a weight, and the weights [3, samples, frames from there on]. The sum
        of the weights of a sample is 1. Parts that are not present have weights without a meaning.
    """
    order = samples.seconds + _CLIP_SECONDS * samples.clip
    first = np.minimum(np.searchsorted(frames.order, order - _REACH_SECONDS), samples.left)
    last = np.maximum(np.searchsorted(frames.order, order + _REACH_SECONDS, side="right"), samples.right + 1)
    most = int((last - first).max())
    step = max(1, _TOGETHER // most)
    for start in range(0, len(samples.clip), step):
        batch = slice(start, start + step)
        reached = first[:, batch, None] + np.arange(most)
        weights = _regression(frames, samples.part(batch), reached, reached < last[:, batch, None])
        for begin, end in pairwise(_piece_bounds(samples.clip[batch])):
            columns = reached[:, begin:end]
            frame = int(columns[:, :, 0].min())
            width = int(last[:, start + begin : start + end].max()) - frame
            piece = np.zeros((*columns.shape[:2], width + most))
            np.put_along_axis(piece, columns - frame, weights[:, begin:end], axis=2)
            yield slice(start + begin, start + end), frame, piece[..., :width]


def _regression(frames: _Frames, samples: _Samples, reached: Integers, within: npt.NDArray[np.bool_]) -> Floats:
    """The weights of the frames `reached` in each sample, [3, G, K]; 0 for those that are not `within`."""
    found = np.minimum(reached, len(frames.seconds) - 1)
    distance = frames.seconds[found] - samples.seconds[..., None]
    within &= frames.found[_PART_NUMBERS, found]
    near = np.exp(-0.5 * (distance / SMOOTHING_SECONDS) ** 2) * (within & (np.abs(distance) <= _REACH_SECONDS))
    moment = near * distance
    s0, s1, s2 = (values.sum(axis=2, keepdims=True) for values in (near, moment, moment * distance))
    start, stop = frames.seconds[samples.left], frames.seconds[samples.right]
    gap = stop - start
    lone = ((near > 0).sum(axis=2) < 2) | (gap > _REACH_SECONDS)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = near * (s2 - s1 * distance) / (s0 * s2 - s1**2)
    if lone.any():
        share = ((samples.seconds - start) / np.where(gap > 0, gap, 1.0))[lone][:, None]
        weights[lone] = (reached[lone] == samples.left[lone][:, None]) * (1 - share)
        weights[lone] += (reached[lone] == samples.right[lone][:, None]) * share
    return np.asarray(weights)


def _piece_bounds(clip: Integers) -> list[int]:
    """Where samples of the same clip begin and end; not more than `_SAMPLES_PER_PIECE` from one bound to the next."""
    changes = np.flatnonzero(np.diff(clip)) + 1
    bounds = [0, *changes.tolist(), len(clip)]
    return [*(cut for begin, end in pairwise(bounds) for cut in range(begin, end, _SAMPLES_PER_PIECE)), len(clip)]
