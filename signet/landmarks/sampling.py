"""From stored landmarks to a model's input: gaps are filled, and the clip is smoothed and resampled.

Training and serving use the same functions.
"""

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import JOINTS, PARTS, Landmarks

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

# Samples that are computed together. This bounds the memory for the weights of long clips.
_SAMPLES_PER_BATCH = 64

Floats = npt.NDArray[np.float64]


def to_model_input(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Resample a clip to `FRAME_RATE`, smooth it, and fill its short gaps.

    A part is present at a time if it was found in a frame before and a frame after it that are at most
    `MAX_GAP_SECONDS` apart, or in a frame within half a step. Its place is read off a line through the frames around
    this time. If the gap is longer than the Gaussian reaches, it is the line between the two frames (`_weights`).

    Returns:
        float32 [T', 75, 3] with T' = ceil(duration · FRAME_RATE), at least 1; NaN where a part is absent.
    """
    return np.ascontiguousarray(to_subframe_samples(clip)[:, 0])


def to_subframe_samples(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Like `to_model_input`, with additional samples between the frames, from which training draws its frames.

    Returns:
        float32 [T', SAMPLES_PER_FRAME, 75, 3]; a model sees the first sample of each frame.
    """
    times = clip.timestamps.astype(np.float64)
    frames = max(1, int(np.ceil((times[-1] - times[0]) * FRAME_RATE)))
    fractions = np.arange(SAMPLES_PER_FRAME) / SAMPLES_PER_FRAME
    grid = times[0] + (np.arange(frames)[:, None] + fractions).ravel() / FRAME_RATE
    sampled = np.full((len(grid), JOINTS, 3), np.nan, np.float32)
    for index, where in enumerate(PARTS.values()):
        present = np.flatnonzero(clip.presence[:, index])
        if len(present):
            joints = clip.landmarks[present, where].astype(np.float64)
            _fill(sampled[:, where], times[present], joints.reshape(len(present), -1), grid)
    return sampled.reshape(frames, SAMPLES_PER_FRAME, JOINTS, 3)


def describe_sampling_difference(frame_rate: float, smoothing_seconds: float) -> str:
    """How this sampling differs from today's, in words; "" if it does not."""
    if frame_rate != FRAME_RATE:
        return f"its clips were sampled at {frame_rate:g} frames a second instead of {FRAME_RATE:g}"
    if smoothing_seconds != SMOOTHING_SECONDS:
        return f"its landmarks were smoothed over {smoothing_seconds:g} s instead of {SMOOTHING_SECONDS:g} s"
    return ""


def _fill(sampled: npt.NDArray[np.float32], times: Floats, joints: Floats, grid: Floats) -> None:
    """Sample one part at the times of the grid where it is present; its joints, [n, 3 · J], were found at `times`."""
    right = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    bridged = (times[right] - times[left] <= MAX_GAP_SECONDS + _TIME_TOLERANCE) & (times[left] <= grid)
    bridged &= grid <= times[right]
    nearest = np.where(np.abs(grid - times[left]) <= np.abs(times[right] - grid), times[left], times[right])
    close = np.abs(nearest - grid) <= 0.5 / FRAME_RATE + _TIME_TOLERANCE
    present = np.flatnonzero(bridged | close)
    # At the edge of a gap that is not bridged, the part stays where it was found; its movement is not extrapolated.
    at = np.where(bridged, grid, nearest)[present]
    for start in range(0, len(present), _SAMPLES_PER_BATCH):
        batch = slice(start, start + _SAMPLES_PER_BATCH)
        first, weights = _weights(times, at[batch])
        sampled[present[batch]] = (weights @ joints[first : first + weights.shape[1]]).reshape(len(weights), -1, 3)


def _weights(times: Floats, at: Floats) -> tuple[int, Floats]:
    """The weight of each frame in each sample, by local linear regression.

    A line is fitted by least squares to the frames around a time, each weighted by a Gaussian of its distance, and read
    off at this time (Cleveland 1979, *Robust Locally Weighted Regression and Smoothing Scatterplots*, without the
    robustness). Unlike a mean, it does not change uniform motion, even at the ends of a clip and between irregular
    frames. With the distance d of a frame, its Gaussian weight w and S_k the sum of w·d^k, the weight of the frame is
    w·(S_2 − S_1·d) / (S_0·S_2 − S_1²). If frames are farther apart than the Gaussian reaches, the sample is on the line
    from the frame before to the frame after.

    Args:
        times: seconds [n], ascending, of the frames.
        at: seconds [G], ascending, of the samples, none before the first frame or after the last one.

    Returns:
        The first frame with a weight, and the weights [G, frames from there on]; the sum of each row is 1.
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
