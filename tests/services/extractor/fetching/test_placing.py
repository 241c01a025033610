"""Final names of files: each appears with the complete file, and broken files are kept under another name."""

import os
from pathlib import Path

import pytest

from services.extractor.fetching.placing import move_aside, place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/a.part").write_bytes(b"new")
    return tmp_path


def test_several_names_share_one_file(folder: Path) -> None:
    (folder / "1.mp4").write_bytes(b"old")
    placed = place(folder / "work/a.part", folder, folder / "work", ["1.mp4", "2.mp4"])
    assert placed == [folder / "1.mp4", folder / "2.mp4"]
    assert {path.read_bytes() for path in placed} == {b"new"}
    assert (folder / "1.mp4").samefile(folder / "2.mp4")
    assert list((folder / "work").iterdir()) == []


def test_a_file_can_get_a_further_name_again_and_again(folder: Path) -> None:
    for _ in range(2):
        place(folder / "work/a.part", folder, folder / "work", ["1.mp4"], keep=True)
    assert (folder / "1.mp4").samefile(folder / "work/a.part")
    assert [path.name for path in (folder / "work").iterdir()] == ["a.part"]


def test_a_file_is_copied_where_there_are_no_hard_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    placed = place(folder / "work/a.part", folder, folder / "work", ["1.mp4", "2.mp4"])
    assert [path.read_bytes() for path in placed] == [b"new", b"new"]
    assert not placed[0].samefile(placed[1])


def test_a_broken_file_gets_another_name(folder: Path) -> None:
    (folder / "1.mp4").write_bytes(b"old")
    assert move_aside([folder / "1.mp4"]) == [folder / "1.mp4.broken"]
    assert not (folder / "1.mp4").exists()
