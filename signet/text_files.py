"""Reads text, JSON and CSV that a person saved with any program.

Programs on Windows save UTF-8 with a byte order mark, or UTF-16. Spreadsheets separate the columns of a CSV file with
semicolons or tabs, write decimal commas, and remove the leading zeros of ids. Every file that a person can edit is read
with these functions.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signet.errors import InvalidInput, quote

# What a decoder puts in the place of bytes that are no text.
REPLACEMENT = "\ufffd"

# An escape in a JSON string: a pair of surrogates, which is one character; half a pair, which is none; or another one.
_JSON_ESCAPE = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)

# UTF-32 comes first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Files of other kinds that people give by mistake, and what to do.
_OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook. Unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file. Save it as text or CSV",
    b"\x1f\x8b": "compressed with gzip. Unpack it",
    b"%PDF": "a PDF file. Save the data as text",
}
_WEB_PAGE = re.compile(r"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)
_DELIMITERS = ",;\t|"
# A first line that tells Excel the delimiter.
_DELIMITER_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# ="00335": a formula that keeps a spreadsheet from changing an id.
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
# A whole number, which some programs write with one or two decimals. Three decimals may be a separator of thousands.
_INTEGER = re.compile(r"([+-]?\d+)(?:[.,]0{1,2})?")
_DIGITS = re.compile(r"\d+")


def decode_text(data: bytes) -> str:
    """Decode UTF-8, UTF-16 or UTF-32, with or without a byte order mark. Other bytes become U+FFFD."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    return data.decode(_encoding_without_mark(data[:4]), errors="replace")


def _encoding_without_mark(head: bytes) -> str:
    """The encoding of a text whose first two characters are ASCII, by the positions of the zero bytes."""
    zeros = tuple(not byte for byte in head)
    if zeros == (False, True, True, True):
        return "utf-32-le"
    if zeros == (True, True, True, False):
        return "utf-32-be"
    if zeros[:2] == (False, True):
        return "utf-16-le"
    if zeros[:2] == (True, False):
        return "utf-16-be"
    return "utf-8"


def parse_json(data: bytes, name: str) -> Any:
    """Parse JSON. Control characters in strings are allowed. Half a pair of surrogates is read as `REPLACEMENT`.

    Args:
        data: the bytes of the file.
        name: the name of the file in error messages.

    Raises:
        InvalidInput: the file is not JSON.
    """
    text = _decode(data, name)
    try:
        return json.loads(_JSON_ESCAPE.sub(_replace_half_pair, text) if "\\u" in text else text, strict=False)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{name}: Invalid JSON: {error.msg} (line {error.lineno}, column {error.colno}). Correct the file, or "
            "download it again."
        ) from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or thousands of brackets
        raise InvalidInput(f"{name}: Invalid JSON: {error}. Correct the file, or download it again.") from error


def _replace_half_pair(escape: re.Match[str]) -> str:
    return REPLACEMENT if escape["half"] else escape[0]


@dataclass(frozen=True)
class TableRow:
    """A row of a table: its line in the file, and its cells by the names of the columns.

    `surplus` is the number of cells after the last column. The separator may then be part of a cell.
    """

    line: int
    cells: Mapping[str, str]
    surplus: int = 0


def parse_table(
    data: bytes,
    name: str,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    *,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> list[TableRow]:
    """Parse a CSV file whose first line names the columns. Rows without any text are left out.

    Args:
        data: the bytes of the file.
        name: the name of the file in error messages.
        columns: the required columns.
        optional: further columns, which only the error message needs.
        synonyms: other names of columns, in small letters with underscores, the preferred first.

    Raises:
        InvalidInput: the file is not a CSV file, or a required column is missing.
    """
    lines = io.StringIO(_decode(data, name), newline="")
    header, start, given = "", 0, ""
    for header in lines:
        start += 1
        if mark := _DELIMITER_LINE.fullmatch(header.strip()):
            given = mark[1]
        elif header.strip():
            break
    delimiter = max(given or _DELIMITERS, key=lambda sign: len(set(columns) & set(_names(header, sign, synonyms))))
    names = _names(header, delimiter, synonyms)
    if missing := set(columns) - set(names):
        more = f" and may go on with {','.join(optional)}" if optional else ""
        raise InvalidInput(
            f"{name}: has no column {', '.join(sorted(missing))}. Its first line must be {','.join(columns)}{more}. "
            f"It is {quote(header.strip()[:100])}."
        )
    reader = csv.reader(lines, delimiter=delimiter)
    rows = []
    try:
        for values in reader:
            cells = [_clean_cell(value) for value in values]
            if any(cells):
                padded = cells + [""] * (len(names) - len(cells))
                surplus = len(cells) - len(names) if any(cells[len(names) :]) else 0
                rows.append(TableRow(start + reader.line_num, dict(zip(names, padded, strict=False)), surplus))
    except csv.Error as error:
        raise InvalidInput(f"{name}: not a CSV file (line {start + reader.line_num}: {error}).") from error
    return rows


def _names(header: str, delimiter: str, synonyms: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The names of the columns, in small letters. A synonym of a column that is missing is replaced by its name."""
    names = [_clean_cell(cell).lower() for cell in next(csv.reader([header.strip("\r\n")], delimiter=delimiter), [])]
    for column, others in (synonyms or {}).items():
        plain = [re.sub(r"[ -]+", "_", name) for name in names]
        if column not in names and (known := next((other for other in (column, *others) if other in plain), None)):
            names[plain.index(known)] = column
    return names


def _clean_cell(cell: str) -> str:
    cell = cell.strip()
    return formula[1].strip() if (formula := _TEXT_FORMULA.fullmatch(cell)) else cell


def parse_number(text: str) -> float:
    """Parse a number with a decimal point or a decimal comma.

    Raises:
        ValueError: the text is not a number.
    """
    text = text.strip()
    if "_" in text:
        raise ValueError(f"{quote(text)} is not a number")
    return float(text.replace(",", ".") if "." not in text else text)


def parse_integer(text: str) -> int:
    """Parse a whole number, which may have one or two decimals that are zero.

    Raises:
        ValueError: the text is not a whole number, or it may have a separator of thousands.
    """
    number = _INTEGER.fullmatch(text.strip())
    if number is None:
        raise ValueError(f"{quote(text)} is not a whole number")
    return int(number[1])


class KnownIds:
    """Finds ids whose leading zeros a spreadsheet removed: 335 is 00335 if no other id has this number."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = frozenset(ids)
        self._by_number: dict[str, list[str]] = {}
        for known in self._ids:
            if _DIGITS.fullmatch(known):
                self._by_number.setdefault(_number(known), []).append(known)

    def find(self, given: str) -> str | None:
        """The known id that was meant; None if there is none, or more than one."""
        given = given.strip()
        if given in self._ids:
            return given
        number = _INTEGER.fullmatch(given)
        same = self._by_number.get(_number(number[1]), []) if number else []
        return same[0] if len(same) == 1 else None


def _number(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _decode(data: bytes, name: str) -> str:
    """Decode a text file, and refuse files of other kinds.

    Raises:
        InvalidInput: the file is not text.
    """
    for magic, kind in _OTHER_KINDS.items():
        if data.startswith(magic):
            raise InvalidInput(f"{name}: is {kind}, and give its path.")
    text = decode_text(data)
    if _WEB_PAGE.match(text):
        raise InvalidInput(f"{name}: is a web page. Download the file itself.")
    return text
