"""Finds people in pictures."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.networks.network import PERSON, Network
from services.extractor.tracking.pipeline.crops import Picture, cut
from services.extractor.tracking.pipeline.mathematics import sigmoid
from services.extractor.tracking.pipeline.regions import change_region, region_from_points

Array = npt.NDArray[np.float64]

# A detection needs this probability. Detections that overlap the best one by more than this share are the same person.
_MIN_PROBABILITY = 0.5
_SAME_PERSON = 0.3
# The anchors' grids: the number of cells on each side, and of anchors in each cell.
_GRIDS = ((28, 2), (14, 2), (7, 6))
# A body's region is larger than the circle about its hips, by the margin that the pose network was trained with.
POSE_MARGIN = 1.25


class PersonFinder:
    """Finds people. `device` is "cpu" or "cuda"."""

    def __init__(self, device: str = "cpu") -> None:
        self._network = Network(PERSON, device)
        self._anchors = _anchors()

    def find(self, pictures: Sequence[Picture]) -> list[Array]:
        """Find the people in each picture.

        Returns:
            For each picture the regions [people, 4] of bodies, the most probable first.
        """
        frames = np.array([(p.shape[1] / 2, p.shape[0] / 2, max(p.shape[:2]), 0.0) for p in pictures]).reshape(-1, 4)
        crops = cut(pictures, frames, self._network.size, black_border=True)
        boxes, logits = self._network.run(crops)
        return [
            self._people(box.astype(np.float64), sigmoid(logit[:, 0].astype(np.float64)), frame)
            for box, logit, frame in zip(boxes, logits, frames, strict=True)
        ]

    def _people(self, values: Array, probabilities: Array, frame: Array) -> Array:
        """The regions [people, 4] of one picture.

        Args:
            values: [2254, 12], the centre, the size and four points of each box, relative to its anchor, in pixels.
            probabilities: [2254].
            frame: [4], the square about the picture, as a region.
        """
        (chosen,) = np.nonzero(probabilities >= _MIN_PROBABILITY)
        chosen = chosen[np.argsort(-probabilities[chosen], kind="stable")]
        values, weights = values[chosen] / self._network.size, probabilities[chosen]
        centres = values[:, :2] + self._anchors[chosen]
        low, high = centres - values[:, 2:4] / 2, centres + values[:, 2:4] / 2
        points = values[:, 4:].reshape(-1, 4, 2) + self._anchors[chosen, None]
        remaining = np.ones(len(chosen), bool)
        people = []
        while remaining.any():
            best = int(np.argmax(remaining))
            same = remaining & (_overlap(low, high, best) > _SAME_PERSON)
            same[best] = True
            people.append(np.average(points[same], axis=0, weights=weights[same]))
            remaining &= ~same
        found = (np.array(people).reshape(-1, 4, 2) - 0.5) * frame[2] + frame[:2]
        # The first point is between the hips, the second one on the circle about the whole body, above the head.
        return change_region(region_from_points(found[:, 0], found[:, 1], np.pi / 2), POSE_MARGIN)


def _anchors() -> Array:
    """The centres [2254, 2] of the anchors, 0 to 1."""
    anchors = []
    for cells, repeats in _GRIDS:
        places = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        anchors.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(anchors)


def _overlap(low: Array, high: Array, index: int) -> Array:
    """Intersection over union of box `index` with each box; `low` and `high` are corners [n, 2]."""
    sides = np.clip(np.minimum(high, high[index]) - np.maximum(low, low[index]), 0, None)
    common = sides.prod(axis=1)
    areas = (high - low).prod(axis=1)
    union = areas + areas[index] - common
    overlap: Array = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlap
