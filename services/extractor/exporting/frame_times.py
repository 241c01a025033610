"""Numbers of frames at a constant rate, for formats that have no times."""

import numpy as np
import numpy.typing as npt

from signet.landmarks import Landmarks

# Times that are nearer to an even rate than this share of a step are at that rate. Stored times are float32.
_EXACT = 0.02
# Clips that were tracked at a part of the video's rate have steps that differ by a frame of the video (80 and 120 ms),
# and often a shorter last step. Their frames count as even if none moves by more than this share of a step, most steps
# are of several frames of the video, and none is much longer than the others.
_SUBSAMPLED, _SHARE_OF_LONG_STEPS, _LONGEST_STEP = 0.75, 0.9, 1.75


def even_rate(clip: Landmarks) -> float | None:
    """The frame rate, if all frames of a clip are equally far apart, or nearly so; None if they are not."""
    times = clip.timestamps.astype(np.float64) - clip.timestamps[0]
    if len(times) < 2:
        return clip.record.fps
    steps = np.diff(times)
    rates = [clip.record.fps, (len(times) - 1) / times[-1], 1 / float(np.median(steps))]
    moved = [np.abs(times * rate - np.arange(len(times))) for rate in rates]
    subsampled = (
        float((steps * clip.record.fps > 1.5).mean()) >= _SHARE_OF_LONG_STEPS
        and float(steps.max() / np.median(steps)) <= _LONGEST_STEP
    )
    allowed = _SUBSAMPLED if subsampled else _EXACT
    best = min(range(len(rates)), key=lambda index: float(np.square(moved[index]).sum()))
    return float(rates[best]) if moved[best].max() <= allowed else None


def frame_numbers(clip: Landmarks) -> npt.NDArray[np.int64]:
    """The number of each frame in the video at the rate of the record: increasing, the first one 0."""
    times = clip.timestamps.astype(np.float64)
    numbers = np.round((times - times[0]) * clip.record.fps).astype(np.int64)
    # Frames of a video whose rate varies may have the same number; each gets the next one.
    steps = np.arange(len(numbers))
    return np.asarray(np.maximum.accumulate(numbers - steps) + steps, np.int64)
