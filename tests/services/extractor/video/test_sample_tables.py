"""Counts that an MP4 declares and cannot hold are refused before FFmpeg reserves memory for them."""

import time
from pathlib import Path

import pytest

from bench.hostile.videos import encode, patch
from services.extractor.video.container import identify
from services.extractor.video.decode import Video
from services.extractor.video.file_bytes import FileBytes
from signet.errors import ClipError

ABSURD = 1_000_000_000


@pytest.fixture(scope="module")
def plain() -> bytes:
    return encode("a.mp4")


@pytest.mark.parametrize(("kind", "offset"), [(b"stsz", 8), (b"stts", 4), (b"ctts", 4), (b"stsc", 4), (b"stco", 4)])
def test_an_absurd_count_in_any_sample_table_is_refused_at_once(plain: bytes, kind: bytes, offset: int) -> None:
    began = time.monotonic()
    with pytest.raises(ClipError, match=rf"{kind.decode()}' declares 1000000000 entries, but has \d+ bytes") as caught:
        Video(patch(plain, kind, offset, ABSURD), "bomb.mp4")
    assert caught.value.reason == "damaged"
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("size", [8, 0x7FFF_FFFF])
def test_a_wrong_box_size_does_not_hide_a_table(plain: bytes, size: int) -> None:
    with pytest.raises(ClipError, match="stsz"):
        identify(patch(patch(plain, b"stsz", 8, ABSURD), b"stsz", -8, size), "bomb.mp4")


def test_samples_of_one_size_need_no_entries_and_are_counted_too(plain: bytes) -> None:
    with pytest.raises(ClipError, match="declare 1000000000 samples"):
        identify(patch(patch(plain, b"stsz", 8, ABSURD), b"stsz", 4, 1), "bomb.mp4")


@pytest.mark.parametrize("kind", [b"stts", b"ctts"])
def test_a_run_of_a_billion_times_is_refused(plain: bytes, kind: bytes) -> None:
    with pytest.raises(ClipError, match=r"declare \d+ times of samples"):
        identify(patch(plain, kind, 8, ABSURD), "bomb.mp4")


def test_a_table_outside_its_place_is_found(plain: bytes) -> None:
    table = b"stsz" + bytes(8) + ABSURD.to_bytes(4, "big")
    hidden = (len(table) + 4).to_bytes(4, "big") + table
    with pytest.raises(ClipError, match="stsz"):
        identify(plain + (len(hidden) + 8).to_bytes(4, "big") + b"trak" + hidden, "bomb.mp4")


def test_a_fragment_of_a_billion_samples_without_fields_is_refused(plain: bytes) -> None:
    run = b"trun" + bytes(4) + ABSURD.to_bytes(4, "big")
    fragment = (len(run) + 12).to_bytes(4, "big") + b"moof" + (len(run) + 4).to_bytes(4, "big") + run
    with pytest.raises(ClipError, match="declare 1000000000 samples of fragments"):
        identify(plain + fragment, "bomb.mp4")


def test_thousands_of_edits_and_compressed_indexes_are_refused(plain: bytes) -> None:
    with pytest.raises(ClipError, match="declare 5000 edits"):
        identify(patch(plain, b"elst", 4, 5000), "bomb.mp4")
    with pytest.raises(ClipError, match="index is compressed") as caught:
        identify(plain + (16).to_bytes(4, "big") + b"free" + (8).to_bytes(4, "big") + b"cmov", "bomb.mp4")
    assert caught.value.reason == "unsupported"


def test_media_data_may_contain_the_names_of_tables(plain: bytes) -> None:
    media = b"stsz" + b"\xff" * 16
    assert identify(plain + (len(media) + 8).to_bytes(4, "big") + b"mdat" + media, "a.mp4") == "mp4"


def test_every_real_clip_passes(wlasl: Path) -> None:
    for path in sorted((wlasl / "clips").glob("*.mp4"))[:40]:
        try:
            identify(path.read_bytes(), path.name)
        except ClipError as error:
            assert error.reason != "damaged", path


def test_a_table_is_found_where_two_blocks_meet(plain: bytes) -> None:
    table = b"stsz" + bytes(8) + ABSURD.to_bytes(4, "big")
    box = (len(table) + 4).to_bytes(4, "big") + table
    for shift in range(-2, 10):
        padding = 1024 * 1024 - len(plain) % (1024 * 1024) - 8 - shift
        data = plain + (padding + len(box) + 8).to_bytes(4, "big") + b"free" + bytes(padding) + box
        with pytest.raises(ClipError, match="stsz"):
            identify(data, "bomb.mp4")


def test_a_name_that_shares_bytes_with_another_name_does_not_hide_it(plain: bytes) -> None:
    """The size of a table stts ends like the name stss begins."""
    box = b"\x00sts" + b"stts" + bytes(4) + (0x00FF_FFFF).to_bytes(4, "big")
    assert b"stss" in box
    data = plain + (len(box) + 8).to_bytes(4, "big") + b"free" + box
    with pytest.raises(ClipError, match="stts"):
        identify(data, "bomb.mp4")


def test_a_long_sound_track_may_have_as_many_samples_as_the_file_has_bytes(tmp_path: Path, plain: bytes) -> None:
    long = patch(patch(plain, b"stsz", 8, 200_000_000), b"stsz", 4, 4)
    with pytest.raises(ClipError, match="declare 200000000 samples; at most 115200000 are possible"):
        identify(long, "sound.mp4")
    path = tmp_path / "sound.mp4"
    path.write_bytes(long + (1).to_bytes(4, "big") + b"mdat" + (10**9).to_bytes(8, "big"))
    with path.open("ab") as file:
        file.truncate(len(long) + 10**9)
    assert identify(FileBytes(path), "sound.mp4") == "mp4"
