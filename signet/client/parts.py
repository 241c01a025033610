"""The messages of ExtractClipStream: a video in chunks, and landmark tensors in pieces."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signet.errors import InvalidInput
from signet.landmarks import Landmarks, load
from signet.v1 import extractor_pb2

VideoSource = str | os.PathLike[str] | bytes
VideoChunks = VideoSource | Iterable[bytes]

# A server takes chunks of at most 4 MiB.
_CHUNK_BYTES = 1 << 20
_MAX_CLIP_ID = 200


@dataclass(frozen=True)
class LandmarkPart:
    """One landmark tensor of a video. A video of at most ten minutes has one."""

    number: int  # from 0
    data: bytes  # the landmark tensor v1, as docs/landmarks-v1.md defines it

    def landmarks(self) -> Landmarks:
        """Decode the landmark tensor.

        Raises:
            InvalidLandmarks: the server sent something else.
        """
        return load(self.data, f"part {self.number}")


def upload_requests(video: VideoSource) -> Iterator[Any]:
    """The messages that send a video: the first one has its name and its size.

    Raises:
        InvalidInput: the file cannot be read.
    """
    size, chunks = open_chunks(video)
    name = "video" if isinstance(video, bytes) else Path(video).name
    return _requests(name[:_MAX_CLIP_ID], size, chunks)


def open_chunks(video: VideoChunks) -> tuple[int, Iterator[bytes]]:
    """The size of a video in bytes, and its chunks. The size is 0 if chunks are given: it is not known.

    Raises:
        InvalidInput: the file cannot be read. The chunks raise it, too.
    """
    if isinstance(video, bytes):
        return len(video), _slice(video)
    if not isinstance(video, str | os.PathLike):
        return 0, (piece for chunk in video for piece in _slice(chunk))
    path = Path(video)
    try:
        return path.stat().st_size, _read(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


class PartJoiner:
    """Joins the pieces of an answer to landmark tensors."""

    def __init__(self) -> None:
        self._number = 0
        self._pieces: list[bytes] = []

    def add(self, response: Any) -> LandmarkPart | None:
        """Add a message; returns the part before it if the message begins another one."""
        done = self.finish() if response.part != self._number else None
        self._number = response.part
        self._pieces.append(response.landmarks)
        return done

    def finish(self) -> LandmarkPart | None:
        """The part that is complete because the answer has ended; None if there is none."""
        pieces, self._pieces = self._pieces, []
        return LandmarkPart(self._number, b"".join(pieces)) if pieces else None


def _requests(name: str, size: int, chunks: Iterator[bytes]) -> Iterator[Any]:
    first = True
    for chunk in chunks:
        if first:
            yield extractor_pb2.ExtractClipStreamRequest(chunk=chunk, clip_id=name, size=size)
            first = False
        else:
            yield extractor_pb2.ExtractClipStreamRequest(chunk=chunk)


def _slice(video: bytes) -> Iterator[bytes]:
    for start in range(0, len(video), _CHUNK_BYTES):
        yield video[start : start + _CHUNK_BYTES]


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    reason = getattr(error, "strerror", None) or error
    return InvalidInput(f"{path}: cannot be read ({reason}). Name the file of one video.")
