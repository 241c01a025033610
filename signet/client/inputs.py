"""The clips that a client sends: files, bytes and landmark tensors."""

import math
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from signet.client.clip_length import estimate_seconds
from signet.errors import InvalidInput
from signet.landmarks import Landmarks, dump
from signet.rpc.limits import MAX_MESSAGE_BYTES
from signet.safetensors_header import LENGTH_BYTES

# A path of a video or of a landmark tensor, the bytes of one of them, or a clip of `signet.landmarks`.
ClipSource = str | os.PathLike[str] | bytes | Landmarks

LANDMARKS_SUFFIX = ".safetensors"

# The time to wait for an answer: a minute, and four times the work of one core on a video of 30 frames a second. A
# frame takes 50 ms of it. The extractor may work on other clips at the same time. Longer videos are refused at once.
LEAST_SECONDS = 60.0
SECONDS_PER_SECOND = 4 * 0.05 * 30
_LONGEST_VIDEO_SECONDS = 600.0


@dataclass(frozen=True)
class ClipInput:
    """A clip as it is sent."""

    kind: str  # "video" or "landmarks": the name of its field in RecognizeRequest
    data: bytes
    path: str = ""  # the path of its file; "" if it is not a file

    @property
    def default_timeout(self) -> float:
        """The seconds to wait for the answer."""
        seconds = min(estimate_seconds(self.data), _LONGEST_VIDEO_SECONDS) if self.kind == "video" else 0.0
        return math.ceil(LEAST_SECONDS + SECONDS_PER_SECOND * seconds)

    def name_in_message(self, message: str) -> str:
        """A message of the server with the path of the clip. Servers call each video "video"."""
        if not self.path:
            return message
        named = message.removeprefix("video: ").replace(" -i video ", f" -i {shlex.quote(self.path)} ")
        return f"{self.path}: {named}"


def read_clip(source: ClipSource) -> ClipInput:
    """Read a clip. Whether bytes are a video or a landmark tensor is seen from their content.

    Raises:
        InvalidInput: the file cannot be read, or the clip is too large for a message.
    """
    if isinstance(source, Landmarks):
        return ClipInput("landmarks", dump(source))
    if isinstance(source, bytes):
        clip = ClipInput("landmarks" if _is_safetensors(source, len(source)) else "video", source)
        if len(source) > MAX_MESSAGE_BYTES:
            raise InvalidInput(f"the clip has {len(source)} bytes; a call carries at most {MAX_MESSAGE_BYTES}.")
        return clip
    path = os.fspath(source)
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(MAX_MESSAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path}: cannot be read ({reason}). Name the file of one clip.") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidInput(
            f"{path}: {max(size, len(data))} bytes; a call carries at most {MAX_MESSAGE_BYTES}. Cut it to the sign. "
            f"This takes 10 s from second 5 on: ffmpeg -ss 5 -i {shlex.quote(path)} -t 10 sign.mp4"
        )
    named_so = Path(path).suffix.lower() == LANDMARKS_SUFFIX
    return ClipInput("landmarks" if named_so or _is_safetensors(data, len(data)) else "video", data, path)


def is_landmark_file(path: Path) -> bool:
    """Whether a file is a landmark tensor, as its name or its first bytes say it; False if it cannot be read."""
    if path.suffix.lower() == LANDMARKS_SUFFIX:
        return True
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            return _is_safetensors(file.read(LENGTH_BYTES + 1), path.stat().st_size)
    except (OSError, ValueError):
        return False


def _is_safetensors(data: bytes, size: int) -> bool:
    """Whether a file with these first bytes is a safetensors file: a length, and an object in JSON. No video is."""
    return data[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" and int.from_bytes(data[:LENGTH_BYTES], "little") < size
