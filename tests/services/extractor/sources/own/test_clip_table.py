"""Tables of clips are read as spreadsheets and programs save them."""

from pathlib import Path

import pytest

from services.extractor.sources.own.clip_table import ClipRow, ClipTable, read_clip_tables
from signet.errors import InvalidInput, NotFound


def read(tmp_path: Path, data: str | bytes, name: str = "videos.csv") -> ClipTable:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_clip_tables([path])


def test_all_columns_are_read(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "file,gloss,split,signer,start,end,start_frame,end_frame\n"
        "a.mp4,book,train,ann,,,,\nb.mp4,go,Dev,7,1.5,2,,\nb.mp4,go,test,,0:03,1:00:04.5,,\nc.mp4,go,,nan,,,10,20\n",
    )
    assert table.rows == [
        ClipRow("a.mp4", "line 2", "book", "train", "ann"),
        ClipRow("b.mp4", "line 3", "go", "val", "7", "1.5-2 s", 1.5, 2.0),
        ClipRow("b.mp4", "line 4", "go", "test", "", "3-3604.5 s", 3.0, 3604.5),
        ClipRow("c.mp4", "line 5", "go", "", "", "10-20", frame_start=10, frame_end=20),
    ]
    assert table.has_splits
    assert not table.notes


def test_a_table_of_excel_is_read(tmp_path: Path) -> None:
    table = read(tmp_path, 'File name;Label;start time\r\n="007.mp4";book;1,5\r\n'.encode("utf-16"))
    assert table.rows == [ClipRow("007.mp4", "line 2", "book", part="1.5-0 s", start_seconds=1.5)]
    assert not table.has_splits


def test_the_tables_of_asl_citizen_are_read(tmp_path: Path) -> None:
    text = "Participant ID,Video file,Gloss,ASL-LEX Code\nP1,1-HELLO.mp4,HELLO,A_01\n"
    assert read(tmp_path, text, "val.csv").rows == [ClipRow("1-HELLO.mp4", "line 2", "HELLO", "val", "P1")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",book,,,,", "it names no file"),
        ("a.mp4,book,2,1,,", "the part ends before it starts"),
        ("a.mp4,book,1,2,3,4", "the part in seconds and in frames"),
        ("a.mp4,book,soon,,,", "'soon'"),
        ("a.mp4,book,-3,,,", "'-3' is no time in seconds"),
        ("a.mp4,book,,,0,5", "the first frame is 1"),
        ("a.mp4,book,,,1.5,5", "'1.5' is not a whole number"),
        ("a.mp4,bo\u202eok,,,,", "the gloss cannot be used"),
        ("a.mp4,book,,,,,x", "more values than"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_the_others_are_read(tmp_path: Path, row: str, reason: str) -> None:
    table = read(tmp_path, f"file,gloss,start,end,start_frame,end_frame\n{row}\nb.mp4,go,,,,\n")
    assert [found.file for found in table.rows] == ["b.mp4"]
    (note,) = table.notes
    assert reason in note
    assert "1 row left out" in note
    assert "line 2" in note


def test_an_unknown_split_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, "file,split\na.mp4,holdout\nb.mp4,train\n")
    assert [row.split for row in table.rows] == ["", "train"]
    assert "'holdout' is no split" in table.notes[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no column file"):
        read(tmp_path, "a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="Excel workbook"):
        read(tmp_path, b"PK\x03\x04...")
    with pytest.raises(NotFound, match="--table names a CSV file"):
        read_clip_tables([tmp_path / "absent.csv"])
