"""Looks at a path that a user names: how many files it has, and what the files are by their first bytes."""

import codecs
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from services.extractor.importing.source import ImportOptions, LandmarkSource
from signet.errors import InvalidInput, NotFound
from signet.text_files import decode_text

# A corpus of 2,000 signs with 30 recordings of 30 frames has 1.8 million files.
_MOST_FILES = 4_000_000
# Of each suffix, this many files are opened.
_SAMPLES = 24
_HEAD_BYTES = 512
# The most suffixes that an error lists.
_MOST_LISTED = 8

# First bytes, and the content that they mean.
_MAGIC = (
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"PAR1", "parquet"),
    (b"\x89HDF", "hdf5"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"RIFF", "video"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),
    *((b"\x80" + bytes([protocol]), "pickle") for protocol in range(2, 6)),
    # A .pose file begins with its version as a little-endian float.
    *((struct.pack("<f", version), "pose") for version in (0.1, 0.2)),
)


@dataclass(frozen=True)
class PathSurvey:
    """What is at a path.

    Attributes:
        root: the path.
        files: all regular files below it, relative to it, sorted; the file's name if the path is a file. Hidden files
            are left out.
        samples: files that were opened, absolute, by their content: "npy", "zip", "parquet", "pickle", "pose", "json",
            "csv", "video", "web page", "empty" and others.
    """

    root: Path
    files: tuple[Path, ...]
    samples: Mapping[str, tuple[Path, ...]]

    def has(self, content: str) -> bool:
        """Whether a sample has this content."""
        return content in self.samples

    def describe(self) -> str:
        """The number of files by suffix, and the contents of the samples, for an error message."""
        counts = Counter(file.suffix.lower() or "no suffix" for file in self.files)
        listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(_MOST_LISTED))
        more = len(counts) - _MOST_LISTED
        contents = ", ".join(f"{len(paths)} {content}" for content, paths in self.samples.items())
        return f"{listed}{f' and {more} more suffixes' if more > 0 else ''} (by content, of a sample: {contents})"


@dataclass(frozen=True)
class Kind:
    """A kind of landmark files, and its reader.

    Attributes:
        name: the value of `--kind`.
        layout: what the files look like, in one line for people.
        matches: whether a path holds files of this kind.
        open: reads them. It raises `InvalidInput` or `NotFound` if nothing at the path can be used.
        options: the names of the fields of `ImportOptions` that the reader uses.
    """

    name: str
    layout: str
    matches: Callable[[PathSurvey], bool]
    open: Callable[[Path, ImportOptions], LandmarkSource]
    options: frozenset[str] = field(default_factory=frozenset)


def survey_path(path: Path) -> PathSurvey:
    """Look at a file or at all files of a folder.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: it cannot be read, holds no files, or holds too many.
    """
    try:
        if path.is_file():
            files = [Path(path.name)]
            folder = path.parent
        elif path.is_dir():
            files = sorted(islice(_walk(path), _MOST_FILES + 1))
            folder = path
        else:
            raise NotFound(f"{path}: no such file or directory. Name the file or the folder with the landmarks.")
        if not files:
            raise InvalidInput(f"{path}: the folder holds no files.")
        if len(files) > _MOST_FILES:
            raise InvalidInput(f"{path}: the folder holds more than {_MOST_FILES} files. Import parts of it.")
        samples: dict[str, list[Path]] = {}
        for file in _choose_samples(files):
            samples.setdefault(_sniff(folder / file), []).append(folder / file)
    except OSError as error:
        raise InvalidInput(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from error
    return PathSurvey(path, tuple(files), {content: tuple(paths) for content, paths in samples.items()})


def _walk(folder: Path) -> Iterator[Path]:
    """The regular files of a folder, relative to it. Links to directories are not followed."""

    def fail(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        relative = Path(place).relative_to(folder)
        for name in names:
            if not name.startswith(".") and (folder / relative / name).is_file():
                yield relative / name


def _choose_samples(files: list[Path]) -> list[Path]:
    """A few files of each suffix, evenly spread."""
    by_suffix: dict[str, list[Path]] = {}
    for file in files:
        by_suffix.setdefault(file.suffix.lower(), []).append(file)
    return [
        same[index * (len(same) - 1) // max(1, min(_SAMPLES, len(same)) - 1)]
        for same in by_suffix.values()
        for index in range(min(_SAMPLES, len(same)))
    ]


def _sniff(path: Path) -> str:
    """The content of a file by its first bytes."""
    try:
        with path.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:  # the reader of its kind names it, and reads the others
        return "unreadable"
    for magic, content in _MAGIC:
        if head.startswith(magic):
            return content
    return "video" if head[4:8] == b"ftyp" else _sniff_text(head, path)


def _sniff_text(head: bytes, path: Path) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = decode_text(head).encode()
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text:
        return "blank" if head else "empty"
    if b"\0" in head:
        return "unknown"
    kinds = {b"{": "json", b"[": "json", b"<": "web page"}
    return kinds.get(text[:1], "csv" if path.suffix.lower() == ".csv" else "text")
