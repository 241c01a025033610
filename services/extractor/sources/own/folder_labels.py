"""The glosses of videos, by their folders: `<gloss>/*.mp4`, or `<split>/<gloss>/*.mp4`."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from services.extractor.sources.instances import SPLIT_NAMES
from services.extractor.sources.metadata import METADATA
from services.extractor.sources.own.listing import FolderContent, VideoFile
from services.extractor.sources.wording import count, name_some
from signet.errors import InvalidInput, quote
from signet.labels import describe_gloss_fault

LAYOUT = "Expected is a folder for each gloss (<folder>/<gloss>/*.mp4), or a table of the clips (--table)."


# Names of folders that hold videos of many glosses.
_NAMES_OF_COLLECTIONS = frozenset({"videos", "video", "clips", "raw_videos", "raw_videos_mp4", "data"})
_SUFFIXES_OF_DESCRIPTIONS = frozenset({".json", ".csv", ".txt", ".xlsx"})


@dataclass(frozen=True)
class FolderLabel:
    """The labels that a folder gives to the videos in it and below it; `fault` says why its gloss cannot be used."""

    gloss: str
    split: str = ""
    fault: str = ""


class FolderLabels:
    """The labels of all folders below a root.

    A folder of a gloss holds videos itself. If no folder directly below the root does, and all of them are named like
    splits, the folders of glosses are one level deeper.

    Raises:
        InvalidInput: no folder is that of a gloss.
    """

    def __init__(self, root: Path, content: FolderContent) -> None:
        tops = {name: videos for name, videos in content.top_folders.items() if name}
        glosses = [name for name, videos in tops.items() if any(len(video.relative.parts) == 2 for video in videos)]
        self.has_splits = not glosses and bool(tops) and all(name.casefold() in SPLIT_NAMES for name in tops)
        self._depth = 2 if self.has_splits else 1
        if self.has_splits:
            folders = {video.folder for video in content.videos if len(video.relative.parts) == 3}
        else:
            folders = {PurePosixPath(name) for name in glosses}
        if not folders:
            raise InvalidInput(f"{root}: the glosses of its videos are unclear. {_describe(root, content)}")
        names = sorted(folder.name for folder in folders)
        if all(name.casefold() in _NAMES_OF_COLLECTIONS for name in names):
            others = [path.name for path in content.others if path.suffix.lower() in _SUFFIXES_OF_DESCRIPTIONS]
            described = f", and {name_some(others)}" if others else ""
            raise InvalidInput(
                f"{root}: the glosses of its videos are unclear. It holds videos in {name_some(names)}, which is no "
                f"gloss{described}. If a file describes the videos, name it: a JSON file as the path, a CSV file with "
                f"--table. If they are clips of WLASL, {METADATA}: no such file. {LAYOUT}"
            )
        self._labels = {folder: self._make_label(folder) for folder in folders}

    def find(self, video: VideoFile) -> FolderLabel | None:
        """The label of a video; None if no folder of a gloss is above it."""
        return self._labels.get(PurePosixPath(*video.relative.parts[: self._depth]))

    def is_nested(self, video: VideoFile) -> bool:
        """Whether a video is in a folder below the folder of its gloss."""
        return len(video.relative.parts) > self._depth + 1

    def notes(self) -> list[str]:
        """Remarks about folders that are no glosses, or whose names may be mistakes."""
        notes = [
            f"the folder {quote(str(folder))} cannot be a gloss, because {label.fault}. Its videos are not taken"
            for folder, label in sorted(self._labels.items())
            if label.fault
        ]
        similar: dict[str, set[str]] = {}
        for label in self._labels.values():
            similar.setdefault(label.gloss.casefold().replace("_", " "), set()).add(label.gloss)
        notes += [
            f"{' and '.join(map(quote, sorted(glosses)))} count as different glosses. If they are one, use one folder"
            for _, glosses in sorted(similar.items())
            if len(glosses) > 1
        ]
        return notes

    def _make_label(self, folder: PurePosixPath) -> FolderLabel:
        gloss = clean_gloss(folder.name)
        split = SPLIT_NAMES[folder.parts[0].casefold()] if self.has_splits else ""
        return FolderLabel(gloss, split, describe_gloss_fault(gloss))


def clean_gloss(text: str) -> str:
    """A gloss as it is stored: without spaces around it, in Unicode NFC."""
    return unicodedata.normalize("NFC", text).strip()


def _describe(root: Path, content: FolderContent) -> str:
    """What a folder without a folder of a gloss holds, and what to do."""
    tops = content.top_folders
    loose, folders = tops.pop("", []), sorted(tops)
    if not folders:
        names = _names(loose)
        return (
            f"It holds {count(names, 'video')} ({name_some(names)}) and no folder with videos. {LAYOUT} If all videos "
            f"show one gloss, name the folder above: {root.absolute().parent}"
        )
    deeper = sorted({video.relative.parts[1] for videos in tops.values() for video in videos})
    advice = (
        f"If {name_some(deeper)} are glosses, name their folder: {root / folders[0]}"
        if len(folders) == 1
        else f"If {name_some(deeper)} are glosses, give a table, or move their folders to {root}"
    )
    return (
        f"It holds {count(folders, 'folder')} ({name_some(folders)}) with videos only in folders below them. {LAYOUT} "
        f"{advice}"
    )


def _names(videos: Sequence[VideoFile]) -> list[str]:
    return [video.relative.name for video in videos]
