"""Cuts long videos into pieces, each of which is a clip with an id of its own."""

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from services.extractor.sources.instances import Instance
from services.extractor.video.decode import Segment
from services.extractor.video.limits import MAX_SECONDS
from signet.landmarks.tensor import MAX_FRAMES

_SUFFIX = re.compile(r"-part-([1-9]\d*)-of-([1-9]\d*)")
# Ends of pieces are rounded by less than this share of the time from frame to frame.
_ROUNDING = 0.25


def is_too_long(times: Sequence[float]) -> bool:
    """Whether a video with these frame times, in seconds, is too long for one clip."""
    return len(times) > MAX_FRAMES or times[-1] - times[0] > MAX_SECONDS


def cut_into_pieces(times: Sequence[float]) -> tuple[Segment, ...]:
    """Cut a video into the smallest number of equally long pieces that are short enough for a clip.

    Args:
        times: the display time of each frame, in seconds; the first is 0, and each is later than the last.

    Returns:
        The pieces in their order. Each frame is in one piece. A piece in which the video shows no frame is left out.
    """
    frames = len(times)
    step = times[-1] / max(1, frames - 1)
    seconds = times[-1] + step
    count = max(math.ceil(seconds / MAX_SECONDS), math.ceil(frames / MAX_FRAMES))
    while True:
        starts = [bisect_left(times, number * seconds / count - _ROUNDING * step) for number in range(count)]
        ends = [*starts[1:], frames]
        pieces = tuple(Segment(start + 1, end) for start, end in zip(starts, ends, strict=True) if end > start)
        if not any(is_too_long(times[piece.start - 1 : piece.end]) for piece in pieces):
            return pieces
        count += 1  # frames are denser in a part of the video


def make_piece(instance: Instance, number: int, count: int) -> Instance:
    """The instance of a piece of a long video; pieces are counted from 1."""
    return replace(instance, clip_id=make_piece_id(instance.clip_id, number, count), part_of=instance.clip_id)


def make_piece_id(clip_id: str, number: int, count: int) -> str:
    """The id of a piece of the video with this id; `parse_piece_id` reads it."""
    return f"{clip_id}-part-{number}-of-{count}"


def parse_piece_id(clip_id: str) -> tuple[str, int, int]:
    """The id of the whole video, the number of the piece, and the number of pieces; (clip_id, 1, 1) of other clips."""
    found = _SUFFIX.search(clip_id)
    if found is None or found.end() != len(clip_id) or int(found[1]) > int(found[2]):
        return clip_id, 1, 1
    return clip_id[: found.start()], int(found[1]), int(found[2])
