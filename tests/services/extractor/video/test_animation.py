"""Animated pictures are taken as videos, with their times; still pictures are refused."""

import re
from pathlib import Path

import av
import numpy as np
import pytest

from services.extractor.jobs import worker
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.video.animation import is_animated_webp, read_gif, read_png
from services.extractor.video.decode import Frame, Video, read_file
from signet.errors import ClipError
from signet.landmarks import load

# A variable rate: the times of the frames in ticks of 1/50 s.
TICKS = (0, 2, 4, 14, 16, 18, 28, 30)
LEVELS = [30 * index for index in range(len(TICKS))]
FORMATS = {"gif": ("gif", "rgb8"), "png": ("apng", "rgb24"), "webp": ("libwebp_anim", "yuv420p")}


def make_animation(path: Path, frames: int = len(TICKS)) -> Path:
    """Write an animated picture whose frame i is grey of level LEVELS[i], with a white upper left quarter."""
    codec, pixels = FORMATS[path.suffix[1:]]
    options = {"plays": "0"} if codec == "apng" else {}
    with av.open(str(path), "w", format="apng" if codec == "apng" else None, container_options=options) as file:
        stream = file.add_stream(codec, rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for index in range(frames):
            picture = np.full((48, 64, 3), LEVELS[index], np.uint8)
            picture[:24, :32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts = TICKS[index]
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def decode(path: Path) -> list[Frame]:
    return list(Video(read_file(path), path.name).frames())


def refusal(path: Path) -> ClipError:
    with pytest.raises(ClipError, match=f"^{re.escape(path.name)}: ") as caught:
        decode(path)
    return caught.value


@pytest.mark.parametrize("name", ["sign.gif", "sign.png"])
def test_an_animated_picture_is_a_video_with_the_times_of_its_frames(tmp_path: Path, name: str) -> None:
    frames = decode(make_animation(tmp_path / name))
    assert [frame.seconds for frame in frames] == pytest.approx([tick / 50 for tick in TICKS], abs=1e-3)
    for index, frame in enumerate(frames):
        assert frame.rgb.shape == (48, 64, 3)
        assert frame.rgb[5, 5].min() > 240
        assert frame.rgb[24:, 32:].mean() == pytest.approx(LEVELS[index], abs=12)  # a GIF has few colours


def test_an_animated_webp_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    error = refusal(make_animation(tmp_path / "my sign.webp"))
    assert error.reason == "unsupported"
    assert "Convert it to MP4 or an animated PNG, for example: python -c " in str(error)
    assert str(error).endswith("'my sign.webp'")


@pytest.mark.parametrize("name", ["still.gif", "still.png", "still.webp"])
def test_a_still_picture_stays_refused_as_an_image(tmp_path: Path, name: str) -> None:
    path = make_animation(tmp_path / name, frames=1)
    assert refusal(path).reason in {"image", "unsupported" if is_animated_webp(path.read_bytes()) else "image"}


@pytest.mark.parametrize("name", ["sign.gif", "sign.png"])
@pytest.mark.parametrize("share", [0.4, 0.9, 0.99])
def test_an_animated_picture_that_is_cut_off_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = make_animation(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert refusal(path).reason == "truncated"


def test_an_animation_of_three_frames_is_too_short_for_a_sign(tmp_path: Path) -> None:
    assert refusal(make_animation(tmp_path / "blink.gif", frames=3)).reason == "too_few_frames"


def test_headers_without_content_are_no_animation() -> None:
    for size in (6, 10, 13, 40):
        assert read_gif(b"GIF89a".ljust(size, b"\0")).pictures == 0
        assert read_png(b"\x89PNG\r\n\x1a\n".ljust(size, b"\0")).pictures == 1
    assert not is_animated_webp(b"RIFF\0\0\0\0WEBPVP8X")


@pytest.mark.clips
def test_a_sign_in_an_animated_gif_is_tracked(faults: Path, workers: WorkerPool) -> None:
    path = faults / "11_animated_sign.gif"
    ((_, outcome),) = workers.each(worker.extract_bytes, [(0, (read_file(path), Labels(path.name)))])
    assert isinstance(outcome, Extracted), outcome
    clip = load(outcome.data)
    assert clip.timestamps[-1] == pytest.approx(1.87, abs=0.01)
    assert clip.presence[:, 0].all()
    assert clip.presence[:, 1:].any(axis=1).mean() > 0.5


def test_a_picture_that_is_too_wide_to_be_cropped_is_refused(tmp_path: Path) -> None:
    """A GIF of few pixels can declare a width of 65,535."""
    data = bytearray(make_animation(tmp_path / "wide.gif").read_bytes())
    data[6:8] = (40_000).to_bytes(2, "little")
    (tmp_path / "wide.gif").write_bytes(data)
    error = refusal(tmp_path / "wide.gif")
    assert error.reason == "too_large"
    assert "40000x48 pixels; the limit is 9437184 pixels in all, and 16384 in each direction" in str(error)
