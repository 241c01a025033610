"""Checks a file in a worker process: whether it is a video that the extractor can read, and has the signs' frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.instances import Instance
from services.extractor.sources.pieces import is_too_long
from services.extractor.sources.segments import segment_of
from services.extractor.sources.verification import locate_segment
from services.extractor.video.container import APNG, AVI, GIF, MATROSKA, MP4
from services.extractor.video.decode import Video
from signet.errors import ClipError

# The suffix of a file of each format. Others that are usual for a format are kept.
_SUFFIXES = {
    MP4: (".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".f4v", ".qt"), MATROSKA: (".webm", ".mkv"), AVI: (".avi",),
    GIF: (".gif",), APNG: (".apng",),
}  # fmt: skip

# The reasons of clips whose video has other frames than they name.
_OUTSIDE = frozenset({"outside", "too_few_frames"})


@dataclass(frozen=True)
class CheckedVideo:
    """A usable video.

    Attributes:
        sha256: hash of its bytes.
        suffixes: suffixes that a file of its format may have, the preferred first.
        frames: the number of its frames.
        seconds: the display time of its last frame.
        outside: instances whose segment it does not have, by clip_id, with the reason for people.
    """

    sha256: str
    suffixes: tuple[str, ...]
    frames: int
    seconds: float
    outside: dict[str, str]


def check_video(path: Path, instances: Sequence[Instance], name: str) -> CheckedVideo:
    """Decode a video, and find the segments of instances in it. Call it in a worker process.

    Of a video that is too long for a clip, only the segments are decoded, as the extraction does it.

    Args:
        path: the file.
        instances: the instances whose video it is.
        name: what messages call the file.

    Raises:
        ClipError: the file is no usable video.
    """
    video = Video(path, name)
    times = video.packet_times()
    is_long = times is not None and is_too_long(times) and not any(instance.is_whole for instance in instances)
    if times is None or not is_long:
        # As the extractor does: a sign may be a part of a longer video.
        times = video.times(limited=all(instance.is_whole for instance in instances))
    outside = {}
    for instance in instances:
        try:
            if is_long:
                locate_segment(video, instance, times)
            else:
                segment_of(instance, times)
        except ClipError as error:
            if error.reason not in _OUTSIDE:
                raise
            outside[instance.clip_id] = str(error)
    return CheckedVideo(video.sha256, _SUFFIXES[video.container], len(times), times[-1], outside)


def check_in_worker(pool: WorkerPool, path: Path, instances: Sequence[Instance], name: str) -> CheckedVideo | ClipError:
    """Check one file in a worker process. A file that kills the worker is no usable video.

    Raises:
        WorkersStopped: the pool was closed.
    """
    jobs = [(None, (path, tuple(instances), name))]
    [(_, outcome)] = pool.each(check_video, jobs)
    return outcome
