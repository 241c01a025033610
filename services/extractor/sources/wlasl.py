"""Reads WLASL as it is published: one JSON file and a directory of <video_id>.mp4 files, many of which are missing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from signet.errors import InvalidInput, NotFound
from signet.store import keys

METADATA = "WLASL_v0.3.json"
SPLITS = ("train", "val", "test")

# Directories that are searched for clips, relative to the metadata. The first that has a clip is used.
_CLIP_DIRECTORIES = ("clips", "videos", ".")
# WLASL's value for "to the end of the video".
TO_THE_END = -1
# The value of a missing bounding box.
NO_BOX = (0, 0, 0, 0)
# The rate at which WLASL counts frames.
WLASL_FPS = 25.0
# Rates over this value are not those of a video.
_MOST_FPS = 1000.0


class _Instance(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    video_id: str
    split: Literal["train", "val", "test"]
    signer_id: str = ""
    frame_start: int = 1
    frame_end: int = TO_THE_END
    fps: object = None
    source: str = ""
    bbox: tuple[int, ...] = NO_BOX


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    gloss: str
    instances: list[_Instance]


@dataclass(frozen=True)
class Instance:
    """One performance of one gloss.

    `frame_start` and `frame_end` are 1-based and inclusive; an end of -1 is the end of the video. They count frames at
    `fps`, which is not the rate of the video; 0 if the metadata has no usable rate. `source` is the publisher of the
    video, and `box` the signer's bounding box in it: left, top, right, bottom, in pixels.
    """

    video_id: str
    gloss: str
    split: str
    signer: str
    frame_start: int
    frame_end: int
    source: str = ""
    box: tuple[int, int, int, int] = NO_BOX
    fps: float = WLASL_FPS

    @property
    def is_whole(self) -> bool:
        """Whether the sign is the whole video."""
        return self.frame_start <= 1 and self.frame_end == TO_THE_END


@dataclass(frozen=True)
class Wlasl:
    """The metadata joined with a directory of clips.

    Attributes:
        instances: all instances, in the order of the metadata.
        metadata: path of the metadata file.
        clips: path of the directory of clips.
        files: names of the clip files in that directory.
    """

    instances: tuple[Instance, ...]
    metadata: Path
    clips: Path
    files: frozenset[str]

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
        instances = _read_metadata(metadata)
        if clips is not None and not clips.is_dir():
            raise NotFound(f"{clips}: no such directory. Name the one that holds the <video_id>.mp4 files.")
        directories = [clips] if clips is not None else [metadata.parent / name for name in _CLIP_DIRECTORIES]
        for directory in directories:
            files = frozenset(file.name for file in directory.glob("*.mp4"))
            if files:
                return Wlasl(instances, metadata, directory, files)
    raise NotFound(
        f"{', '.join(map(str, directories))}: no <video_id>.mp4 file. Put the clips there, or name their directory "
        "with --clips (or SIGNET_WLASL_CLIPS). https://github.com/dxli94/WLASL says where they come from."
    )


def read_metadata(path: Path) -> tuple[Instance, ...]:
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


def _read_metadata(path: Path) -> tuple[Instance, ...]:
    try:
        entries = TypeAdapter(list[_Entry]).validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the whole file"
        raise InvalidInput(
            f"{path}: not the metadata of WLASL: {where}: {fault['msg']}. Download {METADATA} again from "
            "https://github.com/dxli94/WLASL."
        ) from error
    instances = tuple(
        Instance(
            video_id=keys.check_name("clip", listed.video_id),
            gloss=entry.gloss,
            split=listed.split,
            signer=listed.signer_id,
            frame_start=listed.frame_start,
            frame_end=listed.frame_end,
            source=listed.source,
            box=_box(listed.bbox),
            fps=_rate(listed.fps),
        )
        for entry in entries
        for listed in entry.instances
    )
    twice, times = Counter(instance.video_id for instance in instances).most_common(1)[0] if instances else ("", 0)
    if times != 1:
        fault_text = f"video_id {twice!r} occurs {times} times" if instances else "it lists no instance"
        raise InvalidInput(f"{path}: not the metadata of WLASL: {fault_text}. Download {METADATA} again.")
    return instances


def _box(numbers: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The bounding box; `NO_BOX` if the metadata has none. Only imported landmarks need it."""
    if len(numbers) != len(NO_BOX):
        return NO_BOX
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _rate(value: object) -> float:
    """The rate at which an instance counts frames; 0 if it is missing or no possible rate."""
    try:
        rate = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return rate if 0 < rate <= _MOST_FPS and not isinstance(value, bool) else 0.0
