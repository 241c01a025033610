"""Lists the videos below a folder, and everything else that lies there."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from services.extractor.sources.clip_files import READ_SUFFIXES, split_video_name

# Folders below a folder that are searched. Deeper ones are hardly made by people.
_MAX_DEPTH = 8
# What operating systems, archives and storage devices leave in folders.
_SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini"}
)


@dataclass(frozen=True)
class VideoFile:
    """A video below a folder.

    Attributes:
        path: the path of the file.
        relative: its path below the folder, with slashes, in Unicode NFC: macOS stores names in another form.
    """

    path: Path
    relative: PurePosixPath

    @property
    def folder(self) -> PurePosixPath:
        """The folder of the file, below the folder that was listed."""
        return self.relative.parent

    @property
    def stem(self) -> str:
        """The name without the suffix of a video."""
        return split_video_name(self.relative.name)[0]


@dataclass(frozen=True)
class FolderContent:
    """What lies below a folder. Hidden files and files of the operating system are left out.

    Attributes:
        videos: the videos, ordered by relative path.
        convertible: videos of formats that are not read.
        others: files that are no videos.
        broken_links: links whose target does not exist, or that lead back to a folder above them.
        unreadable: folders that cannot be read, or that are too deep.
        empty: folders directly below the folder that have no file at all.
    """

    videos: list[VideoFile] = field(default_factory=list)
    convertible: list[PurePosixPath] = field(default_factory=list)
    others: list[PurePosixPath] = field(default_factory=list)
    broken_links: list[PurePosixPath] = field(default_factory=list)
    unreadable: list[PurePosixPath] = field(default_factory=list)
    empty: list[PurePosixPath] = field(default_factory=list)

    @property
    def top_folders(self) -> dict[str, list[VideoFile]]:
        """The videos by the folder directly below the root that they are in; "" for those in the root itself."""
        found: dict[str, list[VideoFile]] = {}
        for video in self.videos:
            parts = video.relative.parts
            found.setdefault(parts[0] if len(parts) > 1 else "", []).append(video)
        return found


def list_folder(root: Path) -> FolderContent:
    """List everything below a folder. Links are followed, but not in circles.

    Raises:
        PermissionError: the folder itself cannot be read.
    """
    content = FolderContent()
    for path, relative in _walk(root, PurePosixPath(), (os.path.realpath(root),), content):
        suffix = split_video_name(relative.name)[1]
        if suffix in READ_SUFFIXES:
            content.videos.append(VideoFile(path, relative))
        else:
            (content.convertible if suffix else content.others).append(relative)
    content.videos.sort(key=lambda video: (video.relative.parts, str(video.path)))
    return content


def _walk(
    folder: Path, relative: PurePosixPath, above: Sequence[str], content: FolderContent
) -> Iterator[tuple[Path, PurePosixPath]]:
    """The files below a folder; `above` are the real paths of the folders that lead to it."""
    with os.scandir(folder) as listing:
        entries = sorted((entry for entry in listing if not _is_system(entry.name)), key=lambda each: each.name)
    if not entries and len(relative.parts) == 1:
        content.empty.append(relative)
    for entry in entries:
        name = relative / unicodedata.normalize("NFC", entry.name)
        real = os.path.realpath(entry.path)
        if entry.is_file():
            yield folder / entry.name, name
        elif not entry.is_dir():
            (content.others if Path(entry.path).exists() else content.broken_links).append(name)
        elif real in above:
            content.broken_links.append(name)
        elif len(name.parts) > _MAX_DEPTH or not os.access(entry.path, os.R_OK | os.X_OK):
            content.unreadable.append(name)
        else:
            yield from _walk(folder / entry.name, name, (*above, real), content)


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES
