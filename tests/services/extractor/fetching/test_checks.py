"""A downloaded video is checked as the extraction reads it."""

from collections.abc import Sequence
from typing import Any

import pytest

from services.extractor.fetching.checks import check_video
from services.extractor.sources.instances import Instance
from services.extractor.video.decode import Video
from signet.errors import ClipError
from tests.services.extractor.conftest import MakeVideo


def _part(clip_id: str, start: float, end: float) -> Instance:
    return Instance(clip_id, "book", "train", "", start_seconds=start, end_seconds=end)


def test_of_a_long_video_the_segments_are_decoded(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video("long.mp4", frames=1300, fps=1, size=(16, 16))

    def refuse(self: Video, **options: Any) -> Sequence[float]:
        raise AssertionError("the whole video is decoded")

    with monkeypatch.context() as patch:
        patch.setattr(Video, "times", refuse)
        instances = [_part("early", 5, 15), _part("late", 1200, 1210), _part("after", 2000, 2010)]
        checked = check_video(path, instances, "long.mp4")
    assert (checked.frames, checked.suffixes[0]) == (1300, ".mp4")
    assert checked.seconds == pytest.approx(1299)
    assert checked.outside.keys() == {"after"}
    with pytest.raises(ClipError, match="the limit is 600 s"):
        check_video(path, [Instance("whole", "book", "train", "")], "long.mp4")


def test_a_short_video_is_decoded_as_a_whole(make_video: MakeVideo) -> None:
    checked = check_video(make_video(frames=40), [_part("in", 0.4, 1.0), Instance("all", "book", "train", "")], "a.mp4")
    assert (checked.frames, checked.outside) == (40, {})
