"""Finds the video files of clips in the directories of WLASL, and says which files are not taken."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.extractor.sources.instances import SPLITS, Instance
from services.extractor.sources.wording import count, name_some
from signet.text_files import KnownIds

# Names of video files that can be read, the preferred first. What a file is, its bytes decide later.
READ_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".3g2", ".f4v", ".qt", ".gif", ".apng",
)  # fmt: skip
# Names of video files that are not read. They must be converted.
_OTHER_SUFFIXES = frozenset(
    f".{name}"
    for name in "swf flv mpg mpeg m2v wmv asf ogv ogg ts mts m2ts vob rm webp".split()  # noqa: SIM905
)
# WLASL's scripts name videos of YouTube by the id of the video.
_YOUTUBE = re.compile(r"youtu\.?be.*?(?:v=|/(?:embed/|shorts/|v/)?)([\w-]{11})(?![\w-])")
# Clips may be in folders of a split and a gloss.
_MAX_DEPTH = 2


@dataclass(frozen=True)
class ClipFiles:
    """The files of clips.

    Attributes:
        paths: the file of each clip, by video_id.
        restored_ids: ids of the metadata that lack leading zeros, and the ids that the names of their files give.
        names: names of all video files in the directories that have clips.
        notes: remarks for people about files that are not taken.
    """

    paths: Mapping[str, Path]
    restored_ids: Mapping[str, str]
    names: frozenset[str]
    notes: tuple[str, ...]


def find_clip_files(directories: Sequence[Path], instances: Sequence[Instance]) -> ClipFiles:
    """Find the file of each instance.

    A file has the name of its clip: <video_id>.mp4, or another suffix of a video, in small letters or capitals. The id
    may lack leading zeros. A video of YouTube may have its id there as its name, and several instances are then
    segments of it. Files are in the directories, or in their folders of a split or a gloss. Of several files of a
    clip, one that has its exact id is taken, then one in the first directory, then one with the first suffix.

    Args:
        directories: the directories to search, the preferred first. They need not exist.
        instances: the instances of the metadata.

    Raises:
        PermissionError: a directory cannot be read.
    """
    search = _Search(directories, instances)
    for rank, directory in enumerate(directories):
        if directory.is_dir():
            search.scan(directory, rank)
    return search.result()


def youtube_id(url: str) -> str:
    """The id of a video of YouTube, from its address; "" if it is not one."""
    found = _YOUTUBE.search(url)
    return found[1] if found else ""


@dataclass(frozen=True, order=True)
class _Candidate:
    """A file that may be that of a clip. The smallest is taken."""

    name_rank: int  # 0: named by the exact id; 1: by the id with other leading zeros; 2: by the id at YouTube
    directory_rank: int
    depth: int
    suffix_rank: int
    path: Path


class _Search:
    """Searches directories, and remembers what has been found."""

    def __init__(self, directories: Sequence[Path], instances: Sequence[Instance]) -> None:
        self._directories = directories
        self._ids = {instance.clip_id for instance in instances}
        self._known = KnownIds(self._ids)
        self._folder_names = {_folder_name(instance.gloss) for instance in instances} | {*SPLITS}
        self._youtube: dict[str, list[str]] = {}
        for instance in instances:
            if name := youtube_id(instance.url):
                self._youtube.setdefault(name, []).append(instance.clip_id)
        self._candidates: dict[str, list[_Candidate]] = {}
        # By directory: the videos, those that no instance names, and the folders that are not searched.
        self._videos: dict[int, list[Path]] = {}
        self._unknown: dict[int, list[Path]] = {}
        self._other_folders: dict[int, list[Path]] = {}
        # Files of clips that are no videos, or not of a format that is read, by id.
        self._unread: dict[str, list[Path]] = {}

    def scan(self, folder: Path, rank: int, depth: int = 0) -> None:
        """Search a folder of a directory, and its folders of splits and glosses."""
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda each: each.name)
        for entry in entries:
            path = folder / entry.name
            stem, suffix = split_video_name(entry.name)
            if suffix or not entry.is_dir():
                self._add_file(path, stem, suffix, rank, depth)
            elif path in self._directories:
                continue
            elif depth < _MAX_DEPTH and _folder_name(entry.name) in self._folder_names:
                self.scan(path, rank, depth + 1)
            else:
                self._other_folders.setdefault(rank, []).append(path)

    def result(self) -> ClipFiles:
        """The file of each clip, and the notes."""
        chosen = {video_id: min(candidates) for video_id, candidates in self._candidates.items()}
        restored = {}
        for video_id, candidate in chosen.items():
            stem = split_video_name(candidate.path.name)[0]
            if candidate.name_rank == 1 and len(stem) > len(video_id):
                restored[video_id] = stem
        used = {candidate.directory_rank for candidate in chosen.values()}
        return ClipFiles(
            paths={restored.get(video_id, video_id): candidate.path for video_id, candidate in chosen.items()},
            restored_ids=restored,
            names=frozenset(path.name for rank in used or self._videos for path in self._videos[rank]),
            notes=tuple(self._notes(chosen, used or range(len(self._directories)))),
        )

    def _add_file(self, path: Path, stem: str, suffix: str, rank: int, depth: int) -> None:
        if not suffix:
            first = path.name.partition(".")[0]
            if first in self._ids:
                self._unread.setdefault(first, []).append(path)
            return
        ids, name_rank = self._find_clips(stem)
        if suffix not in READ_SUFFIXES:
            for video_id in ids:
                self._unread.setdefault(video_id, []).append(path)
            return
        self._videos.setdefault(rank, []).append(path)
        if not ids:
            self._unknown.setdefault(rank, []).append(path)
        candidate = _Candidate(name_rank, rank, depth, READ_SUFFIXES.index(suffix), path)
        for video_id in ids:
            self._candidates.setdefault(video_id, []).append(candidate)

    def _find_clips(self, stem: str) -> tuple[list[str], int]:
        """The ids of the clips that a name means, and the `name_rank` of the file."""
        if stem in self._ids:
            return [stem], 0
        if stem.isdigit() and (video_id := self._known.find(stem)):
            return [video_id], 1
        return self._youtube.get(stem, []), 2

    def _notes(self, chosen: Mapping[str, _Candidate], ranks: Iterable[int]) -> Iterator[str]:
        several = [
            f"{chosen[video_id].path} is taken, not {', '.join(str(file.path) for file in sorted(files)[1:])}"
            for video_id, files in sorted(self._candidates.items())
            if len(files) > 1
        ]
        if several:
            yield f"{count(several, 'clip')} with more than one file: {name_some(several, '; ')}"
        renamed = [
            f"{file.path.name} is the file of {video_id}"
            for video_id, file in sorted(chosen.items())
            if file.name_rank == 1
        ]
        if renamed:
            yield f"{count(renamed, 'clip')} with other leading zeros in the name of the file: {name_some(renamed)}"
        unread = [path for video_id, paths in self._unread.items() if video_id not in chosen for path in paths]
        if unread:
            suffixes = ", ".join(sorted({path.suffix.lower() or "a name without a suffix" for path in unread}))
            yield (
                f"{count(unread, 'file')} of clips not taken, because {suffixes} is not read: {name_some(unread)}. "
                "Convert videos to MP4, for example with ffmpeg"
            )
        for rank in ranks:
            if unknown := self._unknown.get(rank):
                names = name_some([path.name for path in unknown])
                yield (
                    f"{self._directories[rank]}: {count(unknown, 'video')} not taken, because the name is not a "
                    f"video_id of the metadata: {names}"
                )
            for folder in self._other_folders.get(rank, []):
                if videos := _list_videos(folder):
                    yield (
                        f"{folder}: {count(videos, 'video')} not taken, because this folder is not named like a split "
                        f"or a gloss. Move them to {self._directories[rank]}"
                    )


def split_video_name(name: str) -> tuple[str, str]:
    """The name of a video without suffixes, and its last suffix in small letters; "" if it is none of a video."""
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in READ_SUFFIXES and suffix not in _OTHER_SUFFIXES:
        return name, ""
    while path.suffix.lower() in READ_SUFFIXES or path.suffix.lower() == suffix:  # 00335.mp4.mp4
        path = Path(path.stem)
    return str(path).strip(), suffix


def _list_videos(folder: Path) -> list[Path]:
    """The videos in a folder that is not searched; none if it cannot be read, as lost+found on a volume."""
    try:
        return [path for path in folder.iterdir() if split_video_name(path.name)[1] in READ_SUFFIXES]
    except OSError:
        return []


def _folder_name(name: str) -> str:
    """The name of a folder or a gloss, as they are compared."""
    return name.replace("_", " ").strip().casefold()
