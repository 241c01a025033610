"""The landmarks of one clip, frame by frame, as every tracker returns them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.extractor.video.decode import Frame
from signet.landmarks import PARTS

# The share of the examined frames that must show more than one person. In 1,765 frames of 707 clips of WLASL, each with
# one signer, the detector found one person each time. Of 24 pairs of these clips, it found both signers next to each
# other in 24, one above the other in 17, and one as an inset of 0.6 frame heights in 16.
_MIN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Tracks:
    """The landmarks of one clip: the tensors of `signet.landmarks.Landmarks`, the frame size in pixels, and timings.

    `many_people` says whether more than one person is in the picture.
    """

    landmarks: npt.NDArray[np.float16]
    presence: npt.NDArray[np.uint8]
    visibility: npt.NDArray[np.float16]
    timestamps: npt.NDArray[np.float32]
    width: int
    height: int
    decode_seconds: float
    landmark_seconds: float
    many_people: bool


class Tracker(Protocol):
    """Tracks the pose and both hands of a signer.

    Attributes:
        rate: the frames per second that it wants; 0 wants all frames of the video.
    """

    rate: float

    def track(self, frames: Iterable[Frame]) -> Tracks:
        """Track pose and hands through the frames of one clip: at least one frame, all of the same size."""


class TracksBuilder:
    """Collects the landmarks of a clip. The time since its creation that is not tracking is decoding."""

    def __init__(self) -> None:
        self._joints: list[npt.NDArray[np.float32]] = []
        self._visibilities: list[npt.NDArray[np.float32]] = []
        self._seconds: list[float] = []
        self._began = time.perf_counter()
        self._landmark_seconds = 0.0
        self._width = self._height = 0

    def add(
        self, frame: Frame, joints: npt.NDArray[np.float32], visibility: npt.NDArray[np.float32], seconds: float
    ) -> None:
        """Add the landmarks of the next frame.

        Args:
            frame: the frame.
            joints: [75, 3] in frame heights; NaN where a part was not found.
            visibility: [33]; NaN if no pose was found.
            seconds: the time that this took.
        """
        self._landmark_seconds += seconds
        self._height, self._width = frame.rgb.shape[:2]
        self._joints.append(joints)
        self._visibilities.append(visibility)
        self._seconds.append(frame.seconds)

    def build(self, *, many_people: bool) -> Tracks:
        """The landmarks of all frames that were added."""
        landmarks, presence, visibility = mask_absent_parts(np.stack(self._joints), np.stack(self._visibilities))
        return Tracks(
            landmarks=landmarks,
            presence=presence,
            visibility=visibility,
            timestamps=np.asarray(self._seconds, np.float32),
            width=self._width,
            height=self._height,
            decode_seconds=time.perf_counter() - self._began - self._landmark_seconds,
            landmark_seconds=self._landmark_seconds,
            many_people=many_people,
        )


def mask_absent_parts(
    joints: npt.NDArray[np.float32], visibility: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Landmarks, presence and visibility as they are stored. A part is present where all of its values are finite.

    Args:
        joints: [T, 75, 3] in frame heights.
        visibility: [T, 33].
    """
    landmarks, visible = joints.astype(np.float16), visibility.astype(np.float16)
    present = np.stack([np.isfinite(landmarks[:, where]).all(axis=(1, 2)) for where in PARTS.values()], axis=1)
    for index, where in enumerate(PARTS.values()):
        landmarks[~present[:, index], where] = np.nan
    visible[~present[:, 0]] = np.nan
    return landmarks, present.astype(np.uint8), visible


def are_many(counts: Sequence[int]) -> bool:
    """Whether a clip shows more than one person, from the numbers of people in the examined frames."""
    return sum(count > 1 for count in counts) >= max(1.0, _MIN_SHARE * len(counts))
