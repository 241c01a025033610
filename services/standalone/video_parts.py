"""Cuts a video of any length into parts, and gives the landmarks of a part. These functions run in worker processes.

A part begins with a second of the part before it. So the tracker has found the signer when the part's own frames begin.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.extractor.jobs.worker import Labels, extract_file, note_packets, open_video
from services.extractor.sources.selection import Usable
from services.extractor.tracking.trackers import TrackingQuality
from services.extractor.video.decode import Segment
from services.extractor.video.limits import MIN_FRAMES
from signet.landmarks import load

PART_SECONDS = 30.0
LEAD_SECONDS = 1.0
# A part with more frames is divided: a video with a wrong clock can have any number of frames in a second.
_MOST_FRAMES = 6_000


@dataclass(frozen=True)
class VideoPart:
    """A part of a video. Frames are counted from 1.

    Attributes:
        lead: the first frame that is tracked.
        start: the first frame of the part.
        end: its last frame.
        lead_seconds: the time of the frame `lead`.
        start_seconds: the time of the frame `start`.
        end_seconds: the time of the frame after the part.
    """

    lead: int
    start: int
    end: int
    lead_seconds: float
    start_seconds: float
    end_seconds: float

    @property
    def seconds(self) -> float:
        """The length of the part."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True)
class VideoPlan:
    """A video, and its parts in their order."""

    sha256: str
    seconds: float
    parts: tuple[VideoPart, ...]


@dataclass(frozen=True, eq=False)
class TrackedPart:
    """The landmarks of a part.

    Attributes:
        seconds: float64 [T], the time of each frame in the video.
        joints: float16 [T, 75, 3], NaN where a part of the body is absent.
        warnings: what makes the landmarks doubtful.
    """

    seconds: npt.NDArray[np.float64]
    joints: npt.NDArray[np.float16]
    warnings: tuple[str, ...]


def plan_parts(path: Path, part_seconds: float) -> VideoPlan:
    """Read the times of a video's frames, and cut it into parts of about this length. Runs in a worker process.

    If the packets of the file do not tell the times, the whole video is decoded.

    Raises:
        ClipError: the file is not a video that can be decoded.
    """
    video = open_video(path)
    note_packets(video, None)
    times = video.packet_times()
    if times is None:
        times = video.times()
    return VideoPlan(video.sha256, times[-1], cut_into_parts(times, part_seconds))


def cut_into_parts(times: Sequence[float], part_seconds: float) -> tuple[VideoPart, ...]:
    """Cut a video with these frame times into parts of about this length. None has fewer than `MIN_FRAMES` frames."""
    starts = [0]
    while starts[-1] < len(times):
        due = bisect_left(times, times[starts[-1]] + part_seconds)
        starts.append(min(max(due, starts[-1] + MIN_FRAMES), starts[-1] + _MOST_FRAMES, len(times)))
    if len(starts) > 2 and starts[-1] - starts[-2] < MIN_FRAMES:
        del starts[-2]
    ends = [*times, times[-1] + 1.0]
    parts = []
    for start, end in pairwise(starts):
        lead = max(bisect_left(times, times[start] - LEAD_SECONDS), start - _MOST_FRAMES)
        parts.append(VideoPart(lead + 1, start + 1, end, times[lead], times[start], ends[end]))
    return tuple(parts)


def extract_part(path: Path, sha256: str, part: VideoPart) -> bytes:
    """The landmark tensor of a part, with the frames before it. Runs in a worker process.

    Raises:
        ClipError: the part cannot be decoded, or the file was changed.
    """
    usable = Usable(sha256, Segment(part.lead, part.end))
    return extract_file(path, usable, Labels("part"), TrackingQuality.FAST).data


def read_part(data: bytes, part: VideoPart) -> TrackedPart:
    """The frames of a part, without those before it.

    Raises:
        InvalidLandmarks: the bytes are no landmark tensor.
    """
    clip = load(data, "the landmarks of a part of the video")
    seconds = part.lead_seconds + clip.timestamps.astype(np.float64)
    # The times of a tensor are float32.
    own = seconds >= part.start_seconds - 1e-3
    return TrackedPart(seconds[own], clip.landmarks[own], clip.record.warnings)
