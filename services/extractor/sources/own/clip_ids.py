"""Ids of clips that come from files: made of the path below the folder, so that they stay when the folder moves."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

# The characters of the readable part of an id; an id has at most 128.
_MOST_READABLE = 80
_HASH_DIGITS = 12
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")


def make_clip_id(relative: PurePosixPath, part: str = "") -> str:
    """The id of a clip: a readable form of its path, and a hash of the exact path.

    Args:
        relative: path of the video below the folder of the corpus.
        part: the part of the video that the clip is, if a video has several clips.

    Returns:
        A name that can be part of a key. The same path and part give the same id, and different ones different ids.
    """
    text = f"{relative}\0{part}" if part else str(relative)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{_readable(relative)}-{digest}"


def _readable(relative: PurePosixPath) -> str:
    """The path without its suffix, in ASCII letters, digits, dots, dashes and underscores."""
    parts = []
    for name in relative.with_suffix("").parts:
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        parts.append(re.sub(r"\.{2,}", ".", _NOT_ALLOWED.sub("_", ascii_name)).strip("._-"))
    return "-".join(filter(None, parts))[:_MOST_READABLE].rstrip("._-") or "clip"
