"""Finds the videos that a table names: other suffixes, Windows paths, other folders, and lost leading zeros."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from services.extractor.sources.clip_files import split_video_name
from services.extractor.sources.own.listing import VideoFile
from signet.text_files import KnownIds


class VideoFinder:
    """Finds videos by the names that tables give them."""

    def __init__(self, videos: Sequence[VideoFile]) -> None:
        self._by_end: dict[tuple[str, ...], list[VideoFile]] = {}
        stems: dict[str, list[VideoFile]] = {}
        for video in videos:
            for parts in (_fold(video.relative), _fold(video.relative.parent / video.stem)):
                for start in range(len(parts)):
                    self._add(parts[start:], video)
            stems.setdefault(video.stem, []).append(video)
        self._by_stem = stems
        self._ids = KnownIds(stems)

    def find(self, name: str) -> list[VideoFile]:
        """The videos that a name may mean: none, one, or several if the name is not unique.

        The longest end of the path that a video has decides. So a path on another machine finds its file.
        """
        parts = _fold(PurePosixPath(normalise_path(name)))
        for start in range(len(parts)):
            if found := self._by_end.get(parts[start:]):
                exact = [video for video in found if _fold(video.relative) == parts[start:]]
                return exact if len(exact) == 1 else found
        stem = self._ids.find(split_video_name(parts[-1])[0]) if parts else None
        return self._by_stem[stem] if stem else []

    def _add(self, parts: tuple[str, ...], video: VideoFile) -> None:
        found = self._by_end.setdefault(parts, [])
        if video not in found:
            found.append(video)


def normalise_path(name: str) -> str:
    """A path with slashes, in Unicode NFC."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).strip()


def _fold(path: PurePosixPath) -> tuple[str, ...]:
    """The parts of a path, as they are compared."""
    return tuple(part.casefold() for part in path.parts if part not in ("/", "."))
