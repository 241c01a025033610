"""Numbers of frames at a constant rate, for formats that have no times."""

import numpy as np
import numpy.typing as npt

from signet.landmarks import Landmarks

# Times that are nearer to an even rate than this share of a frame are at that rate. Stored times are float32.
_TOLERANCE = 0.02


def even_rate(clip: Landmarks) -> float | None:
    """The frame rate, if all frames of a clip are equally far apart; None if they are not."""
    times = clip.timestamps.astype(np.float64)
    if len(times) < 2:
        return clip.record.fps
    for rate in (clip.record.fps, (len(times) - 1) / (times[-1] - times[0])):
        if np.abs((times - times[0]) * rate - np.arange(len(times))).max() <= _TOLERANCE:
            return float(rate)
    return None


def frame_numbers(clip: Landmarks) -> npt.NDArray[np.int64]:
    """The number of each frame in the video at the rate of the record: increasing, the first one 0."""
    times = clip.timestamps.astype(np.float64)
    numbers = np.round((times - times[0]) * clip.record.fps).astype(np.int64)
    # Frames of a video whose rate varies may have the same number; each gets the next one.
    steps = np.arange(len(numbers))
    return np.asarray(np.maximum.accumulate(numbers - steps) + steps, np.int64)
