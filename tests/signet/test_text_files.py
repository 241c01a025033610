"""Text, JSON and CSV are read as programs on Windows, Mac and Linux save them."""

import gzip
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signet.errors import InvalidInput
from signet.text_files import KnownIds, decode_text, parse_integer, parse_json, parse_number, parse_table

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "text", ["[]", '[{"gloss": "手話 café \U0001f91f"}]', "video_id,start\r\n00335,0\r\n", "", "k"]
)
def test_text_is_decoded_whether_or_not_it_has_a_byte_order_mark(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert decode_text("café".encode("cp1252")) == "caf\ufffd"
    assert decode_text("ab".encode("utf-16")[:-1]) == "a\ufffd"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error_that_names_the_file(data: bytes) -> None:
    decode_text(data)
    for parse in (lambda: parse_json(data, "given.json"), lambda: parse_table(data, "given.csv", ("video_id",))):
        try:
            parse()
        except InvalidInput as error:
            assert "given." in str(error)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_in_every_encoding(encoding: str) -> None:
    value = {"gloss": "café", "fps": 29.97}
    text = json.dumps(value, ensure_ascii=False, indent=1).replace("\n", "\r\n")
    assert parse_json(text.encode(encoding), "a.json") == value


def test_json_may_have_control_characters_in_its_strings() -> None:
    assert parse_json(b'["tab\there", "line\nend"]', "a.json") == ["tab\there", "line\nend"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", r"Invalid JSON: Expecting value \(line 1, column 1\)"),
        (b'[{"gloss"', "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"1" * 5000, "Invalid JSON"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (gzip.compress(b"[]", mtime=0), "gzip"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_is_not_json_is_refused_with_its_kind(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        parse_json(data, "folder/a.json")
    assert str(caught.value).startswith("folder/a.json: ")


def test_an_excel_workbook_is_refused_with_what_to_do() -> None:
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(InvalidInput, match=r"index\.csv: is a ZIP archive or an Excel workbook.*save the sheet as CSV"):
        parse_table(workbook.getvalue(), "index.csv", ("video_id",))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_of_a_table_is_found(separator: str) -> None:
    text = separator.join(["id", "text", "fps"]) + "\n" + separator.join(["1", '"a,b;c\td|e"', '"29,97"'])
    (row,) = parse_table(text.encode(), "a.csv", ("id", "fps"))
    assert row.cells == {"id": "1", "text": "a,b;c\td|e", "fps": "29,97"}
    assert (row.line, row.surplus) == (2, 0)


def test_rows_keep_their_line_and_may_be_shorter_or_longer_than_the_header() -> None:
    text = "\nid,x\n\n1\n,,\n2,3,4\n5,6,,\n"
    rows = parse_table(text.encode(), "a.csv", ("id",))
    assert [(row.line, row.cells["id"], row.cells["x"], row.surplus) for row in rows] == [
        (4, "1", "", 0), (6, "2", "3", 1), (7, "5", "6", 0),
    ]  # fmt: skip


def test_a_missing_column_is_named_with_the_line_that_was_found() -> None:
    with pytest.raises(InvalidInput, match=r"a\.csv: has no column start\..*It is 'video_id;begin'"):
        parse_table(b"video_id;begin\n1;2\n", "a.csv", ("video_id", "start"))
    with pytest.raises(InvalidInput, match=r"a\.csv: not a CSV file \(line 2"):
        parse_table(b"id\n" + b"x" * 200_000, "a.csv", ("id",))


def test_numbers_may_have_a_decimal_comma() -> None:
    assert [parse_number(text) for text in ("29,97", "29.97", " 25 ", "1e2")] == [29.97, 29.97, 25.0, 100.0]
    for text in ("", "x", "1.234,5", "1_000", "1 000"):
        with pytest.raises(ValueError, match=r".+"):
            parse_number(text)


def test_whole_numbers_are_never_guessed() -> None:
    assert [parse_integer(text) for text in ("68", " 68.0", "68,00", "-1", "+7")] == [68, 68, 68, -1, 7]
    for text in ("", "x", "1.000", "1,000", "68.5", "1E+02", "1_0"):
        with pytest.raises(ValueError, match="whole number"):
            parse_integer(text)


def test_ids_are_found_without_their_leading_zeros() -> None:
    ids = KnownIds(["00335", "12345", "007", "07", "a1", "000"])
    assert [ids.find(given) for given in ("00335", "335", "0335", "335.0", " 335 ", "0")] == [*["00335"] * 5, "000"]
    assert [ids.find(given) for given in ("7", "0007", "a01", "9", "")] == [None] * 5
    assert ids.find("07") == "07"
