"""Small videos that request much memory are refused, in little memory; foreign metadata is no reason to refuse."""

import time
from collections.abc import Iterator

import pytest

from bench.hostile.videos import (
    encode,
    gif_with_canvas,
    grow_vp8,
    matroska_with_inflated_pictures,
    matroska_with_inflated_sound,
    matroska_with_laces,
    png_with_size,
    share_samples,
)  # fmt: skip
from services.extractor.jobs.workers import WorkerPool
from signet.errors import ClipError
from tests.services.extractor.video.bombs import refuse

# A process with the decoder, without MediaPipe, has 80 MB.
MOST_MB = 400


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(1, clip_timeout=60) as workers:
        yield workers


def refused(pool: WorkerPool, data: bytes, name: str) -> tuple[str, str]:
    ((_, outcome),) = pool.each(refuse, [(name, (data, name))])
    assert not isinstance(outcome, ClipError), outcome
    reason, message, megabytes = outcome
    assert megabytes < MOST_MB
    return reason, message


def test_a_video_that_grows_to_sixteen_thousand_pixels_midway_is_refused_in_little_memory(pool: WorkerPool) -> None:
    reason, message = refused(pool, grow_vp8(encode("a.mkv", "libvpx"), 16383, 16383), "grows.mkv")
    assert reason == "undecodable"
    assert "larger than 9437184 pixels" in message


def test_a_picture_with_an_enormous_canvas_is_refused_in_little_memory(pool: WorkerPool) -> None:
    gif = gif_with_canvas(encode("a.gif", "gif"), 65535, 65535)
    png = png_with_size(encode("a.png", "apng"), 30000, 30000)
    for data, name in ((gif, "huge.gif"), (png, "huge.png")):
        reason, message = refused(pool, data, name)
        assert reason == "undecodable"
        assert "larger than 9437184 pixels" in message


def test_hundreds_of_tracks_are_refused(pool: WorkerPool) -> None:
    reason, message = refused(pool, encode("a.mkv", "mpeg4", frames=2, tracks=300), "tracks.mkv")
    assert reason == "too_large"
    assert "100 video tracks; at most 8" in message
    reason, message = refused(pool, encode("a.mp4", "mpeg4", frames=2, tracks=300), "tracks.mp4")
    assert reason == "too_large"
    assert "more than 100 tracks" in message


def test_samples_that_share_their_bytes_cannot_multiply_them(pool: WorkerPool) -> None:
    data = share_samples(encode("a.mp4", frames=200), 200, 1_000_000)
    reason, message = refused(pool, data, "shared.mp4")
    assert reason == "too_large"
    assert "packets have more than 134217728 bytes" in message


def test_a_codec_that_no_camera_writes_is_not_decoded(pool: WorkerPool) -> None:
    reason, message = refused(pool, encode("a.mkv", "snow"), "snow.mkv")
    assert reason == "undecodable"
    assert "snow, is not supported" in message


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi"])
def test_a_title_in_another_encoding_does_not_refuse_a_good_clip(pool: WorkerPool, name: str) -> None:
    codec = "mpeg4" if name == "a.avi" else "libx264"
    data = encode(name, codec, title="caXXe").replace(b"caXXe", b"caf\xe9e")
    assert b"caf\xe9e" in data
    assert refused(pool, data, name) == ("", "")


@pytest.mark.parametrize("sound", [False, True])
def test_millions_of_tiny_frames_in_a_track_are_refused_in_little_memory(pool: WorkerPool, sound: bool) -> None:
    reason, message = refused(pool, matroska_with_laces(20_000, sound=sound), "laces.mkv")
    assert reason == "too_large"
    assert message.startswith("laces.mkv: has more than 500000 packets in all")


def test_sound_that_inflates_to_gigabytes_is_refused_soon(pool: WorkerPool) -> None:
    started = time.monotonic()
    reason, message = refused(pool, matroska_with_inflated_sound(500, 9), "sound.mkv")
    assert reason == "too_large"
    assert "packets have more than 134217728 bytes" in message
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_pictures_whose_texts_and_profiles_inflate_stay_in_the_memory_of_a_worker(chunk: bytes) -> None:
    data = matroska_with_inflated_pictures(chunk, 700)
    assert len(data) < 4_000_000
    with WorkerPool(1, clip_timeout=60) as workers:
        ((_, outcome),) = workers.each(refuse, [("job", (data, "inflates.mkv"))])
        assert not isinstance(outcome, ClipError), outcome
        reason, message, megabytes = outcome
        assert megabytes <= 1024
        if reason:
            assert reason == "too_large"
            assert message.startswith("inflates.mkv: needs more memory than a worker may use")
        ((_, again),) = workers.each(refuse, [("job", (encode("a.mp4"), "a.mp4"))])
        assert not isinstance(again, ClipError)
        assert again[:2] == ("", "")
