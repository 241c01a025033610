"""What every writer of a format offers, and how a file is written so that it is whole or not there."""

import contextlib
import csv
import io
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from signet.errors import InvalidInput
from signet.landmarks import ClipRecord, Landmarks
from signet.whole_file import TEMPORARY_PREFIX, remove_unfinished_files, write_whole_file

# Characters that some file system does not allow in a name, or that change a path.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
_MOST_NAME_BYTES = 200
# Temporary names that older versions of Signet made.
_OLD_TEMPORARY_NAME = re.compile(r"\..+\.(pose|parquet|csv|json)\.\d+\.part")
_LEFTOVER_SECONDS = 60.0


class Writer(Protocol):
    """Writes clips in one format.

    Attributes:
        suffix: the suffix of a clip's file.
        table: the name of the table that lists the clips.
        columns: the columns of the table.
    """

    suffix: str
    table: str
    columns: Sequence[str]

    def relative_path(self, record: ClipRecord) -> str:
        """Where the file of a clip is below the folder of the export. Different clips have different paths."""
        ...

    def encode(self, clip: Landmarks) -> bytes:
        """The bytes of the file of a clip."""
        ...

    def row(self, record: ClipRecord) -> Mapping[str, object]:
        """The row of a clip in the table."""
        ...

    def further_files(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, bytes]:
        """Further files beside the table, by name, made of all its rows."""
        ...


def folder_name(gloss: str) -> str:
    """A gloss as the name of a folder. The table has the gloss itself."""
    name = _UNSAFE.sub("_", gloss).strip(" .")
    return name.encode()[:_MOST_NAME_BYTES].decode(errors="ignore") or "unlabelled"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, and rename it. A file with the right name is therefore whole.

    Raises:
        InvalidInput: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole_file(path, data)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror or error}).") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of an export that was killed. Those of the last minute may belong to one that runs.

    Files of other programs stay, because the folder may hold more than the export.
    """
    remove_unfinished_files(folder.rglob(f"{TEMPORARY_PREFIX}*"), _LEFTOVER_SECONDS)
    for path in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):
            if _OLD_TEMPORARY_NAME.fullmatch(path.name) and time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                path.unlink()


def encode_table(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A CSV table as bytes."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def decode_table(data: bytes, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table that `encode_table` wrote.

    Raises:
        ValueError: it is another table, for example because a spreadsheet has saved it.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode()))
        names = reader.fieldnames or ()
        rows = [{name: value or "" for name, value in row.items() if name} for row in reader]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if missing := set(columns) - set(names):
        raise ValueError(f"its first line has no column {', '.join(sorted(missing))}")
    return rows
