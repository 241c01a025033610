"""From stored landmarks to a model's input: gap filling and resampling, the same for training and serving."""

import numpy as np
import numpy.typing as npt

from signet.landmarks.tensor import JOINTS, PARTS, Landmarks

# Frames per second that every model sees. A sign's strokes last 0.2 s and more. Of 126 clips of 40 glosses by unseen
# signers, two seeds each, 80 % were recognised at 15 Hz and 83 % at 10 Hz, in two thirds of the time; at 8 Hz, of 156
# and more, 81 % and 83 %.
FRAME_RATE = 10.0

# A part that disappears for at most this long is interpolated: MediaPipe loses a fast hand for a few frames, and a
# sign's hold is longer than that.
MAX_GAP_SECONDS = 0.3

# Stored times are float32. At 30 fps a gap of exactly 0.3 s and a distance of exactly half a step are everyday: neither
# must be decided by rounding.
_TIME_TOLERANCE = 1e-4


def to_model_input(clip: Landmarks) -> npt.NDArray[np.float32]:
    """Resample a clip to `FRAME_RATE` and fill its short gaps.

    Each part is interpolated linearly between the two frames that hold it around each instant, if these are at most
    `MAX_GAP_SECONDS` apart; otherwise it is taken from a frame within half a step, or is absent.

    Returns:
        float32 [T', 75, 3] with T' = ceil(duration · FRAME_RATE), at least 1; NaN where a part is absent.
    """
    times = clip.timestamps.astype(np.float64)
    step = 1.0 / FRAME_RATE
    grid = times[0] + step * np.arange(max(1, int(np.ceil((times[-1] - times[0]) * FRAME_RATE))))
    sampled = np.full((len(grid), JOINTS, 3), np.nan, np.float32)
    for index, where in enumerate(PARTS.values()):
        present = np.flatnonzero(clip.presence[:, index])
        if len(present):
            joints = clip.landmarks[present, where].astype(np.float32)
            sampled[:, where] = _resample(times[present], joints, grid, step)
    return sampled


def _resample(
    times: npt.NDArray[np.float64], values: npt.NDArray[np.float32], grid: npt.NDArray[np.float64], step: float
) -> npt.NDArray[np.float32]:
    """One part's joints at the grid's instants: float32 [len(grid), joints, 3], NaN where nothing is near enough."""
    right = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    gap = times[right] - times[left]
    weight = np.clip((grid - times[left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0).astype(np.float32)[:, None, None]
    result: npt.NDArray[np.float32] = (1 - weight) * values[left] + weight * values[right]

    bridged = (gap <= MAX_GAP_SECONDS + _TIME_TOLERANCE) & (times[left] <= grid) & (grid <= times[right])
    nearest = np.where(np.abs(grid - times[left]) <= np.abs(times[right] - grid), left, right)
    close = np.abs(times[nearest] - grid) <= step / 2 + _TIME_TOLERANCE
    result[~bridged] = values[nearest[~bridged]]
    result[~bridged & ~close] = np.nan
    return result
