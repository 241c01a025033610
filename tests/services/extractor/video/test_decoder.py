"""A segment that begins late has the same frames, whether it is decoded from a key frame near it or from the start."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.extractor.video import decode
from services.extractor.video.decode import Frame, Segment, Video
from services.extractor.video.decoder import PictureDecoder
from services.extractor.video.file_bytes import FileBytes
from services.extractor.video.tracks import KeyFrame
from signet.errors import ClipError
from tests.services.extractor.video.long_videos import write_long_video

EVEN = range(700)
# Steps of 1, 2 and 5 tenths of a second.
VARIABLE = np.cumsum(np.random.default_rng(1).choice([1, 2, 5], 500)).tolist()

OPEN = {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:ref=4:keyint=40:min-keyint=20:scenecut=0"}
CLOSED = {"x264-params": "bframes=3:keyint=60:min-keyint=60:scenecut=0"}
HEVC = {"x265-params": "log-level=error:open-gop=1:bframes=4:keyint=40:min-keyint=20:scenecut=0"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "60", "lag-in-frames": "12", "auto-alt-ref": "1"}
MPEG4 = {"g": "40", "bf": "2"}

KINDS: Mapping[str, tuple[str, str, Mapping[str, str], Mapping[str, Any]]] = {
    "mp4 with an open GOP": ("a.mp4", "libx264", OPEN, {"ticks": EVEN}),
    "mp4 with a closed GOP": ("a.mp4", "libx264", CLOSED, {"ticks": EVEN}),
    "mp4 with a variable rate": ("a.mp4", "libx264", OPEN, {"ticks": VARIABLE}),
    "mp4 in fragments": (
        "a.mp4", "libx264", OPEN, {"ticks": EVEN, "muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "mp4 that is turned": ("a.mp4", "libx264", OPEN, {"ticks": EVEN, "rotation": 90}),
    "mov of key frames": ("a.mov", "mpeg4", {"g": "1"}, {"ticks": EVEN}),
    "mp4 of MPEG-4": ("a.mp4", "mpeg4", MPEG4, {"ticks": EVEN}),
    "mp4 of HEVC": ("a.mp4", "libx265", HEVC, {"ticks": EVEN}),
    "mkv": ("a.mkv", "libx264", OPEN, {"ticks": EVEN}),
    "mkv of a live recording": ("a.mkv", "libx264", OPEN, {"ticks": EVEN, "is_live": True}),
    "mkv with a variable rate": ("a.mkv", "libx264", OPEN, {"ticks": VARIABLE}),
    "webm": ("a.webm", "libvpx-vp9", VP9, {"ticks": EVEN}),
    "webm of a live recording": ("a.webm", "libvpx-vp9", VP9, {"ticks": VARIABLE, "is_live": True}),
}  # fmt: skip


def _collect(video: Video, segment: Segment, rate: float = 0.0) -> list[Frame]:
    return list(video.frames(segment, rate))


def _assert_same(found: list[Frame], expected: list[Frame]) -> None:
    assert [frame.seconds for frame in found] == [frame.seconds for frame in expected]
    for frame, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame.rgb, other.rgb)


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_of_a_late_segment_are_those_of_a_video_that_is_decoded_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name, codec, options, settings = KINDS[kind]
    path = write_long_video(tmp_path / name, codec, options, **settings)
    video = Video(path, name)
    times = video.times()
    assert video.packet_times() == pytest.approx(times, abs=1e-9)
    middle, last = Segment(470, 490), Segment(len(times) - 20, len(times))
    packets = []
    for segment in (middle, last):
        assert video.starts_late(segment)
        for rate in (0.0, 4.0):
            video.before_packet = lambda: packets.append(1)
            found = _collect(video, segment, rate)
            video.before_packet = lambda: None
            with monkeypatch.context() as patch:
                patch.setattr(decode, "_SEEK_SECONDS", math.inf)
                _assert_same(found, _collect(video, segment, rate))
            assert found[0].seconds == 0.0
    if name.endswith(("mp4", "mov")):
        assert len(packets) < 4 * 200, "the video was read from the start"


def test_where_ffmpeg_lands_after_the_key_frame_the_packets_before_it_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_long_video(tmp_path / "a.mp4", "libx264", OPEN, ticks=EVEN)
    video, segment = Video(path, "a.mp4"), Segment(470, 490)
    expected = _collect(video, segment)
    real_open = PictureDecoder._open

    class Overshooting:
        """A container that seeks to the last key frame."""

        def __init__(self, opened: Any) -> None:
            self._opened = opened

        def __getattr__(self, name: str) -> Any:
            return getattr(self._opened, name)

        def __enter__(self) -> "Overshooting":
            return self

        def __exit__(self, *_: object) -> None:
            self._opened.close()

        def seek(self, _: int, stream: Any) -> None:
            self._opened.seek(10**9, stream=stream)

    monkeypatch.setattr(PictureDecoder, "_open", lambda self, **options: Overshooting(real_open(self, **options)))
    _assert_same(_collect(video, segment), expected)


def test_a_key_frame_that_is_not_there_any_more_is_an_error(tmp_path: Path) -> None:
    path = write_long_video(tmp_path / "a.mkv", "libx264", OPEN, ticks=EVEN)
    decoder = PictureDecoder(FileBytes(path), "matroska", "a.mkv")
    with pytest.raises(ClipError, match=r"a\.mkv: a key frame was not found again"):
        list(decoder.decode(decoder.read_track(), limited=False, start=KeyFrame(123_456_789, 123_456_789)))


def test_an_early_segment_is_decoded_from_the_start(tmp_path: Path) -> None:
    video = Video(write_long_video(tmp_path / "a.mp4", "libx264", CLOSED, ticks=EVEN), "a.mp4")
    assert not video.starts_late(Segment(301, 320))  # 30 s
    assert video.starts_late(Segment(302, 320))


def test_an_avi_is_decoded_from_the_start_because_it_has_no_display_times(tmp_path: Path) -> None:
    video = Video(write_long_video(tmp_path / "a.avi", "mpeg4", MPEG4, ticks=EVEN), "a.avi")
    assert video.packet_times() is None
    assert not video.starts_late(Segment(470, 490))
    assert len(_collect(video, Segment(470, 490))) == 21


def test_a_video_with_packets_that_are_not_shown_is_decoded_from_the_start(tmp_path: Path) -> None:
    path = write_long_video(tmp_path / "a.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}, ticks=EVEN)
    video = Video(path, "a.webm")
    assert video.starts_late(Segment(470, 490))
    with video._open() as opened:
        packet = [bytes(packet) for packet in opened.demux(video=0)][100]
    shown, hidden = packet, bytes([packet[0] & ~0x10]) + packet[1:]
    path.write_bytes(path.read_bytes().replace(shown, hidden))
    video = Video(path, "a.webm")
    assert video.packet_times() is None
    assert len(video.times()) == 699
    assert len(_collect(video, Segment(470, 490))) == 21


def test_a_late_segment_with_damaged_frames_is_refused(tmp_path: Path) -> None:
    path = write_long_video(tmp_path / "a.mp4", "libx264", CLOSED, ticks=EVEN)
    video = Video(path, "a.mp4")
    packets: list[tuple[int, int]] = []
    with video._open() as opened:
        packets = [(packet.pos, packet.size) for packet in opened.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[470:490]:
        data[position + 6 : position + size] = bytes(size - 6)
    path.write_bytes(data)
    video = Video(path, "a.mp4")
    for check in (lambda: _collect(video, Segment(471, 489)), lambda: video.check_segment(Segment(471, 489))):
        with pytest.raises(ClipError) as caught:
            check()
        assert caught.value.reason in {"damaged", "undecodable"}
    assert len(_collect(video, Segment(660, 680))) == 21


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write_long_video(tmp_path / "a.mp4", "libx264", CLOSED, ticks=range(30))
    frames = Video(path, "a.mp4").frames()
    next(frames)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ClipError, match="the file changed while it was read"):
        list(frames)
