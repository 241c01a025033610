"""From stored landmarks to a model's input: gaps filled, smoothed and resampled, the same for training and serving."""

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import JOINTS, PARTS, Landmarks

# Frames per second that every model sees. A sign's strokes last 0.2 s and more. Of 126 clips of 40 glosses by unseen
# signers, two seeds each, 80 % were recognised at 15 Hz and 83 % at 10 Hz, in two thirds of the time; at 8 Hz, of 156
# and more, 81 % and 83 %.
FRAME_RATE = 10.0

# Of each step from one of a model's frames to the next, a snapshot keeps so many instants, evenly spaced.
SAMPLES_PER_FRAME = 3

# A part that disappears for at most this long is interpolated: MediaPipe loses a fast hand for a few frames, and a
# sign's hold is longer than that.
MAX_GAP_SECONDS = 0.3

# A tracker's joints tremble from frame to frame. Each instant is read off a line through the frames about it, weighted
# by a Gaussian of this deviation, which ends at three of them.
SMOOTHING_SECONDS = 0.05

# Stored times are float32. At 30 fps a gap of exactly 0.3 s and a distance of exactly half a step are everyday, at 20
# fps three frames are as far as the Gaussian reaches: none of it must be decided by rounding.
_TIME_TOLERANCE = 1e-4
_REACH_SECONDS = 3 * SMOOTHING_SECONDS + _TIME_TOLERANCE

# Instants that are made at a time: a few seconds of them, so that an hour's weights are never there together.
_AT_ONCE = 64

Floats = npt.NDArray[np.float64]


def to_model_input(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Resample a clip to `FRAME_RATE`, smooth it, and fill its short gaps.

    A part is there at an instant if it was found in a frame before and in one after, at most `MAX_GAP_SECONDS` apart,
    or in one within half a step. Where it is, is told by a line through the frames about the instant, or, across a gap
    that is longer than the Gaussian reaches, by the line between the two frames (`_weights`).

    Returns:
        float32 [T', 75, 3] with T' = ceil(duration · FRAME_RATE), at least 1; NaN where a part is absent.
    """
    return np.ascontiguousarray(to_subframe_samples(clip)[:, 0])


def to_subframe_samples(clip: Landmarks) -> npt.NDArray[np.float32]:
    """The same at more instants than a model sees: what training draws its frames from.

    Returns:
        float32 [T', SAMPLES_PER_FRAME, 75, 3]; of each frame's instants the first is the one that a model sees.
    """
    times = clip.timestamps.astype(np.float64)
    frames = max(1, int(np.ceil((times[-1] - times[0]) * FRAME_RATE)))
    grid = (
        times[0] + (np.arange(frames)[:, None] + np.arange(SAMPLES_PER_FRAME) / SAMPLES_PER_FRAME).ravel() / FRAME_RATE
    )
    sampled = np.full((len(grid), JOINTS, 3), np.nan, np.float32)
    for index, where in enumerate(PARTS.values()):
        present = np.flatnonzero(clip.presence[:, index])
        if len(present):
            joints = clip.landmarks[present, where].astype(np.float64)
            _fill(sampled[:, where], times[present], joints.reshape(len(present), -1), grid)
    return sampled.reshape(frames, SAMPLES_PER_FRAME, JOINTS, 3)


def describe_sampling_difference(frame_rate: float, smoothing_seconds: float) -> str:
    """How clips that were sampled so are other than those that are sampled here; "" if they are not."""
    if frame_rate != FRAME_RATE:
        return f"its clips were sampled at {frame_rate:g} frames a second, and come at {FRAME_RATE:g} now"
    if smoothing_seconds != SMOOTHING_SECONDS:
        return f"its landmarks were smoothed over {smoothing_seconds:g} s, and are over {SMOOTHING_SECONDS:g} s now"
    return ""


def _fill(sampled: npt.NDArray[np.float32], times: Floats, joints: Floats, grid: Floats) -> None:
    """Write one part's joints [n, 3 · J] at these times into the instants of the grid at which it is there."""
    right = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    bridged = (times[right] - times[left] <= MAX_GAP_SECONDS + _TIME_TOLERANCE) & (times[left] <= grid)
    bridged &= grid <= times[right]
    nearest = np.where(np.abs(grid - times[left]) <= np.abs(times[right] - grid), times[left], times[right])
    close = np.abs(nearest - grid) <= 0.5 / FRAME_RATE + _TIME_TOLERANCE
    there = np.flatnonzero(bridged | close)
    # Beside a gap that is not bridged, the place of the nearest sighting is held, and not carried on along a line.
    at = np.where(bridged, grid, nearest)[there]
    for start in range(0, len(there), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        first, weights = _weights(times, at[some])
        sampled[there[some]] = (weights @ joints[first : first + weights.shape[1]]).reshape(len(weights), -1, 3)


def _weights(times: Floats, at: Floats) -> tuple[int, Floats]:
    """How much each frame counts at each instant, by local linear regression.

    A line is fitted by least squares to the frames about an instant, each weighted by a Gaussian of its distance, and
    read off there (Cleveland 1979, *Robust Locally Weighted Regression and Smoothing Scatterplots*, without the
    robustness). Unlike a mean it leaves even motion as it is, at a clip's ends and between irregular frames too. With
    d a frame's distance, w its weight and S_k the sum of w·d^k, it counts for w·(S_2 − S_1·d) / (S_0·S_2 − S_1²). Where
    frames are farther apart than the Gaussian reaches, it is the line from the one before to the one after.

    Args:
        times: seconds [n], ascending, of the frames.
        at: seconds [G], ascending, of the instants, none before the first frame or after the last.

    Returns:
        The first frame that counts, and the weights [G, frames from there]; a row's sum is 1.
    """
    right = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
    left = np.where(times[right] <= at, right, np.maximum(right - 1, 0))
    first = min(left[0], np.searchsorted(times, at[0] - _REACH_SECONDS))
    last = max(right[-1] + 1, np.searchsorted(times, at[-1] + _REACH_SECONDS))
    distance = times[None, first:last] - at[:, None]
    near = np.exp(-0.5 * (distance / SMOOTHING_SECONDS) ** 2) * (np.abs(distance) <= _REACH_SECONDS)
    s0, s1, s2 = ((near * distance**power).sum(axis=1, keepdims=True) for power in range(3))
    gap = times[right] - times[left]
    lone = ((near > 0).sum(axis=1) < 2) | (gap > _REACH_SECONDS)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = near * (s2 - s1 * distance) / (s0 * s2 - s1**2)
    rows = np.flatnonzero(lone)
    share = (at - times[left])[rows] / np.where(gap > 0, gap, 1.0)[rows]
    weights[rows] = 0.0
    weights[rows, left[rows] - first] = 1 - share
    weights[rows, right[rows] - first] += share
    return int(first), weights
