"""Tracks one signer picture by picture, for streams: each picture is answered before the next one arrives."""

import numpy as np
import numpy.typing as npt

from services.extractor.tracking.pipeline.body import BodyTracker
from services.extractor.tracking.pipeline.crops import Picture
from services.extractor.tracking.pipeline.hands import HandTracker
from services.extractor.tracking.pipeline.people import PersonFinder
from services.extractor.tracking.tracks import mask_absent_parts

# The pose is filtered as if this were the time from picture to picture, as in `lockstep`.
_FILTER_SECONDS = np.array([1 / 30])
_HIPS = [23, 24]
_ONLY = np.array([0])

Points = npt.NDArray[np.float64]


class StreamTracker:
    """Tracks pose and hands with the networks of the quality `fast`. Its memory does not grow with the stream.

    The landmarks of a picture are those of `LockstepTracker`, except where several people are in view. The lockstep
    tracker looks two seconds ahead for the signer. A stream has no pictures ahead, so that the most probable person is
    the signer, and later the person who is nearest to the place of the signer before.

    Raises:
        MediaPipeMissing: MediaPipe or one of its networks is missing.
    """

    def __init__(self) -> None:
        self._finder = PersonFinder("cpu")
        self._body = BodyTracker(1, self._finder, "cpu")
        self._hands = HandTracker(1, "cpu")
        self._hips: Points | None = None
        self._shape: tuple[int, ...] = ()

    def restart(self) -> None:
        """Forget the signer, for another stream."""
        self._body.forget(_ONLY)
        self._hands.forget(_ONLY)
        self._hips, self._shape = None, ()

    def track(self, picture: Picture) -> npt.NDArray[np.float16]:
        """Track the signer in the next picture, uint8 RGB [height, width, 3].

        Returns:
            The landmarks float16 [75, 3] in frame heights, as docs/landmarks-v1.md orders them; NaN where a part was
            not found. A picture of another size than the one before begins anew.
        """
        if picture.shape != self._shape:
            self.restart()
            self._shape = picture.shape
        pose, visibility, _ = self._body.track(_ONLY, [picture], _FILTER_SECONDS, self._choose_signer)
        hands = self._hands.track(_ONLY, [picture], pose, visibility)
        if np.isfinite(pose[0, _HIPS]).all():
            self._hips = pose[0, _HIPS, :2].mean(axis=0)
        joints = np.concatenate([pose, hands.reshape(1, -1, 3)], axis=1) / picture.shape[0]
        (landmarks,), _, _ = mask_absent_parts(joints.astype(np.float32), visibility.astype(np.float32))
        return np.asarray(landmarks)

    def _choose_signer(self, _row: int, people: Points) -> Points:
        """The region [4] of the signer, among those of the people [n, 4]."""
        if self._hips is None or len(people) == 1:
            return np.asarray(people[0])
        return np.asarray(people[int(np.argmin(np.hypot(*(people[:, :2] - self._hips).T)))])
