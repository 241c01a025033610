"""Which container a file is, and whether all of it has arrived."""

from pathlib import Path

import pytest

from bench.hostile.videos import encode
from services.extractor.video import container
from services.extractor.video.container import AVI, GIF, MATROSKA, MP4, identify
from services.extractor.video.file_bytes import FileBytes
from signet.errors import ClipError

_EBML_HEADER = b"\x1a\x45\xdf\xa3\x84\xff\xfe\xfd\xfc"
_SEGMENT = b"\x18\x53\x80\x67"


@pytest.mark.parametrize("size", [b"\xff", b"\x7f\xff", b"\x01" + b"\xff" * 7])
def test_a_matroska_file_whose_length_is_not_declared_is_taken(size: bytes) -> None:
    """Browsers record WebM live, and do not know the length when they write the header."""
    assert identify(_EBML_HEADER + _SEGMENT + size + bytes(50), "live.webm") == MATROSKA


@pytest.mark.parametrize("size", [b"\xb2", b"\x40\x32", b"\x01" + bytes(6) + b"\x32"])
def test_a_matroska_file_has_to_hold_the_length_that_it_declares(size: bytes) -> None:
    data = _EBML_HEADER + _SEGMENT + size + bytes(50)
    assert identify(data, "whole.webm") == MATROSKA
    with pytest.raises(ClipError, match=rf"cut off: it declares {len(data)} bytes, but has {len(data) - 1}"):
        identify(data[:-1], "part.webm")


def _sparse_mp4(path: Path, media_bytes: int) -> Path:
    """An MP4 file with so many bytes of media data that are not written: a hole in the file."""
    plain = encode("a.mp4")
    with path.open("wb") as file:
        file.write(plain)
        file.write((1).to_bytes(4, "big") + b"mdat" + (16 + media_bytes).to_bytes(8, "big"))
        file.truncate(len(plain) + 16 + media_bytes)
    return path


@pytest.mark.parametrize(("name", "kind"), [("a.mp4", MP4), ("a.mkv", MATROSKA), ("a.avi", AVI), ("a.gif", GIF)])
def test_a_file_is_identified_as_its_bytes_are(tmp_path: Path, name: str, kind: str) -> None:
    data = encode(name, {"a.avi": "mpeg4", "a.gif": "gif"}.get(name, "libx264"))
    path = tmp_path / name
    path.write_bytes(data)
    assert identify(data, name) == identify(FileBytes(path), name) == kind
    path.write_bytes(data[:-20])
    with pytest.raises(ClipError, match="cut off"):
        identify(FileBytes(path), name)


def test_gigabytes_of_media_data_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _sparse_mp4(tmp_path / "large.mp4", 12 * 1024**3)
    read = 0
    read_at = FileBytes.read_at

    def count(self: FileBytes, position: int, size: int) -> bytes:
        nonlocal read
        read += size
        return read_at(self, position, size)

    monkeypatch.setattr(FileBytes, "read_at", count)
    assert identify(FileBytes(path), path.name) == MP4
    assert read < 10_000_000


def test_a_gigabyte_that_is_no_media_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.mp4"
    path.write_bytes(encode("a.mp4") + (2**30).to_bytes(4, "big") + b"free")
    with path.open("ab") as file:
        file.truncate(path.stat().st_size - 8 + 2**30)
    with pytest.raises(ClipError, match=r"bytes are no media data; at most 268435456 are read.*-c copy") as caught:
        identify(FileBytes(path), path.name)
    assert caught.value.reason == "too_large"


def test_too_many_parts_and_too_large_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_MOST_BOXES", 100)
    with pytest.raises(ClipError, match="has more than 100 parts"):
        identify(encode("a.mp4") + 200 * ((8).to_bytes(4, "big") + b"free"), "a.mp4")
    path = tmp_path / "huge.gif"
    path.write_bytes(encode("a.gif", "gif"))
    with path.open("ab") as file:
        file.truncate(65 * 1024**2)
    with pytest.raises(ClipError, match=r"an animated picture of \d+ bytes; the limit is 67108864 bytes"):
        identify(FileBytes(path), path.name)


def test_replaced_characters_of_a_large_file_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("a" + "\ufffd" * 1_000_000)
    with pytest.raises(ClipError, match=r"\(1000000 characters became U\+FFFD\)"):
        identify(FileBytes(path), path.name)
