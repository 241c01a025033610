"""Tracks the joints of bodies."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.networks.network import POSE, Network
from services.extractor.tracking.pipeline.crops import Picture, cut
from services.extractor.tracking.pipeline.filters import LowPassFilter, OneEuroFilter
from services.extractor.tracking.pipeline.mathematics import sigmoid
from services.extractor.tracking.pipeline.people import POSE_MARGIN, PersonFinder
from services.extractor.tracking.pipeline.regions import SIZE, change_region, region_from_points, to_picture
from signet.landmarks import POSE_JOINTS

Array = npt.NDArray[np.float64]
Clips = npt.NDArray[np.intp]

# Joints of the network: those of the body, and two that give the region for the next frame, and more that are not used.
_NETWORK_JOINTS, _NETWORK_VALUES = 39, 5
_REGION_JOINTS = slice(POSE_JOINTS, POSE_JOINTS + 2)
_MIN_PROBABILITY = 0.5
# A joint is moved to the centre of its heatmap within a window of this many cells, if a cell there is this probable.
_WINDOW = 9
_MIN_HEAT = 0.5


class BodyTracker:
    """Tracks one body in each of several clips, as MediaPipe's PoseLandmarkCpu does with smoothing.

    A body is looked for in the region that the frame before gave; if there is none, in the whole picture.

    Args:
        clips: number of clips.
        finder: finds a body in a whole picture.
        device: "cpu" or "cuda".
    """

    def __init__(self, clips: int, finder: PersonFinder, device: str = "cpu") -> None:
        self._network = Network(POSE, device)
        self._finder = finder
        self._regions = np.full((clips, 4), np.nan)
        self._joints = OneEuroFilter(clips, (POSE_JOINTS, 3), min_cutoff=0.05, beta=80.0)
        self._ends = OneEuroFilter(clips, (2, 3), min_cutoff=0.01, beta=10.0)
        self._visibility = LowPassFilter(clips, (POSE_JOINTS,), share=0.1)

    def forget(self, clips: Clips) -> None:
        """Begin these clips anew."""
        self._regions[clips] = np.nan
        for part in (self._joints, self._ends, self._visibility):
            part.forget(clips)

    def track(
        self,
        clips: Clips,
        pictures: Sequence[Picture],
        seconds: Array,
        choose: Callable[[int, Array], Array] = lambda _, people: people[0],
    ) -> tuple[Array, Array, Clips]:
        """Track the bodies in the next picture of each of these clips.

        Args:
            clips: [n], the numbers of the clips.
            pictures: n pictures.
            seconds: [n], the time since the clip's picture before.
            choose: chooses one of the people that were found in a whole picture: from the row of the picture and the
                regions [people, 4], the most probable first.

        Returns:
            The joints [n, 33, 3] in pixels, and their visibilities [n, 33], 0 to 1; NaN where no body was found. The
            number [n] of people in each picture that was searched for a body, -1 for the others.
        """
        joints = np.full((len(clips), POSE_JOINTS, 3), np.nan)
        visibility = np.full((len(clips), POSE_JOINTS), np.nan)
        regions = self._regions[clips]
        people_seen = np.full(len(clips), -1)
        lost = np.flatnonzero(np.isnan(regions[:, SIZE]))
        if len(lost):
            for row, people in zip(lost, self._finder.find([pictures[row] for row in lost]), strict=True):
                regions[row] = choose(int(row), people) if len(people) else np.nan
                people_seen[row] = len(people)
        searched = np.flatnonzero(regions[:, SIZE] > 0)
        found = searched
        if len(searched):
            crops = cut([pictures[row] for row in searched], regions[searched], self._network.size)
            values, probability, heat = self._network.run(crops)
            present = probability[:, 0] > _MIN_PROBABILITY
            found = searched[present]
            joint_values = values[present].reshape(-1, _NETWORK_JOINTS, _NETWORK_VALUES).astype(np.float64)
            placed = refine(joint_values[..., :3] / self._network.size, heat[present])
            placed = to_picture(placed[:, : _REGION_JOINTS.stop], regions[found])
            visible = sigmoid(joint_values[:, :POSE_JOINTS, 3])
            joints[found], visibility[found] = self._smooth(clips[found], placed, visible, seconds[found])
        self.forget(np.delete(clips, found))
        return joints, visibility, people_seen

    def _smooth(self, clips: Clips, placed: Array, visible: Array, seconds: Array) -> tuple[Array, Array]:
        """Filter joints [n, 35, 3] and visibilities [n, 33], and set the regions for the next pictures."""
        ends = placed[:, _REGION_JOINTS]
        scale = region_from_points(ends[:, 0, :2], ends[:, 1, :2], np.pi / 2)[:, SIZE]
        visibility = self._visibility.filter(clips, visible)
        joints = self._joints.filter(clips, placed[:, :POSE_JOINTS], scale, seconds)
        ends = self._ends.filter(clips, ends, scale, seconds)
        region = region_from_points(ends[:, 0, :2], ends[:, 1, :2], np.pi / 2)
        self._regions[clips] = change_region(region, POSE_MARGIN)
        return joints, visibility


def refine(joints: Array, heat: npt.NDArray[np.float32]) -> Array:
    """Move joints to the centres of their heatmaps, within a window about them.

    This is MediaPipe's RefineLandmarksFromHeatmapCalculator. The graph asks for a window of 7 cells, but
    the landmarks of the wheel are those of 9, to seven digits.

    Args:
        joints: [n, 39, 3]; x and y, 0 to 1 inside the crop.
        heat: [n, 39, cells, cells], logits.
    """
    refined = joints.copy()
    cells = heat.shape[-1]
    places = np.trunc(joints[..., :2] * cells).astype(np.intp)
    inside = ((places >= 0) & (places < cells)).all(axis=-1)
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    columns, rows = (places[..., axis, None] + offsets for axis in (0, 1))  # [n, 39, 9] each
    n, joint = np.ogrid[: len(joints), : joints.shape[1]]
    window = heat[
        n[..., None, None],
        joint[..., None, None],
        np.clip(rows, 0, cells - 1)[..., :, None],
        np.clip(columns, 0, cells - 1)[..., None, :],
    ]
    valid = ((rows >= 0) & (rows < cells))[..., :, None] & ((columns >= 0) & (columns < cells))[..., None, :]
    weights = sigmoid(window.astype(np.float64)) * valid
    sums = weights.sum(axis=(-2, -1))
    moved = inside & (weights.max(axis=(-2, -1)) >= _MIN_HEAT)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (weights.sum(axis=-2) * columns).sum(axis=-1) / sums / cells
        y = (weights.sum(axis=-1) * rows).sum(axis=-1) / sums / cells
    refined[..., 0] = np.where(moved, x, joints[..., 0])
    refined[..., 1] = np.where(moved, y, joints[..., 1])
    return refined
