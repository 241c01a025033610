"""Refuses an MP4 file whose tables declare more entries than the file can hold.

FFmpeg reserves memory for the declared number of entries before it reads them, so that a file of a few kilobytes can
request gigabytes. FFmpeg reads a table in any box, also in one that should not hold it. So the tables are found by
their names anywhere outside the media data (ISO/IEC 14496-12, 8.6 to 8.8).
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.extractor.video.file_bytes import VideoBytes, iterate_blocks
from signet.errors import ClipError

# Tables of entries of a fixed size: where the number of entries is, counted from the end of the type, and the bytes of
# an entry.
_TABLES = {
    b"stts": (4, 8), b"ctts": (4, 8), b"stsc": (4, 12), b"stco": (4, 4), b"co64": (4, 8), b"stss": (4, 4),
    b"stps": (4, 4), b"tfra": (12, 11),
}  # fmt: skip
_SIZES, _COMPACT_SIZES, _RUN, _EDITS, _COMPRESSED = b"stsz", b"stz2", b"trun", b"elst", b"cmov"
_ANY = re.compile(b"|".join((*_TABLES, _SIZES, _COMPACT_SIZES, _RUN, _EDITS, _COMPRESSED)))
_NAME_BYTES = 4
# The flags of the fields that each sample of a run can have; a field has 4 bytes.
_RUN_FIELDS = (0x100, 0x200, 0x400, 0x800)

# What is not media data: the index, and little else. The index of 12 hours at 60 frames a second, with sound, has
# 100 MB.
_MOST_INDEX_BYTES = 256 * 1024**2
# The samples of a sound track in QuickTime are its PCM samples: ten minutes at 192 kHz. A longer track has at least a
# byte for each sample.
_MOST_SAMPLES = 600 * 192_000
# FFmpeg copies the index for each edit. Files of editing programs have a few dozens of edits.
_MOST_EDITS = 1000
# Recorders that were interrupted leave a few more times than samples.
_SPARE_TIMES = 100_000


@dataclass(frozen=True)
class Table:
    """A table of an MP4 file.

    Attributes:
        kind: the type of its box.
        body: the position of its content.
        room: the bytes from there to the end of its box.
    """

    kind: bytes
    body: int
    room: int


def check_tables(data: VideoBytes, media: Sequence[tuple[int, int]], name: str) -> None:
    """Refuse an MP4 file whose tables declare absurd numbers.

    Args:
        data: the whole file. It is read in parts, without its media data.
        media: the start and the end of each part that holds media data only, in order.
        name: the name of the file in error messages.

    Raises:
        ClipError: a table declares more entries than its box can hold, or more samples than a clip can have; or the
            file has too much that is no media data.
    """
    index_bytes = len(data) - sum(end - start for start, end in media)
    if index_bytes > _MOST_INDEX_BYTES:
        raise ClipError(
            "too_large",
            f"{name}: {index_bytes} of its bytes are no media data; at most {_MOST_INDEX_BYTES} are read. Write it "
            f"again: ffmpeg -i {shlex.quote(name)} -c copy sign.mp4",
        )
    samples = times = run_samples = edits = 0
    for table in _find_tables(data, media):
        if table.kind == _COMPRESSED:
            raise ClipError(
                "unsupported",
                f"{name}: its index is compressed ('cmov'). Convert it, for example: "
                f"ffmpeg -i {shlex.quote(name)} -c copy sign.mp4",
            )
        entries = _count_entries(data, table, name)
        if table.kind in {_SIZES, _COMPACT_SIZES}:
            samples += entries
        elif table.kind in {b"stts", b"ctts"}:
            times = max(times, _count_times(data, table, entries))
        elif table.kind == _RUN:
            run_samples += entries
        elif table.kind == _EDITS:
            edits = max(edits, entries)
    _refuse_above(samples, max(_MOST_SAMPLES, len(data)), "samples", name)
    _refuse_above(times, 2 * samples + _SPARE_TIMES, "times of samples", name)
    # A sample has at least one byte.
    _refuse_above(run_samples, len(data), "samples of fragments", name)
    _refuse_above(edits, _MOST_EDITS, "edits", name)


def _find_tables(data: VideoBytes, media: Sequence[tuple[int, int]]) -> Iterator[Table]:
    position = 0
    for start, end in (*media, (len(data), len(data))):
        for at, kind in _find_names(data, position, start):
            size = int.from_bytes(data[at - 4 : at], "big") if at >= 4 else 0
            body, room = at + _NAME_BYTES, size - 8
            if size == 1:
                room = int.from_bytes(data[body : body + 8], "big") - 16
                body += 8
            elif size == 0:
                room = len(data) - body
            # FFmpeg reads a table also if its box is too short, or longer than the file. A negative room: other data.
            if room >= 0:
                yield Table(kind, body, min(room, len(data) - body))
        position = max(position, end)


def _find_names(data: VideoBytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The position and the name of each table between two positions. Names may share bytes."""
    for position, block in iterate_blocks(data, start, end, _NAME_BYTES - 1):
        found = _ANY.search(block)
        while found:
            yield position + found.start(), found.group()
            found = _ANY.search(block, found.start() + 1)


def _count_entries(data: VideoBytes, table: Table, name: str) -> int:
    """The number of entries that a table declares."""
    if table.kind in {_SIZES, _COMPACT_SIZES}:
        field, entries = _number(data, table.body + 4), _number(data, table.body + 8)
        own_bits = 0 if field else 32  # a field other than 0 is the size of every sample
        needed = 12 + entries * (field & 0xFF if table.kind == _COMPACT_SIZES else own_bits) // 8
    elif table.kind == _RUN:
        flags, entries = _number(data, table.body) & 0xFFFFFF, _number(data, table.body + 4)
        needed = 8 + 4 * entries * sum(bool(flags & field) for field in _RUN_FIELDS)
    elif table.kind == _EDITS:
        return _number(data, table.body + 4)  # FFmpeg reads no more than the box holds
    else:
        at, entry_bytes = _TABLES[table.kind]
        entries = _number(data, table.body + at)
        needed = at + 4 + entries * entry_bytes
    if needed > table.room:
        raise ClipError(
            "damaged",
            f"{name}: its table {table.kind.decode()!r} declares {entries} entries, but has {table.room} bytes. "
            "Download it again.",
        )
    return entries


def _count_times(data: VideoBytes, table: Table, entries: int) -> int:
    """The number of samples to which a table of runs gives times."""
    start = table.body + 8
    return sum(
        int(np.frombuffer(block, ">u4", 2 * (len(block) // 8))[::2].sum(dtype=np.uint64))
        for _, block in iterate_blocks(data, start, start + 8 * entries)
    )


def _number(data: VideoBytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "big")


def _refuse_above(count: int, limit: int, what: str, name: str) -> None:
    if count > limit:
        raise ClipError(
            "damaged", f"{name}: its tables declare {count} {what}; at most {limit} are possible. Download it again."
        )
