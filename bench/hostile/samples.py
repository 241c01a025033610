"""The videos that the fuzz bench mutates: small ones in every container that is read, and the shortest real clips."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import av

from bench.hostile.videos import encode
from services.extractor.sources.wlasl import read_wlasl

_BIT_EXACT = {"fflags": "+bitexact"}
_FRAGMENTS = _BIT_EXACT | {"movflags": "frag_every_frame+empty_moov+default_base_moof"}

# The encoders for each container.
_ENCODERS: dict[str, tuple[str, ...]] = {
    "mp4": ("libx264", "libx265", "mpeg4", "libsvtav1", "libvpx-vp9"),
    "mov": ("libx264", "mjpeg", "prores", "qtrle"),
    "webm": ("libvpx", "libvpx-vp9", "libsvtav1"),
    "mkv": ("libx264", "ffv1", "mpeg2video", "msmpeg4", "mjpeg"),
    "avi": ("mpeg4", "msmpeg4", "mjpeg", "huffyuv", "wmv2"),
    "gif": ("gif",),
    "apng": ("apng",),
}
_CANDIDATES = 60
_MOST_FRAMES = 40


@dataclass(frozen=True)
class Sample:
    """A file, and the container that its name or its making says."""

    name: str
    container: str
    data: bytes


def make_samples() -> list[Sample]:
    """Videos of 12 frames in every container that is read. The same bytes each time."""
    os.environ.setdefault("SVT_LOG", "1")  # its encoder writes dozens of lines otherwise
    samples = []
    for container, codecs in _ENCODERS.items():
        for codec in codecs:
            data = encode(f"a.{container}", codec, noise=True, options=_BIT_EXACT)
            samples.append(Sample(f"{container}-{codec}", container, data))
    fragments = encode("a.mp4", noise=True, options=_FRAGMENTS)
    samples.append(Sample("mp4-fragments", "mp4", fragments))
    samples.append(Sample("mkv-2-tracks", "mkv", encode("a.mkv", "mpeg4", tracks=2, noise=True, options=_BIT_EXACT)))
    return samples


def find_shortest_clips(wlasl: Path, count: int) -> list[Sample]:
    """The clips with the fewest frames, of the smallest files of WLASL."""
    corpus = read_wlasl(wlasl)
    paths = [(clip.clip_id, corpus.path(clip)) for clip in corpus.instances if clip.is_whole and corpus.has(clip)]
    small = sorted(paths, key=lambda item: (item[1].stat().st_size, item[0]))[:_CANDIDATES]
    short = sorted((frames, clip_id, path) for clip_id, path in small if (frames := _count_frames(path)))
    return [Sample(f"clip-{clip_id}", "real clip", path.read_bytes()) for _, clip_id, path in short[:count]]


def _count_frames(path: Path) -> int:
    """The number of frames that a video declares; 0 if it is no video."""
    try:
        with av.open(str(path)) as file:
            return int(file.streams.video[0].frames)
    except (av.FFmpegError, IndexError):
        return 0


def read_folder(folder: Path) -> list[Sample]:
    """All files of a folder and its subfolders, in order."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        Sample(re.sub(r"[^\w.-]+", "-", str(path.relative_to(folder.parent))), folder.name, path.read_bytes())
        for path in files
    ]
