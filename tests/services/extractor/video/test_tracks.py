"""Of several video tracks, the one is taken that a player would show."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

from services.extractor.video.decode import Video, read_file
from services.extractor.video.tracks import check_packets
from signet.errors import ClipError


@dataclass(frozen=True)
class Made:
    """A track to write: its size tells it from the others."""

    width: int
    flags: int = 0
    frames: int = 12
    fps: int = 25
    codec: str = "libx264"

    @property
    def height(self) -> int:
        """Three quarters of the width."""
        return self.width * 3 // 4


DEFAULT = Disposition.default
REAL = Made(320, DEFAULT)


def make_file(path: Path, tracks: Sequence[Made]) -> Path:
    with av.open(str(path), "w") as file:
        streams = []
        for track in tracks:
            stream = file.add_stream(track.codec, rate=track.fps)
            stream.width, stream.height = track.width, track.height
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.disposition = track.flags
            streams.append(stream)
        for track, stream in zip(tracks, streams, strict=True):
            for index in range(track.frames):
                grey = np.full((track.height, track.width, 3), 10 * index % 200, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts = index
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return path


def shown_width(path: Path) -> int:
    frames = list(Video(read_file(path), path.name).frames())
    assert len(frames) == 12
    return frames[0].rgb.shape[1]


@pytest.mark.parametrize(
    ("name", "tracks"),
    [
        ("default_is_second.mkv", [Made(640), REAL]),
        ("default_is_second.mp4", [Made(640), REAL]),
        ("default_is_smaller.mov", [REAL, Made(640)]),
        ("no_default.avi", [Made(160, codec="mpeg4"), Made(320, codec="mpeg4")]),
        ("all_default.mkv", [Made(160, DEFAULT), REAL, Made(240, DEFAULT)]),
        ("enabled_preview.mp4", [Made(80, DEFAULT), Made(320)]),
        ("slow_preview.mkv", [Made(160, DEFAULT, frames=2, fps=1), Made(320)]),
        ("slides.mkv", [Made(640, DEFAULT, frames=8, fps=1), Made(320)]),
        ("thumbnail.mkv", [Made(160, DEFAULT, frames=1), Made(320)]),
        ("cover.mp4", [Made(640, Disposition.attached_pic, frames=1, codec="mjpeg"), REAL]),
        ("cover.mkv", [Made(640, Disposition.attached_pic, frames=1, codec="mjpeg"), REAL]),
    ],
)
def test_of_two_video_tracks_the_one_is_taken_that_a_player_shows(
    tmp_path: Path, name: str, tracks: list[Made]
) -> None:
    assert shown_width(make_file(tmp_path / name, tracks)) == 320


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", b"avc1"), ("a.mkv", b"V_MPEG4/ISO/AVC")])
def test_a_track_of_an_unknown_codec_gives_way_to_one_that_decodes(tmp_path: Path, name: str, codec: bytes) -> None:
    path = make_file(tmp_path / name, [Made(640, DEFAULT), Made(320)])
    data = path.read_bytes()
    where = data.index(codec, data.index(b"stsd") if name == "a.mp4" else 0)
    unknown = codec[:2] + b"Z" * (len(codec) - 2)
    path.write_bytes(data[:where] + unknown + data[where + len(codec) :])
    assert shown_width(path) == 320
    path.write_bytes(data.replace(codec, unknown))
    with pytest.raises(ClipError, match=f"^{name}: its video codec is unknown"):
        shown_width(path)


def test_a_sound_with_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as file:
        voice = file.add_stream("aac", rate=44100)
        cover = file.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 64, 48, "yuvj420p", Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        file.mux(voice.encode(silence))
        file.mux(voice.encode())
        file.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(cover.encode())
    with pytest.raises(ClipError, match=r"^song\.mp4: has only still pictures") as caught:
        shown_width(path)
    assert caught.value.reason == "no_video"


@pytest.mark.clips
def test_reported_files_with_a_preview_track_show_their_real_track(faults: Path) -> None:
    paths = sorted(faults.glob("04_two_video_tracks_*"))
    assert len(paths) == 2
    for path in paths:
        frames = list(Video(read_file(path), path.name).frames())
        assert (len(frames), frames[0].rgb.shape) == (57, (480, 854, 3))


@pytest.mark.clips
def test_a_recording_whose_size_changes_is_still_refused_by_name(faults: Path) -> None:
    path = faults / "14_webrtc_resolution_change.webm"
    with pytest.raises(ClipError, match=f"^{path.name}: its frame size changes midway"):
        list(Video(read_file(path), path.name).frames())


class _Packets:
    """A container with packets of one size, which reads none of them."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._packet = SimpleNamespace(size=size)

    def demux(self) -> Iterator[SimpleNamespace]:
        return itertools.repeat(self._packet, self._count)


@pytest.mark.parametrize(
    ("file_bytes", "packets", "most"),
    [(1000, 500_001, 500_000), (100 * 1024**2, 819_201, 819_200), (16 * 1024**3, 5_000_001, 5_000_000)],
)
def test_a_larger_file_may_have_more_packets_up_to_a_limit(file_bytes: int, packets: int, most: int) -> None:
    check_packets(_Packets(most, 10), file_bytes, "a.mp4", lambda: None)
    with pytest.raises(ClipError, match=f"has more than {most} packets in all") as caught:
        check_packets(_Packets(packets, 10), file_bytes, "a.mp4", lambda: None)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(("file_bytes", "most"), [(1000, 128 * 1024**2), (1024**3, 2 * 1024**3)])
def test_the_packets_of_a_larger_file_may_have_more_bytes(file_bytes: int, most: int) -> None:
    check_packets(_Packets(most // 4096, 4096), file_bytes, "a.mp4", lambda: None)
    with pytest.raises(ClipError, match=f"packets have more than {most} bytes in all"):
        check_packets(_Packets(most // 4096 + 1, 4096), file_bytes, "a.mp4", lambda: None)


def test_a_job_shows_that_it_goes_on_while_packets_are_counted() -> None:
    calls: list[int] = []
    check_packets(_Packets(10_000, 1), 1000, "a.mp4", lambda: calls.append(1))
    assert len(calls) == 4
