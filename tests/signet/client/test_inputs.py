"""What the clients make of files, bytes and clips."""

from pathlib import Path

import pytest

from signet.client.inputs import ClipInput, read_clip
from signet.errors import InvalidInput
from signet.landmarks import dump
from signet.rpc.limits import MAX_MESSAGE_BYTES
from tests.conftest import MakeClip

REFUSAL = "video: 1200 s; the limit is 600 s. Cut it to the sign: ffmpeg -ss 5 -i video -t 10 sign.mp4"


def test_a_video_that_the_extractor_refuses_is_named_in_the_error_and_in_its_command() -> None:
    assert ClipInput("video", b"", "my film.mp4").name_in_message(REFUSAL) == (
        "my film.mp4: 1200 s; the limit is 600 s. Cut it to the sign: ffmpeg -ss 5 -i 'my film.mp4' -t 10 sign.mp4"
    )
    message = ClipInput("landmarks", b"", "a.safetensors").name_in_message("landmarks: no record.")
    assert message == "a.safetensors: landmarks: no record."
    assert ClipInput("video", b"").name_in_message(REFUSAL) == REFUSAL


def test_landmarks_and_videos_are_told_apart_by_their_content(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip()
    data = dump(clip)
    path = tmp_path / "landmarks"
    path.write_bytes(data)
    for source in (clip, data, path, str(path)):
        given = read_clip(source)
        assert (given.kind, given.data) == ("landmarks", data)
    for video in (b"\x00\x00\x00\x20ftypisom" + bytes(99), b"\x1a\x45\xdf\xa3" + bytes(99), b"<html>", b""):
        path.write_bytes(video)
        assert read_clip(video).kind == read_clip(path).kind == "video"
    path = tmp_path / "page.SAFETENSORS"
    path.write_bytes(b"<html>")
    assert read_clip(path).kind == "landmarks", "so that the server says what is wrong with the landmarks"


def test_a_clip_that_cannot_be_sent_is_refused_with_its_name(tmp_path: Path) -> None:
    large = tmp_path / "my film.mp4"
    with large.open("wb") as file:
        file.truncate(MAX_MESSAGE_BYTES + 1)
    for source, words in (
        (tmp_path / "none.mp4", r"none\.mp4: cannot be read \(No such file"),
        (tmp_path, r"cannot be read \(Is a directory"),
        ("a\0b", "cannot be read"),
        (large, rf"my film\.mp4: {MAX_MESSAGE_BYTES + 1} bytes.* ffmpeg -ss 5 -i '.*my film"),
        (bytes(MAX_MESSAGE_BYTES + 1), f"the clip has {MAX_MESSAGE_BYTES + 1} bytes"),
    ):
        with pytest.raises(InvalidInput, match=words):
            read_clip(source)


def test_the_time_to_wait_grows_with_the_length_of_a_video() -> None:
    assert ClipInput("landmarks", bytes(10**6)).default_timeout == 60
    assert ClipInput("video", b"x").default_timeout == 61
    assert ClipInput("video", bytes(20_000 * 100)).default_timeout == 60 + 6 * 100
