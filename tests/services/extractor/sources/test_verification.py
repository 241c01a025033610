"""The frames of a clip are found in its video, also in one of an hour, and long videos are cut into pieces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.extractor.sources.instances import FRAMES_OF_VIDEO, Instance
from services.extractor.sources.selection import Usable
from services.extractor.sources.verification import find_clip
from services.extractor.video.decode import Segment, Video
from signet.errors import ClipError
from tests.services.extractor.conftest import MakeVideo

WHOLE = Instance("a", "book", "train", "")


def _part(start: float, end: float) -> Instance:
    return Instance("a", "book", "train", "", fps=FRAMES_OF_VIDEO, start_seconds=start, end_seconds=end)


def _decoded_all(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Notes when a whole video is decoded."""
    calls: list[object] = []
    times = Video.times

    def note(self: Video, **options: Any) -> Sequence[float]:
        calls.append(options)
        return times(self, **options)

    monkeypatch.setattr(Video, "times", note)
    return calls


@pytest.fixture
def long_path(make_video: MakeVideo) -> Path:
    """A video of 46 minutes with a frame each second."""
    return make_video("long.mp4", frames=2760, fps=1, size=(16, 16))


def test_a_short_video_is_decoded_as_a_whole(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _decoded_all(monkeypatch)
    video = Video(make_video(frames=50), "made.mp4")
    assert find_clip(video, WHOLE, cuts=True) == Usable(video.sha256, Segment(1, 50))
    assert find_clip(video, _part(0.4, 1.0)) == Usable(video.sha256, Segment(11, 25))
    assert calls == [{"limited": True}, {"limited": False}]


def test_a_late_segment_of_a_short_video_is_found_without_decoding_the_rest(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _decoded_all(monkeypatch)
    video = Video(make_video(frames=400, fps=5, size=(16, 16)), "made.mp4")
    assert find_clip(video, _part(60.0, 62.0)) == Usable(video.sha256, Segment(301, 310))
    assert calls == []
    assert find_clip(video, _part(20.0, 22.0)) == Usable(video.sha256, Segment(101, 110))
    assert calls == [{"limited": False}]


def test_segments_of_a_long_video_are_found_without_decoding_the_rest(
    long_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _decoded_all(monkeypatch)
    video = Video(long_path, "long.mp4")
    assert find_clip(video, _part(2.0, 12.0)).segment == Segment(3, 12)
    assert find_clip(video, _part(2000.0, 2100.0)).segment == Segment(2001, 2100)
    with pytest.raises(ClipError, match=r"long\.mp4 lasts 2759 s, and does not have the part") as caught:
        find_clip(video, _part(5000.0, 5010.0), cuts=True)
    assert caught.value.reason == "outside"
    with pytest.raises(ClipError, match="899 s; the limit is 600 s") as caught:
        find_clip(video, _part(100.0, 1000.0), cuts=True)
    assert caught.value.reason == "too_large"
    assert calls == []


def test_a_whole_long_video_is_cut_or_refused(long_path: Path) -> None:
    video = Video(long_path, "long.mp4")
    usable = find_clip(video, WHOLE, cuts=True)
    assert [piece.segment for piece in usable.pieces] == [
        Segment(start, start + 551) for start in (1, 553, 1105, 1657, 2209)
    ]
    assert usable.segment == Segment(1, 2760)
    assert usable.note.startswith("long.mp4 lasts 46.0 minutes, so it is cut into 5 clips of 9.2 minutes. If it shows")
    assert [piece.note for piece in usable.pieces] == [usable.note, "", "", "", ""]
    with pytest.raises(ClipError, match="the limit is 600 s") as caught:
        find_clip(video, WHOLE)
    assert caught.value.reason == "too_large"


def test_a_long_video_without_certain_times_is_decoded_and_cut(make_video: MakeVideo) -> None:
    path = make_video("long.avi", frames=900, fps=1, size=(16, 16), codec="mpeg4")
    usable = find_clip(Video(path, "long.avi"), WHOLE, cuts=True)
    assert [piece.segment for piece in usable.pieces] == [Segment(1, 450), Segment(451, 900)]
    for piece in usable.pieces:
        assert len(list(Video(path, "long.avi").frames(piece.segment))) == 450


def test_a_video_of_120_frames_a_second_is_cut_by_its_frames(make_video: MakeVideo) -> None:
    path = make_video("fast.mp4", frames=36_100, fps=120, size=(16, 16), codec="mpeg4")
    usable = find_clip(Video(path, "fast.mp4"), WHOLE, cuts=True)
    assert [piece.segment for piece in usable.pieces] == [Segment(1, 18_050), Segment(18_051, 36_100)]


def test_a_late_segment_that_does_not_decode_is_refused(long_path: Path) -> None:
    data = bytearray(long_path.read_bytes())
    with Video(long_path, "long.mp4")._open() as opened:
        packets = [(packet.pos, packet.size) for packet in opened.demux(video=0) if packet.size]
    for position, size in packets[2020:2080]:
        data[position + 6 : position + size] = bytes(max(0, size - 6))
    long_path.write_bytes(data)
    with pytest.raises(ClipError) as caught:
        find_clip(Video(long_path, "long.mp4"), _part(2000.0, 2100.0))
    assert caught.value.reason in {"damaged", "undecodable"}
