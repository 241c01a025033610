"""Finds the frames of a sign in its video.

WLASL's metadata counts `frame_start` and `frame_end` at its own `fps`, which is 25 for every instance. Many of the
videos have another rate, so the numbers are times: number n is on screen from (n - 1) / fps to n / fps seconds. The
frames that the video shows in that time are taken, at any rate of the video, also at a variable one. Other sources give
times in seconds, or count the frames of the video itself.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from services.extractor.sources.instances import FRAMES_OF_VIDEO, TO_THE_END, WLASL_FPS, Instance
from services.extractor.video.decode import Segment
from signet.errors import ClipError

# A clip that was trimmed to its segment may differ in length by this share of the segment plus these frames. A segment
# may end after its video by as much.
_TOLERANCE_SHARE = 0.1
_TOLERANCE_FRAMES = 3
# Containers round timestamps, to milliseconds or finer. A quarter of a frame is the limit at very high rates.
_ROUNDING_SECONDS = 0.002
_ROUNDING_FRAMES = 0.25
# People write 30 for 29.97 and 24 for 23.976. Rates that differ by less than this share are the same rate.
_SAME_RATE = 0.002


def segment_of(instance: Instance, times: Sequence[float]) -> tuple[Segment, str]:
    """Find the frames of the sign in its video.

    Public mirrors distribute trimmed clips, while the metadata counts frames in the original. A video that ends before
    the segment does, and is as long as the segment or ends before it begins, was trimmed: the sign is the whole clip.

    Args:
        instance: the metadata of the clip.
        times: the display time of each frame of the video, in seconds; the first is 0, and each is later than the last.

    Returns:
        The frames to take, and a note for people if the metadata does not name these frames ("" otherwise).

    Raises:
        ClipError: the video does not contain the segment.
    """
    frames = len(times)
    if instance.is_whole:
        return Segment(1, frames), ""
    step = times[-1] / (frames - 1) if frames > 1 else 1 / WLASL_FPS
    seconds = times[-1] + step
    part = _named_part(instance, times, step)

    tolerance = _TOLERANCE_FRAMES + _TOLERANCE_SHARE * part.length
    rounding = min(_ROUNDING_SECONDS, _ROUNDING_FRAMES * step)
    is_as_long = min(abs(frames - part.length), abs(seconds * part.rate - part.length)) <= tolerance
    overrun = part.end - seconds
    has = f"has {frames} frames, {seconds:.2f} s"
    begins_after_video = part.start >= seconds - rounding
    if part.length >= 0 and (begins_after_video or (part.length and overrun > rounding and is_as_long)):
        return Segment(1, frames), f"trimmed already: {has}, metadata says {part.name}; taken whole"
    if part.length < 0 or overrun > tolerance / part.rate + rounding:
        raise ClipError(
            "outside",
            f"{instance.clip_id}: the metadata names {part.name}, but the video {has}. Download it again, or correct "
            "the metadata.",
        )
    note = f"ends early: {has}, metadata says {part.name}; taken to the end" if overrun > rounding else ""
    chosen = Segment(bisect_left(times, part.start - rounding) + 1, bisect_left(times, part.end - rounding))
    if chosen.frames < 1:
        raise ClipError(
            "too_few_frames", f"{instance.clip_id}: the video shows no frame in the time of {part.name}. It {has}."
        )
    return chosen, note


def count_frames_to_end(instance: Instance, fps: float) -> int:
    """The number of frames of a video with this rate, in frames per second, up to the end of an instance's part."""
    if instance.has_times:
        return math.ceil(instance.end_seconds * fps)
    if instance.fps == FRAMES_OF_VIDEO:
        return instance.frame_end
    return math.ceil(instance.frame_end / (instance.fps or WLASL_FPS) * fps)


@dataclass(frozen=True)
class _NamedPart:
    """The part of a video that an instance names.

    Attributes:
        start, end: its first and last moment, in seconds.
        length: its number of frames at `rate`; 0 if it goes to the end of the video.
        rate: the rate at which its frames are counted, in frames per second.
        name: the part as the metadata names it, for messages.
    """

    start: float
    end: float
    length: int
    rate: float
    name: str


def _named_part(instance: Instance, times: Sequence[float], step: float) -> _NamedPart:
    """The part that an instance names, in a video with these frame times; `step` is the mean time of a frame."""
    seconds = times[-1] + step
    start, end = max(1, instance.frame_start), instance.frame_end
    length = end - start + 1 if end != TO_THE_END else 0
    name = f"frames {start} to {end if end != TO_THE_END else 'the end'}"
    if instance.has_times:
        begin, finish = instance.start_seconds, instance.end_seconds or seconds
        length = round((finish - begin) / step) or -1 if instance.end_seconds else 0
        last = f"{instance.end_seconds:g} s" if instance.end_seconds else "the end"
        return _NamedPart(begin, finish, length, 1 / step, f"{begin:g} s to {last}")
    if instance.fps == FRAMES_OF_VIDEO:
        begin, finish = (times[number] if number < len(times) else number * step for number in (start - 1, end))
        return _NamedPart(begin, seconds if end in (TO_THE_END, len(times)) else finish, length, 1 / step, name)
    rate = instance.fps or WLASL_FPS
    if abs(rate * step - 1) < _SAME_RATE:
        rate = 1 / step
    finish = seconds if end == TO_THE_END else end / rate
    return _NamedPart((start - 1) / rate, finish, length, rate, f"{name} at {rate:g} per second")
