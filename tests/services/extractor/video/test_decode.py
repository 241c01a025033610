"""Videos are decoded into frames, and unusable files are refused with a reason."""

import re
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from services.extractor.video import decode as video
from services.extractor.video.decode import Segment, Video, read_file
from services.extractor.video.limits import MAX_FILE_BYTES, MIN_FRAMES, REASONS
from signet.errors import ClipError
from tests.services.extractor.conftest import SHORT, MakeVideo


def decode(path: Path) -> list[video.Frame]:
    return list(Video(read_file(path), path.name).frames())


def is_white(pixel: npt.NDArray[np.uint8]) -> bool:
    return bool(pixel.mean() > 128)


def refusal(path: Path) -> ClipError:
    with pytest.raises(ClipError) as caught:
        decode(path)
    return caught.value


@pytest.mark.clips
def test_every_broken_download_is_refused_with_its_reason(wlasl: Path) -> None:
    found = {path.name: refusal(path).reason for path in (wlasl / "broken").iterdir()}
    assert len(found) == 9
    for name, reason in found.items():
        assert reason == ("html" if name.startswith("html") else "text_mangled")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>gone</html>", "html"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500), "image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "image"),
        (b"GIF89a" + bytes(500), "image"),
        (b"RIFF\x00\x10\x00\x00WEBPVP8 " + bytes(500), "image"),
        (b"\x00\x00\x00\x18ftypavif" + bytes(500), "image"),
        (b'{"error": "not found"}', "unsupported"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nhttp://127.0.0.1:1/a.ts\n", "unsupported"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "unsupported"),
        (b"CWS\x0a" + bytes(range(200, 256)), "unsupported"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "truncated"),
        (b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67\x40", "truncated"),
        (b"\x1a\x45\xdf\xa3" + bytes(range(128, 256)), "undecodable"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_its_kind(tmp_path: Path, head: bytes, reason: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(head)
    error = refusal(path)
    assert error.reason == reason
    assert "clip.mp4" in str(error)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.mp4").reason == "unreadable"
    assert refusal(tmp_path).reason == "unreadable"


def test_a_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.mp4"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refusal(path).reason == "too_large"


def test_ffmpeg_may_open_nothing_but_the_given_bytes(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    options: list[dict[str, object]] = []
    real_open = av.open

    def note_options(file: object, **given: object) -> object:
        options.append(given)
        return real_open(file, **given)

    monkeypatch.setattr(av, "open", note_options)
    assert len(decode(path)) == 12
    assert options
    for given in options:
        assert given["format"] == "mp4"
        container_options = given["container_options"]
        assert isinstance(container_options, dict)
        assert container_options["protocol_whitelist"] == ""


def test_a_file_without_a_video_stream_is_refused(make_video: MakeVideo) -> None:
    assert refusal(make_video(frames=0, sound=True)).reason == "no_video"


def test_a_single_frame_is_refused(make_video: MakeVideo) -> None:
    error = refusal(make_video(frames=1))
    assert error.reason == "too_few_frames"
    assert f"1 frame; a sign needs at least {MIN_FRAMES}" in str(error)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi"])
def test_every_container_decodes_and_is_refused_if_cut_off(make_video: MakeVideo, name: str) -> None:
    path = make_video(name, codec={"a.webm": "libvpx-vp9", "a.avi": "mpeg4"}.get(name, "libx264"), frames=20)
    assert len(decode(path)) == 20
    data = path.read_bytes()
    for share in (0.5, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        assert refusal(path).reason == "truncated"


@pytest.mark.clips
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_real_clip_that_is_cut_off_anywhere_is_refused(wlasl: Path, tmp_path: Path, share: float) -> None:
    data = (wlasl / "clips" / f"{SHORT[0]}.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path).reason == "truncated"


@pytest.mark.clips
def test_a_real_clip_with_overwritten_media_is_refused(wlasl: Path, tmp_path: Path) -> None:
    data = bytearray((wlasl / "clips" / f"{SHORT[0]}.mp4").read_bytes())
    start = data.index(b"mdat") + 64
    data[start:] = np.random.default_rng(0).bytes(len(data) - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(data)
    assert refusal(path).reason in {"damaged", "undecodable", "truncated"}


def test_the_display_rotation_is_applied(make_video: MakeVideo) -> None:
    upright = decode(make_video("upright.mp4"))[0].rgb
    assert upright.shape == (48, 64, 3)
    assert is_white(upright[5, 5]) and not is_white(upright[5, -5])
    turned = decode(make_video("turned.mp4", rotation=90))[0].rgb  # counterclockwise: the corner goes to the lower left
    assert turned.shape == (64, 48, 3)
    assert is_white(turned[-5, 5]) and not is_white(turned[5, 5])
    over = decode(make_video("over.mp4", rotation=180))[0].rgb
    assert is_white(over[-5, -5]) and not is_white(over[5, 5])


def test_wide_pixels_are_stretched_to_square_pixels(make_video: MakeVideo) -> None:
    assert decode(make_video(pixel_aspect=Fraction(4, 3)))[0].rgb.shape == (48, 85, 3)


def test_nearly_square_pixels_are_not_stretched(make_video: MakeVideo) -> None:
    # Stretched by 1280/1281, a width of 1000 would become 999.
    assert decode(make_video(size=(1000, 48), pixel_aspect=Fraction(1280, 1281)))[0].rgb.shape == (48, 1000, 3)
    assert decode(make_video(size=(1000, 48), pixel_aspect=Fraction(97, 100)))[0].rgb.shape == (48, 970, 3)


def _noise_video(path: Path, frames: int) -> list[tuple[int, int]]:
    """Write an MPEG-4 video of noise, key frames only; returns position and size of the bytes of each frame."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = 1
        for index in range(frames):
            picture = random.integers(0, 255, (240, 320, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        return [(packet.pos, packet.size) for packet in file.demux(file.streams.video[0]) if packet.size]


@pytest.mark.parametrize(("damaged", "accepted"), [(4, True), (5, False), (15, False)])
def test_at_most_a_tenth_of_the_frames_may_be_damaged(tmp_path: Path, damaged: int, accepted: bool) -> None:
    path = tmp_path / "noise.mp4"
    packets = _noise_video(path, 40)
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(1)
    for position, size in packets[: 2 * damaged : 2]:
        data[position + size // 2 : position + size // 2 + 2000] = random.bytes(2000)
    path.write_bytes(data)
    if accepted:
        assert len(decode(path)) == 40
    else:
        error = refusal(path)
        assert error.reason == "damaged"
        assert f"{damaged} of 40 frames" in str(error)


def test_a_frame_less_than_a_millisecond_after_the_last_is_moved_on_by_a_nominal_step(tmp_path: Path) -> None:
    path = tmp_path / "dense.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=500)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10_000)
        for tick in (0, 5, 400, 800, 1200, 1205, 1600):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 10_000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    clip = Video(read_file(path), path.name)
    seconds = [frame.seconds for frame in clip.frames()]
    step = 1 / clip.fps
    assert step > 0.02
    assert seconds == pytest.approx([0, step, 0.04, 0.08, 0.12, 0.12 + step, 0.16], abs=1e-4)


def test_a_variable_frame_rate_keeps_its_times(make_video: MakeVideo) -> None:
    ticks = [0, 1, 2, 10, 11, 12, 20]
    frames = decode(make_video(frames=7, ticks=ticks, fps=10))
    assert [frame.seconds for frame in frames] == pytest.approx([tick / 10 for tick in ticks], abs=1e-3)


def test_an_avi_of_reordered_pictures_keeps_its_rate(make_video: MakeVideo) -> None:
    frames = decode(make_video("made.avi", frames=60, fps=30))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(60) / 30, abs=1e-6)


def test_times_count_from_the_first_frame_of_the_segment(make_video: MakeVideo) -> None:
    path = make_video(frames=20)
    clip = Video(read_file(path), path.name)
    assert clip.times() == pytest.approx(np.arange(20) / 25, abs=1e-3)
    part = list(clip.frames(Segment(6, 15)))
    assert len(part) == 10
    assert [frame.seconds for frame in part] == pytest.approx(np.arange(10) / 25, abs=1e-3)
    assert part[0].rgb[-5, -5].mean() == pytest.approx(50, abs=6)  # the sixth frame is grey of level 50
    with pytest.raises(ClipError) as caught:
        list(clip.frames(Segment(6, 25)))
    assert caught.value.reason == "outside"


def test_a_film_is_refused(make_video: MakeVideo) -> None:
    path = make_video(frames=7, ticks=[0, 1, 2, 3, 4, 5, 7000], fps=10)
    assert refusal(path).reason == "too_large"


def _overwrite_media(path: Path) -> None:
    """Make all frames of an MP4 file undecodable, so that a refusal of another kind was made before decoding."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("fps", "frames", "message"), [(1, 620, "619 s; the limit is 600 s"), (240, 45_010, "more than 36000 frames")]
)
def test_a_video_that_is_too_long_is_refused_before_it_is_decoded(
    make_video: MakeVideo, fps: int, frames: int, message: str
) -> None:
    path = make_video("my film.mp4", frames=frames, fps=fps, size=(16, 16), codec="mpeg4")
    _overwrite_media(path)
    error = refusal(path)
    assert error.reason == "too_large"
    assert message in str(error)
    assert "ffmpeg -ss 5 -i 'my film.mp4' -t 10 sign.mp4" in str(error)


def test_a_segment_of_a_long_video_is_decoded(make_video: MakeVideo) -> None:
    path = make_video(frames=700, fps=1, size=(16, 16))
    clip = Video(read_file(path), path.name)
    assert len(list(clip.frames(Segment(600, 620)))) == 21
    assert len(clip.times()) == 700
    for long in (lambda: list(clip.frames(Segment(2, 690))), lambda: clip.times(limited=True)):
        with pytest.raises(ClipError, match="the limit is 600 s"):
            long()


def _rewrite_mp4_durations(data: bytes, seconds: int) -> bytes:
    """Replace the durations of the movie and of its tracks; the table of frames stays."""
    changed = bytearray(data)
    for box, scale_at, duration_at in ((b"mvhd", 16, 20), (b"tkhd", 0, 24), (b"mdhd", 16, 20)):
        start = data.index(box)
        scale = int.from_bytes(data[start + scale_at : start + scale_at + 4], "big") if scale_at else 1000
        changed[start + duration_at : start + duration_at + 4] = (seconds * scale).to_bytes(4, "big")
    return bytes(changed)


def _rewrite_matroska_duration(data: bytes, seconds: int) -> bytes:
    """Replace the element Duration (in milliseconds), or remove it by another id if `seconds` is 0."""
    start = data.index(b"\x44\x89\x88")
    if not seconds:
        return data[:start] + b"\xec\x89" + bytes(9) + data[start + 11 :]  # an element Void of the same length
    return data[: start + 3] + struct.pack(">d", seconds * 1000.0) + data[start + 11 :]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm"])
def test_a_wrong_duration_in_the_header_neither_refuses_a_short_clip_nor_admits_a_long_one(
    make_video: MakeVideo, name: str
) -> None:
    codec = "libvpx-vp9" if name == "clip.webm" else "libx264"
    rewrite = _rewrite_mp4_durations if name in {"clip.mp4", "clip.mov"} else _rewrite_matroska_duration
    short = make_video(name, codec=codec, frames=20)
    data = short.read_bytes()
    for seconds in (2, 1200, 0):
        short.write_bytes(rewrite(data, seconds))
        assert len(decode(short)) == 20
    long = make_video(name, codec=codec, frames=620, fps=1, size=(16, 16))
    data = long.read_bytes()
    for seconds in (2, 1200, 0):
        long.write_bytes(rewrite(data, seconds))
        assert refusal(long).reason == "too_large"


@pytest.mark.clips
def test_a_twenty_minute_video_is_refused_at_once(faults: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(faults / "07_two_minute_video_predict_deadline.mp4")) as source, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        length = packets[-1].dts + packets[-1].duration - packets[0].dts
        for part in range(10):
            for packet in packets:
                packet.stream = stream
                packet.pts, packet.dts = packet.pts + (part > 0) * length, packet.dts + (part > 0) * length
                copy.mux(packet)
    clip = Video(read_file(path), path.name)
    start = time.process_time()
    with pytest.raises(ClipError, match=r"long\.mp4: 119\d s; the limit is 600 s"):
        next(clip.frames())
    assert time.process_time() - start < 5


def test_frames_are_decoded_one_at_a_time(make_video: MakeVideo) -> None:
    path = make_video(frames=20)
    frames = Video(read_file(path), path.name).frames()
    assert next(frames).seconds == 0.0
    frames.close()


def test_every_reason_in_the_code_is_listed() -> None:
    used = set()
    for path in Path(str(video.__file__)).parents[1].rglob("*.py"):
        if {"importing", "exporting"} & set(path.parts):
            continue  # these read no video, and their reasons are no metric's
        used |= set(re.findall(r'ClipError\(\s*"(\w+)"', path.read_text()))
    assert used == set(REASONS)
