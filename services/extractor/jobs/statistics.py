"""Summary figures of a clip's landmarks, for checking an extraction."""

from dataclasses import dataclass

import numpy as np

from signet.landmarks import PARTS, Landmarks


@dataclass(frozen=True)
class ClipStatistics:
    """Summary figures of one clip.

    Attributes:
        shape: shape of the landmark tensor.
        mean: mean of all x and y values that were found, in frame heights.
        std: standard deviation of the same values.
        shares: share of frames with each part, 0 to 1.
        seconds: time from the first frame to the last.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    shares: dict[str, float]
    seconds: float


def clip_statistics(clip: Landmarks) -> ClipStatistics:
    """Compute the figures of one clip; mean and std are NaN if nothing was found."""
    points = clip.landmarks[..., :2].astype(np.float64)
    found = points[np.isfinite(points)]
    return ClipStatistics(
        shape=clip.landmarks.shape,
        mean=float(found.mean()) if len(found) else float("nan"),
        std=float(found.std()) if len(found) else float("nan"),
        shares={part: float(clip.presence[:, index].mean()) for index, part in enumerate(PARTS)},
        seconds=float(clip.timestamps[-1]),
    )
