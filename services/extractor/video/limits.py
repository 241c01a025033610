"""Limits of the videos that can be used, and the reasons why others are refused."""

import shlex
from typing import NoReturn

from signet.errors import ClipError
from signet.rpc.limits import MAX_MESSAGE_BYTES

# Every reason why a clip can be unusable. The reason is a metric label, so the set is fixed.
REASONS = (
    "crashed",  # the worker process died while it worked on the clip
    "damaged",  # too many frames were concealed by the decoder
    "empty",  # zero bytes
    "html",  # a web page
    "image",  # a still picture
    "no_video",  # a container without a video stream
    "outside",  # the video does not contain the requested segment
    "text_mangled",  # binary data that was read and written as text
    "timeout",  # took longer than the time limit for a clip
    "too_few_frames",
    "too_large",  # more bytes, pixels, frames or seconds than the limits below
    "truncated",  # cut off
    "undecodable",  # the decoder reported an error
    "unreadable",  # the file cannot be read: permissions, a directory, or deleted
    "unsupported",  # not a supported container
)

# 0.2 s at 25 frames a second is the shortest stroke of a sign. The shortest clip of WLASL has 19 frames.
MIN_FRAMES = 5
# A video that is held in memory as a whole: one that was sent. The largest WLASL clip has 2 MB. A message of gRPC has
# half as much.
MAX_FILE_BYTES = 2 * MAX_MESSAGE_BYTES
# A video in a file is read in parts. Three hours that a phone records at 1080p and 60 frames a second have this size,
# and it is hashed in a minute.
MAX_VIDEO_BYTES = 16 * 1024**3
# 4096 x 2304 is the largest size that phones record, in either orientation. One frame is 28 MB of RGB.
MAX_PIXELS = 4096 * 2304
# OpenCV crops no picture of 32,767 pixels or more in a direction. Panoramas of this width have too many pixels.
MAX_SIDE = 16_384
# MAX_FRAMES at 60 frames a second. Up to this value, float32 timestamps are more precise than 0.1 ms.
MAX_SECONDS = 600.0
# Decoders conceal damaged frames. Sampling bridges a few of them, as it bridges a lost hand; a larger share is refused.
MAX_DAMAGED_SHARE = 0.1


def how_to_cut(name: str) -> str:
    """The command that cuts a video, for messages."""
    return f"Cut it to the sign. This takes 10 s from second 5 on: ffmpeg -ss 5 -i {shlex.quote(name)} -t 10 sign.mp4"


def check_bytes(size: int, limit: int, name: str) -> None:
    """Raise the error for a video of more bytes than the limit."""
    if size > limit:
        refuse_size(name, f"{size} bytes", f"{limit} bytes", how_to_cut(name))


def refuse_size(name: str, size: str, limit: str, remedy: str) -> NoReturn:
    """Raise the error for a video that is too large."""
    raise ClipError("too_large", f"{name}: {size}; the limit is {limit}. {remedy}")
