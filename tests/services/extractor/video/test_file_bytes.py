"""A file can be read in parts as bytes can, and a change of it is noticed."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest

from services.extractor.video.file_bytes import FileBytes, hash_bytes, iterate_blocks, open_stream
from signet.errors import ClipError


@pytest.fixture
def content() -> bytes:
    return np.random.default_rng(0).bytes(2_300_000)


@pytest.fixture
def file(content: bytes, tmp_path: Path) -> FileBytes:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    return FileBytes(path)


def test_parts_of_a_file_are_those_of_its_bytes(content: bytes, file: FileBytes) -> None:
    assert len(file) == len(content)
    size = len(content)
    for start, end in ((0, 8), (4, 8), (70_000, 70_008), (65_530, 65_600), (0, size), (size - 3, size + 9), (9, 4)):
        assert file[start:end] == content[start:end]
    assert file[:] == content
    for position in (0, 1, 65_535, 65_536, 100_000, size - 1):
        assert file[position] == content[position]
    assert hash_bytes(file) == hash_bytes(content) == hashlib.sha256(content).hexdigest()


def test_blocks_share_the_requested_number_of_bytes(content: bytes, file: FileBytes) -> None:
    for data in (content, file):
        blocks = list(iterate_blocks(data, 10, len(content) - 10, overlap=3))
        assert len(blocks) == 3
        for position, block in blocks:
            assert block == content[position : min(len(content) - 10, position + 1024 * 1024 + 3)]


def test_two_streams_of_a_file_have_positions_of_their_own(content: bytes, file: FileBytes) -> None:
    first, second = open_stream(file), open_stream(file)
    assert first.read(10) == second.read(10) == content[:10]
    assert first.seek(-5, io.SEEK_END) == len(content) - 5
    assert first.read(100) == content[-5:]
    assert first.read(100) == b""
    assert second.seek(5, io.SEEK_CUR) == 15
    assert second.read() == content[15:]


def test_a_change_of_the_file_is_noticed(tmp_path: Path, file: FileBytes) -> None:
    assert not file.has_changed()
    with (tmp_path / "a.mp4").open("ab") as changed:
        changed.write(b"more")
    assert file.has_changed()


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.mp4", Path("/dev/null")):
        with pytest.raises(ClipError) as caught:
            FileBytes(path)
        assert caught.value.reason == "unreadable"
        assert str(path) in str(caught.value)
