"""Reads WLASL as it is published: one JSON file and a directory of <video_id>.mp4 files, many of which are missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.extractor.sources.metadata import METADATA, Instance, Metadata, parse_metadata
from signet.errors import InvalidInput, NotFound

# Directories that are searched for clips, relative to the metadata. The first that has a clip is used.
_CLIP_DIRECTORIES = ("clips", "videos", ".")


@dataclass(frozen=True)
class Wlasl:
    """The metadata joined with a directory of clips.

    Attributes:
        instances: all usable instances, in the order of the metadata.
        metadata: path of the metadata file.
        clips: path of the directory of clips.
        files: names of the clip files in that directory.
        notes: remarks for people about what was not used.
    """

    instances: tuple[Instance, ...]
    metadata: Path
    clips: Path
    files: frozenset[str]
    notes: tuple[str, ...] = ()

    def path(self, instance: Instance) -> Path:
        """Path of the instance's clip, whether or not the file exists."""
        return self.clips / _file(instance)

    def has(self, instance: Instance) -> bool:
        """Whether the instance's clip exists."""
        return _file(instance) in self.files


def read_wlasl(path: Path, clips: Path | None = None) -> Wlasl:
    """Read the metadata and list the clips.

    Args:
        path: the directory that holds `WLASL_v0.3.json`, or that file itself.
        clips: the directory of clips. By default the first of `clips/`, `videos/` and the directory of the metadata
            that has an mp4 file.

    Raises:
        NotFound: the metadata or the directory does not exist.
        InvalidInput: the metadata is not that of WLASL, or the directory cannot be read.
    """
    with _readable(path):
        metadata = _find_metadata(path)
        content = _read_metadata(metadata)
        if clips is not None and not clips.is_dir():
            raise NotFound(f"{clips}: no such directory. Name the one that holds the <video_id>.mp4 files.")
        directories = [clips] if clips is not None else [metadata.parent / name for name in _CLIP_DIRECTORIES]
        for directory in directories:
            files = frozenset(file.name for file in directory.glob("*.mp4"))
            if files:
                return Wlasl(content.instances, metadata, directory, files, content.notes)
    raise NotFound(
        f"{', '.join(map(str, directories))}: no <video_id>.mp4 file. Put the clips there, or name their directory "
        "with --clips (or SIGNET_WLASL_CLIPS). https://github.com/dxli94/WLASL says where they come from."
    )


def read_metadata(path: Path) -> Metadata:
    """Read the metadata alone. The path and the errors are those of `read_wlasl`."""
    with _readable(path):
        return _read_metadata(_find_metadata(path))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
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
        raise NotFound(
            f"{metadata}: no such file. Name the directory that holds {METADATA} and the clips with --wlasl (or "
            "SIGNET_WLASL); the file is at https://github.com/dxli94/WLASL."
        )
    return metadata


def _file(instance: Instance) -> str:
    return f"{instance.video_id}.mp4"


def _read_metadata(path: Path) -> Metadata:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_metadata(data, str(path))
