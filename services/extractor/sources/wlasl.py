"""Reads WLASL as it is published: one JSON file, and directories of <video_id>.mp4 files, many of which are missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from services.extractor.sources.clip_files import READ_SUFFIXES, find_clip_files
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import InstanceList
from services.extractor.sources.metadata import METADATA, parse_metadata
from signet.errors import InvalidInput, NotFound

# Directories that are searched for clips, relative to the metadata, the preferred first. WLASL's scripts download to
# raw_videos, convert to raw_videos_mp4, and cut to videos.
_CLIP_DIRECTORIES = ("clips", "videos", "raw_videos_mp4", "raw_videos", ".")

_MISSING_ADVICE = "`signet fetch` downloads the clips that still exist."

# The number of files that an error names.
_MOST_NAMED = 5


def read_wlasl(path: Path, clips: Path | None = None) -> VideoCorpus:
    """Read the metadata and find the clips.

    Args:
        path: the directory that holds `WLASL_v0.3.json`, or that file itself.
        clips: the directory of clips. By default, `clips/`, `videos/`, `raw_videos_mp4/`, `raw_videos/` and the
            directory of the metadata are searched.

    Raises:
        NotFound: the metadata, the directory or any video does not exist.
        InvalidInput: the metadata is not that of WLASL, or a directory cannot be read.
    """
    with readable(path):
        metadata = _find_metadata(path)
        return join_clips(_read_metadata(metadata), (metadata,), clips)


def join_clips(content: InstanceList, metadata: Sequence[Path], clips: Path | None = None) -> VideoCorpus:
    """Find the clips of instances of WLASL.

    Args:
        content: the instances.
        metadata: the files that list them; clips are searched near the first.
        clips: the directory of clips, as in `read_wlasl`.

    Raises:
        NotFound: the directory or any video does not exist.
    """
    if clips is not None and not clips.is_dir():
        raise NotFound(f"{clips}: no such directory. Name the one that holds the <video_id>.mp4 files.")
    directories = list_clip_directories(metadata[0], clips)
    found = find_clip_files(directories, content.instances)
    if not found.names:
        raise NotFound(
            f"{', '.join(map(str, directories))}: no <video_id>.mp4 file. Put the clips there, or name their directory "
            f"with --clips (or SIGNET_WLASL_CLIPS). {_MISSING_ADVICE}" + "".join(f" ({note}.)" for note in found.notes)
        )
    instances = (
        replace(instance, clip_id=found.restored_ids.get(instance.clip_id, instance.clip_id))
        for instance in content.instances
    )
    return VideoCorpus(
        instances=tuple(instances),
        folder=next(directory for directory in directories if directory.is_dir()),
        files=found.paths,
        metadata=tuple(metadata),
        names=found.names,
        notes=(*content.notes, *found.notes),
        missing_advice=_MISSING_ADVICE,
    )


def list_clip_directories(metadata: Path, clips: Path | None = None) -> list[Path]:
    """The directories in which `read_wlasl` looks for clips, the preferred first. They need not exist.

    Args:
        metadata: the metadata file, or its directory.
        clips: the directory of the clips, if it was named.
    """
    folder = metadata if metadata.is_dir() else metadata.parent
    return [clips] if clips is not None else [folder / name for name in _CLIP_DIRECTORIES]


def has_clips(folder: Path) -> bool:
    """Whether a directory has the metadata and at least one video where `read_wlasl` looks for clips."""
    if not (folder / METADATA).is_file():
        return False
    places = (folder.glob("*") if name == "." else (folder / name).rglob("*") for name in _CLIP_DIRECTORIES)
    return any(path.suffix.lower() in READ_SUFFIXES for paths in places for path in paths)


def read_metadata(path: Path) -> InstanceList:
    """Read the metadata alone. The path and the errors are those of `read_wlasl`."""
    with readable(path):
        return _read_metadata(_find_metadata(path))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a missing permission into an error that says how to grant it."""
    try:
        yield
    except PermissionError as error:
        raise InvalidInput(
            f"{error.filename}: cannot be read ({error.strerror}). Make it readable to the user that Signet runs as: "
            f"chmod -R a+rX {path}"
        ) from error


def _find_metadata(path: Path) -> Path:
    metadata = path / METADATA if path.is_dir() else path
    if not metadata.is_file():
        others = sorted(file.name for file in metadata.parent.glob("*.json"))[:_MOST_NAMED]
        there = f" The directory has {', '.join(others)}: to read another file, name the file itself." if others else ""
        raise NotFound(
            f"{metadata}: no such file. Name the directory that holds {METADATA} and the clips with --wlasl (or "
            f"SIGNET_WLASL); the file is at https://github.com/dxli94/WLASL.{there}"
        )
    return metadata


def _read_metadata(path: Path) -> InstanceList:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_metadata(data, str(path))
