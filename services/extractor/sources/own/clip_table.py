"""Reads tables that describe own clips: CSV files with a row for each clip."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.extractor.sources.instances import FRAMES_OF_VIDEO, SPLIT_NAMES, TO_THE_END, Instance
from services.extractor.sources.wording import count, name_some
from signet.errors import InvalidInput, NotFound, quote
from signet.labels import describe_label_fault
from signet.text_files import TableRow, parse_integer, parse_number, parse_table

# Tables that are found in the folder, the preferred first.
TABLE_NAMES = ("videos.csv", "metadata.csv")
COLUMNS = ("file", "gloss", "split", "signer", "start", "end", "start_frame", "end_frame")

# Other names of the columns, in small letters with underscores.
_SYNONYMS = {
    "file": ("path", "video", "filename", "file_name", "filepath", "file_path", "video_file", "video_path",
             "video_name", "clip", "video_id", "clip_id", "name"),
    "gloss": ("label", "sign", "word", "class", "class_name", "category", "text"),
    "split": ("subset", "set", "partition"),
    "signer": ("signer_id", "participant", "participant_id", "person", "subject", "user", "speaker"),
    "start": ("start_time", "start_seconds", "start_s", "begin"),
    "end": ("end_time", "end_seconds", "end_s"),
    "start_frame": ("frame_start", "first_frame"),
    "end_frame": ("frame_end", "last_frame"),
}  # fmt: skip
# What people and programs write where nothing is known.
_UNKNOWN = {"", "-1", "nan", "none", "null", "n/a", "na", "unknown", "?"}
# 1:02.5 and 0:01:02.5.
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")


@dataclass(frozen=True)
class ClipRow:
    """A row of a table. Empty texts are unknown.

    Attributes:
        file: the video, as the table names it.
        place: the row in messages.
        part: text that tells the part of the video from other parts; "" for the whole video.
        start_seconds, end_seconds, frame_start, frame_end, fps: as those of `Instance`.
    """

    file: str
    place: str
    gloss: str = ""
    split: str = ""
    signer: str = ""
    part: str = ""
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    frame_start: int = 1
    frame_end: int = TO_THE_END

    def make_instance(self, clip_id: str, gloss: str, split: str) -> Instance:
        """The instance of this row."""
        return Instance(
            clip_id=clip_id,
            gloss=gloss,
            split=split,
            signer=self.signer,
            frame_start=self.frame_start,
            frame_end=self.frame_end,
            fps=FRAMES_OF_VIDEO,
            start_seconds=self.start_seconds,
            end_seconds=self.end_seconds,
        )


@dataclass
class ClipTable:
    """The rows of tables, and notes for people about rows that cannot be used.

    Attributes:
        has_splits: whether a table says splits.
    """

    rows: list[ClipRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_splits: bool = False


def read_clip_tables(paths: Sequence[Path]) -> ClipTable:
    """Read tables. A table without splits that is named like a split, such as train.csv, describes this split.

    Raises:
        NotFound: a table does not exist.
        InvalidInput: a table is no CSV file, or has no column of files.
    """
    table = ClipTable()
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"{path}: no such file. --table names a CSV file with the columns {', '.join(COLUMNS)}."
            ) from error
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror}).") from error
        _read_rows(path, parse_table(data, str(path), COLUMNS[:1], COLUMNS[1:], synonyms=_SYNONYMS), table)
    return table


def _read_rows(path: Path, rows: Sequence[TableRow], table: ClipTable) -> None:
    default_split = SPLIT_NAMES.get(path.stem.casefold(), "")
    faults: dict[str, list[str]] = {}
    splits: set[str] = set()
    for row in rows:
        place = f"line {row.line}"
        try:
            clip = _read_row(row, place, default_split)
        except ValueError as error:
            faults.setdefault(str(error), []).append(place)
            continue
        table.rows.append(clip)
        table.has_splits |= bool(clip.split)
        written = row.cells.get("split", "")
        if written and not clip.split and written.casefold() not in _UNKNOWN:
            splits.add(written)
    table.notes += [
        f"{path}: {count(places, 'row')} left out, because {reason}: {name_some(places)}"
        for reason, places in faults.items()
    ]
    if splits:
        names = name_some([quote(split) for split in sorted(splits)])
        table.notes.append(f"{path}: {names} is no split, so these clips are not trained on. Use train, val and test")


def _read_row(row: TableRow, place: str, default_split: str) -> ClipRow:
    """Read a row.

    Raises:
        ValueError: it cannot be used, and the message is the reason.
    """
    cells = row.cells
    if row.surplus:
        raise ValueError("it has more values than the first line has columns")
    if not cells["file"]:
        raise ValueError("it names no file")
    signer = _read_name(cells, "signer")
    start, end = (_read_seconds(cells.get(name, "")) for name in ("start", "end"))
    first, last = _read_frame(cells, "start_frame", 1), _read_frame(cells, "end_frame", TO_THE_END)
    in_seconds, in_frames = bool(start or end), first > 1 or last != TO_THE_END
    if in_seconds and in_frames:
        raise ValueError("it gives the part in seconds and in frames")
    if (end and end <= start) or (last != TO_THE_END and last < first):
        raise ValueError("the part ends before it starts")
    written = cells.get("split", "")
    return ClipRow(
        file=cells["file"],
        place=place,
        gloss=_read_name(cells, "gloss"),
        split=SPLIT_NAMES.get(written.casefold(), "") if "split" in cells else default_split,
        signer=signer,
        part=f"{start:g}-{end:g} s" if in_seconds else f"{first}-{last}" if in_frames else "",
        start_seconds=start,
        end_seconds=end,
        frame_start=first,
        frame_end=last,
    )


def _read_name(cells: Mapping[str, str], column: str) -> str:
    """The name in a column; "" if it is unknown."""
    text = cells.get(column, "")
    if column == "signer" and text.casefold() in _UNKNOWN:
        return ""
    if fault := describe_label_fault(text):
        raise ValueError(f"the {column} cannot be used ({fault})")
    return text


def _read_seconds(text: str) -> float:
    """A time in seconds, or as minutes and seconds: 62.5, 62,5, 1:02.5, 0:01:02.5; 0 if it is unknown."""
    if text.casefold() in _UNKNOWN:
        return 0.0
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + parse_number(seconds)
    seconds = parse_number(text)
    if not 0 <= seconds < 1e6:
        raise ValueError(f"{quote(text)} is no time in seconds")
    return seconds


def _read_frame(cells: Mapping[str, str], column: str, default: int) -> int:
    """A frame number, counted from 1."""
    text = cells.get(column, "")
    if text.casefold() in _UNKNOWN:
        return default
    number = parse_integer(text)
    if not 1 <= number < 1e9:
        raise ValueError(f"{quote(text)} is no number of a frame; the first frame is 1")
    return number
