"""What a clip's landmarks look like in figures, for people who check an extraction."""

from dataclasses import dataclass

import numpy as np

from signet.landmarks import PARTS, Landmarks


@dataclass(frozen=True)
class ClipStatistics:
    """One clip in figures.

    Attributes:
        shape: of the landmark tensor.
        mean: of all x and y that were found, in frame heights.
        std: of the same.
        shares: share of frames with each part, 0 to 1.
        seconds: from the first frame to the last.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    shares: dict[str, float]
    seconds: float


def clip_statistics(clip: Landmarks) -> ClipStatistics:
    """Figures of one clip; mean and std are NaN if nothing was found in it."""
    points = clip.landmarks[..., :2].astype(np.float64)
    found = points[np.isfinite(points)]
    return ClipStatistics(
        shape=clip.landmarks.shape,
        mean=float(found.mean()) if len(found) else float("nan"),
        std=float(found.std()) if len(found) else float("nan"),
        shares={part: float(clip.presence[:, index].mean()) for index, part in enumerate(PARTS)},
        seconds=float(clip.timestamps[-1]),
    )
