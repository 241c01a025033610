"""Files that are whole or not there, and tables."""

import os
from pathlib import Path

import pytest

from services.extractor.exporting.writer import decode_table, encode_table, folder_name, remove_leftovers, write_whole
from signet.errors import InvalidInput


def test_a_file_is_replaced_as_a_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [found.name for found in tmp_path.rglob("*")] == ["a", "b.bin"]
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_whole(path / "c", b"three")


def test_old_temporary_files_are_removed_and_new_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    old = [tmp_path / "a" / f".signet-{'0a' * 8}", tmp_path / "a" / ".x.pose.1.part"]
    new = [tmp_path / f".signet-{'1b' * 8}", tmp_path / ".y.pose.2.part"]
    foreign = [tmp_path / "a" / ".film.mp4.part", tmp_path / ".x.part", tmp_path / ".signet-lock"]
    for path in (*old, *new, *foreign):
        path.write_bytes(b"")
    for path in (*old, *foreign):
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert [path.exists() for path in (*foreign, *new, *old)] == [True] * 5 + [False] * 2


def test_a_table_keeps_any_text() -> None:
    rows = [{"clip": "a", "gloss": 'i, "me"\nand you', "more": "left out"}, {"clip": "книга", "gloss": ""}]
    data = encode_table(("clip", "gloss"), rows)
    assert decode_table(data, ("clip",)) == [{"clip": row["clip"], "gloss": row["gloss"]} for row in rows]


def test_any_gloss_is_the_name_of_a_folder() -> None:
    assert folder_name("book") == "book"
    assert folder_name("i/me") == "i_me"
    assert folder_name("..") == "unlabelled"
    assert folder_name("") == "unlabelled"
    assert len(folder_name("ж" * 500).encode()) <= 200
