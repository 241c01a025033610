"""The files of a command are written as a whole, all of them or none, and are checked before the work."""

from pathlib import Path

import pytest

from services.standalone.output_files import check_outputs, write_outputs
from signet.errors import InvalidInput, InvalidSetting, Unavailable


def test_all_files_are_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    write_outputs({tmp_path / "a": lambda: b"1", tmp_path / "b": lambda: b"2"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "1", "b": "2"}


def test_if_one_cannot_be_made_none_is_changed(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise InvalidInput("no")

    (tmp_path / "a").write_text("old")
    with pytest.raises(InvalidInput):
        write_outputs({tmp_path / "a": lambda: b"1", tmp_path / "b": fail})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_if_one_cannot_be_written_none_is_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(Unavailable, match="none/b: cannot be written"):
        write_outputs({tmp_path / "a": lambda: b"1", tmp_path / "none/b": lambda: b"2"})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_files_that_cannot_be_written_are_named_before_the_work(tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    check_outputs({"--vtt": tmp_path / "a.vtt", "--srt": tmp_path / "a.srt"}, [video])
    with pytest.raises(Unavailable, match=r"--vtt .*none/a.vtt: cannot be written"):
        check_outputs({"--vtt": tmp_path / "none/a.vtt"}, [video])
    with pytest.raises(InvalidInput, match=r"--eaf .*: is a folder"):
        check_outputs({"--eaf": tmp_path}, [video])
    with pytest.raises(InvalidSetting, match=r"--srt .*: this file is that of --vtt"):
        check_outputs({"--vtt": tmp_path / "a", "--srt": tmp_path / "b/../a"}, [video])
    with pytest.raises(InvalidSetting, match=r"--json .*talk.mp4: this file is"):
        check_outputs({"--json": video}, [video])
    assert list(tmp_path.iterdir()) == []
