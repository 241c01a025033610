"""The ledger: what was written is read again, whatever happened to the process and the file."""

import json
from pathlib import Path

import pytest

from services.extractor.fetching import ledger as module
from services.extractor.fetching.ledger import LEDGER_NAME, FetchLedger, FileRecord, LinkRecord
from signet.errors import Conflict, InvalidInput

LINK = LinkRecord("k1", "http://a.org/b.mp4", "stored", bytes=5, sha256="ab", files=("1.mp4", "2.mp4"), attempts=2)
FILE = FileRecord("1.mp4", 5, 123, "ab", frames=9, seconds=0.4, outside={"2": "too short"})


def test_records_are_read_again(tmp_path: Path) -> None:
    with FetchLedger(tmp_path / "clips", writable=True) as ledger:
        ledger.add(LINK)
        ledger.add(FILE)
    with FetchLedger(tmp_path / "clips", writable=False) as ledger:
        assert (ledger.links, ledger.files) == ({"k1": LINK}, {"1.mp4": FILE})
        assert ledger.ignored_lines == 0


def test_the_last_record_of_an_address_is_valid(tmp_path: Path) -> None:
    with FetchLedger(tmp_path, writable=True) as ledger:
        ledger.add(LinkRecord("k1", "http://a.org/b.mp4", "failed", "busy"))
        ledger.add(LINK)
    assert FetchLedger(tmp_path, writable=False).links["k1"] == LINK


def test_an_incomplete_last_line_is_ignored_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    with FetchLedger(tmp_path, writable=True) as ledger:
        ledger.add(FILE)
        ledger.add(LINK)
    whole = (tmp_path / LEDGER_NAME).read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(1, len(last)):
        (tmp_path / LEDGER_NAME).write_bytes(whole[:-cut])
        with FetchLedger(tmp_path, writable=True) as ledger:
            assert ledger.files == {"1.mp4": FILE}
            ledger.add(LINK)
        assert FetchLedger(tmp_path, writable=False).links == {"k1": LINK}


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "null", '{"kind": "x"}', '{"kind": "link"}', '{"kind": "link", "key": 1, "url": "", "status": ""}',
        '{"kind": "file", "name": "a", "bytes": "5", "mtime_ns": 1}', "[" * 100_000,
        '{"kind": "file", "name": "a", "bytes": 5, "mtime_ns": 1, "outside": {"a": 1}}',
        '{"kind": "link", "key": "a", "url": "", "status": "", "files": [1]}', "\x00\xff",
    ],
)  # fmt: skip
def test_a_line_without_a_record_is_ignored_and_counted(tmp_path: Path, line: str) -> None:
    with FetchLedger(tmp_path, writable=True) as ledger:
        ledger.add(LINK)
    with (tmp_path / LEDGER_NAME).open("a") as file:
        file.write(line + "\n")
    read = FetchLedger(tmp_path, writable=False)
    assert (read.links, read.files, read.ignored_lines) == ({"k1": LINK}, {}, 1)


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    values = {"kind": "link", "key": "k", "url": "u", "status": "failed", "later": 5}
    (tmp_path / LEDGER_NAME).write_text(json.dumps(values) + "\n")
    assert FetchLedger(tmp_path, writable=False).links == {"k": LinkRecord("k", "u", "failed")}


def test_two_processes_do_not_write_at_the_same_time(tmp_path: Path) -> None:
    with FetchLedger(tmp_path, writable=True), pytest.raises(Conflict, match="another `signet fetch`"):
        FetchLedger(tmp_path, writable=True)
    FetchLedger(tmp_path, writable=True).close()


def test_old_lines_are_removed_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE_LINES", 5)
    with FetchLedger(tmp_path, writable=True) as ledger:
        for attempts in range(20):
            ledger.add(LinkRecord("k", "u", "failed", attempts=attempts))
    with FetchLedger(tmp_path, writable=True) as ledger:
        ledger.add(FILE)
    lines = (tmp_path / LEDGER_NAME).read_text().split("\n")
    assert len([line for line in lines if line]) == 2
    assert FetchLedger(tmp_path, writable=False).links["k"].attempts == 19


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(InvalidInput, match=r"--clips"):
        FetchLedger(tmp_path / "clips", writable=True)


def test_a_file_that_changed_is_not_the_one_that_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "1.mp4"
    path.write_bytes(b"12345")
    record = FileRecord("1.mp4", 5, path.stat().st_mtime_ns)
    assert record.is_about(path)
    path.write_bytes(b"123456")
    assert not record.is_about(path)
    path.unlink()
    assert not record.is_about(path)
