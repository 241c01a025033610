"""A stream is tracked picture by picture, with the landmarks of the lockstep tracker."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.tracking.lockstep import LockstepTracker
from services.extractor.tracking.stream_tracker import StreamTracker
from services.extractor.tracking.trackers import FAST_RATE
from services.extractor.video.decode import Video
from tests.services.extractor.conftest import SHORT

pytestmark = pytest.mark.clips


def test_landmarks_of_a_stream_are_those_of_a_clip(wlasl: Path) -> None:
    path = wlasl / "clips" / f"{SHORT[0]}.mp4"
    frames = list(Video(path, path.name).frames(rate=FAST_RATE))
    expected = LockstepTracker(FAST_RATE).track(frames).landmarks
    tracker = StreamTracker()
    for _ in range(2):
        found = np.array([tracker.track(frame.rgb) for frame in frames])
        np.testing.assert_array_equal(found, expected)
        tracker.restart()
    # A picture of another size begins anew, and one without a person has no landmarks.
    assert np.isnan(tracker.track(np.zeros((50, 40, 3), np.uint8))).all()
    np.testing.assert_array_equal(tracker.track(frames[0].rgb), expected[0])
