"""Finds the frames of a sign in its video.

WLASL's metadata counts `frame_start` and `frame_end` at its own `fps`, which is 25 for every instance. Many of the
videos have another rate, so the numbers are times: number n is on screen from (n - 1) / fps to n / fps seconds. The
frames that the video shows in that time are taken, at any rate of the video, also at a variable one.
"""

from bisect import bisect_left
from collections.abc import Sequence

from services.extractor.sources.instances import TO_THE_END, WLASL_FPS, Instance
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
    start, end = max(1, instance.frame_start), instance.frame_end
    if instance.is_whole:
        return Segment(1, frames), ""
    step = times[-1] / (frames - 1) if frames > 1 else 1 / WLASL_FPS
    seconds = times[-1] + step
    rate = instance.fps or WLASL_FPS
    if abs(rate * step - 1) < _SAME_RATE:
        rate = 1 / step
    first, last = (start - 1) / rate, seconds if end == TO_THE_END else end / rate

    length = end - start + 1 if end != TO_THE_END else 0
    tolerance = _TOLERANCE_FRAMES + _TOLERANCE_SHARE * length
    rounding = min(_ROUNDING_SECONDS, _ROUNDING_FRAMES * step)
    is_as_long = min(abs(frames - length), abs(seconds * rate - length)) <= tolerance
    overrun = last - seconds
    named = f"frames {start} to {end if end != TO_THE_END else 'the end'} at {rate:g} per second"
    has = f"has {frames} frames, {seconds:.2f} s"
    if length >= 0 and (first >= seconds - rounding or (length and overrun > rounding and is_as_long)):
        return Segment(1, frames), f"trimmed already: {has}, metadata says {named}; taken whole"
    if length < 0 or overrun > tolerance / rate + rounding:
        raise ClipError(
            "outside",
            f"{instance.clip_id}: the metadata names {named}, but the video {has}. Download it again, or correct the "
            "metadata.",
        )
    note = f"ends early: {has}, metadata says {named}; taken to the end" if overrun > rounding else ""
    chosen = Segment(bisect_left(times, first - rounding) + 1, bisect_left(times, last - rounding))
    if chosen.frames < 1:
        raise ClipError(
            "too_few_frames", f"{instance.clip_id}: the video shows no frame in the time of {named}. It {has}."
        )
    return chosen, note
