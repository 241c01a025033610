"""Folders of .pose files."""

from pathlib import Path

import numpy as np
import pytest

from services.extractor.importing.kinds import open_source
from services.extractor.importing.source import ImportOptions, LandmarkSource
from signet.errors import InvalidInput
from tests.services.extractor.foreign_files import sign, write_pose


def _source(folder: Path, options: ImportOptions | None = None) -> LandmarkSource:
    return open_source(folder, options or ImportOptions())


def test_folders_are_the_signs_and_the_header_has_rate_and_size(tmp_path: Path) -> None:
    for number, gloss in enumerate(("book", "book", "thank you")):
        write_pose(tmp_path / gloss / f"{number}.pose", sign(20, seed=number))
    source = _source(tmp_path)
    assert (source.kind, source.corpus) == ("pose", "pose")
    assert [(clip.gloss, clip.fps, clip.width, clip.height) for clip in source.clips] == [
        ("book", 25.0, 640, 480),
        ("book", 25.0, 640, 480),
        ("thank you", 25.0, 640, 480),
    ]
    np.testing.assert_allclose(source.clips[0].read().joints, sign(20), atol=1e-5)
    assert source.fingerprint.startswith("import/pose/")


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write_pose(tmp_path / "book" / "1.pose", sign(20))
    (tmp_path / "book" / "2.pose").write_bytes(b"")
    source = _source(tmp_path)
    assert [clip.gloss for clip in source.clips] == ["book"]
    assert [(failure.clip_id, failure.reason) for failure in source.failures] == [("book/2", "empty")]


def test_files_in_one_folder_need_labels_which_a_table_gives(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pose(tmp_path / f"{name}.pose", sign(20, seed=ord(name)))
    assert any("all 2 files are in one folder" in note for note in _source(tmp_path).notes)
    table = tmp_path / "clips.csv"
    table.write_text("clip,gloss,split,signer\na,book,train,7\nb,drink,val,8\n")
    clips = _source(tmp_path).clips
    assert [(clip.gloss, clip.split, clip.signer) for clip in clips] == [("book", "train", "7"), ("drink", "val", "8")]
    other = tmp_path / "other.csv"
    other.write_text("clip,gloss\na,x\nb,y\n")
    assert [clip.gloss for clip in _source(tmp_path, ImportOptions(splits=other)).clips] == ["x", "y"]


def test_what_the_file_does_not_say_is_asked_for(tmp_path: Path) -> None:
    write_pose(tmp_path / "book" / "1.pose", sign(20), size=(0, 0), fps=0.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="--width and --height"):
        _source(tmp_path)
    source = _source(tmp_path, ImportOptions(width=640, height=480, fps=24.0))
    assert [(clip.fps, clip.width) for clip in source.clips] == [(24.0, 640)]


def test_a_name_that_cannot_be_printed_does_not_stop_the_others(tmp_path: Path) -> None:
    write_pose(tmp_path / "book" / "1.pose", sign(20))
    try:
        write_pose(tmp_path / "book" / "caf\udce9.pose", sign(20, seed=1))
    except OSError:
        pytest.skip("this file system has no such names")
    source = _source(tmp_path)
    assert [clip.clip_id for clip in source.clips] == ["book-1"]
    assert [failure.clip_id for failure in source.failures] == ["book/caf\\udce9"]
