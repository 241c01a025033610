"""Checks that a video has the frames of a sign, before landmarks are computed.

A video of up to ten minutes is decoded as a whole, so that its frames are certain. An hour of video would take minutes
to decode, for each of its signs again. So the frames of a longer video, and of a segment that begins late, are found by
the times of its packets, if these are certain. A segment of up to a minute is then decoded. Faults of a longer one, as
of a piece of a long video, appear when it is extracted.
"""

from collections.abc import Sequence

from services.extractor.sources.instances import Instance
from services.extractor.sources.pieces import cut_into_pieces, is_too_long
from services.extractor.sources.segments import segment_of
from services.extractor.sources.selection import Usable
from services.extractor.video.decode import Segment, Video
from signet.errors import ClipError

# A segment of more frames is not decoded to check it: a minute at 30 frames a second.
_MOST_CHECKED_FRAMES = 1800


def find_clip(video: Video, instance: Instance, *, cuts: bool = False) -> Usable:
    """Find the frames of an instance in its video.

    Args:
        video: the video.
        instance: the instance.
        cuts: whether a whole video that is too long for a clip is cut into pieces. If not, it is refused.

    Raises:
        ClipError: the video does not decode, or has not these frames.
    """
    times = video.packet_times()
    if times is not None and not instance.is_whole:
        located = locate_segment(video, instance, times)
        if located is not None:
            return Usable(video.sha256, *located)
    if cuts and instance.is_whole and (times is None or is_too_long(times)):
        certain = video.times() if times is None else times
        if is_too_long(certain):
            return _cut(video, certain)
        return Usable(video.sha256, Segment(1, len(certain)))
    segment, note = segment_of(instance, video.times(limited=instance.is_whole))
    return Usable(video.sha256, segment, note)


def locate_segment(video: Video, instance: Instance, times: Sequence[float]) -> tuple[Segment, str] | None:
    """Find a segment by the times of packets.

    Returns:
        The segment and a note for people, as `segment_of`; None if the video must be decoded to find it.

    Raises:
        ClipError: a long video has not this segment, or the segment does not decode.
    """
    is_long = is_too_long(times)
    try:
        segment, note = segment_of(instance, times)
    except ClipError:
        if is_long:
            raise
        return None
    if not is_long and not video.starts_late(segment):
        return None
    if is_long and segment.frames == len(times):
        # A video that was trimmed to a sign is not so long.
        raise ClipError(
            "outside",
            f"{instance.clip_id}: {video.name} lasts {times[-1]:.0f} s, and does not have the part that the metadata "
            f"names ({note}). Download it again, or correct the metadata.",
        )
    video.check_length(segment)
    if segment.frames <= _MOST_CHECKED_FRAMES:
        video.check_segment(segment)
    return segment, note


def _cut(video: Video, times: Sequence[float]) -> Usable:
    pieces = cut_into_pieces(times)
    minutes = times[-1] / 60
    note = (
        f"{video.name} lasts {minutes:.1f} minutes, so it is cut into {len(pieces)} clips of "
        f"{minutes / len(pieces):.1f} minutes. If it shows several signs, list them in a table (videos.csv, or "
        "--table) with the columns file, gloss, start and end"
    )
    usable = [Usable(video.sha256, piece) for piece in pieces]
    usable[0] = Usable(video.sha256, pieces[0], note)
    return Usable(video.sha256, Segment(1, len(times)), note, pieces=tuple(usable))
