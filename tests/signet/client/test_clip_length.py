"""The length of a video by its header."""

import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from signet.client.clip_length import estimate_seconds

SECONDS = 20


def make_video(container: str, codec: str = "libx264", options: dict[str, str] | None = None) -> bytes:
    """An encoded video of 20 s at 5 frames a second."""
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as opened,
    ):
        stream = opened.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5 * SECONDS):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8), format="rgb24")
            frame.pts = index
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
        opened.close()
        return Path(file.name).read_bytes()


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"movflags": "faststart"}),
        ("mov", "libx264", {}),
        ("matroska", "libx264", {}),
        ("webm", "libvpx", {}),
        ("avi", "mpeg4", {}),
    ],
)
def test_the_length_of_a_video_is_that_of_its_header(container: str, codec: str, options: dict[str, str]) -> None:
    assert estimate_seconds(make_video(container, codec, options)) == pytest.approx(SECONDS, rel=0.05)


@pytest.mark.parametrize(
    ("container", "options"), [("matroska", {"live": "1"}), ("mp4", {"movflags": "frag_keyframe+empty_moov"})]
)
def test_a_recording_without_a_length_in_its_header_is_estimated_by_its_size(
    container: str, options: dict[str, str]
) -> None:
    data = make_video(container, options=options)
    assert estimate_seconds(data) == len(data) / 20_000
    assert estimate_seconds(data + bytes(1_000_000)) > 50


def test_bytes_that_are_no_video_have_some_length() -> None:
    random = np.random.default_rng(1)
    for container, codec in (("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4")):
        whole = make_video(container, codec)
        for _ in range(200):
            damaged = bytearray(whole[: random.integers(1, len(whole))])
            damaged[random.integers(len(damaged))] = random.integers(256)
            assert estimate_seconds(bytes(damaged)) >= 0
    for data in (b"", b"x", b"mvhd", b"mvhd\1", b"RIFF1234AVI avih", b"\x1a\x45\xdf\xa3\x44\x89\x88" + b"\xff" * 8):
        assert estimate_seconds(data) == len(data) / 20_000
