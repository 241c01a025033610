"""The length of an encoded video by its header, without a video library: the client of a service has none."""

import re
import struct

# The lowest rate at which people send video. It gives an upper estimate of the length where the header has none, as in
# a browser's recordings. The clips of WLASL have more than this.
_LOWEST_BYTES_PER_SECOND = 20_000

_EBML = b"\x1a\x45\xdf\xa3"
# Matroska's elements TimestampScale (a number of 3 bytes or 4) and Duration (a float of 4 bytes or 8).
_TIMESTAMP_SCALE = re.compile(rb"\x2a\xd7\xb1([\x81-\x84])(.{4})", re.DOTALL)
_DURATION = re.compile(rb"\x44\x89([\x84\x88])(.{8})", re.DOTALL)
_DEFAULT_SCALE_NANOSECONDS = 1_000_000
# A header is at the beginning of a Matroska file.
_HEAD_BYTES = 65_536


def estimate_seconds(data: bytes) -> float:
    """The length of a video in seconds: as its header says, otherwise an upper estimate from its size.

    The number is only good enough to choose a deadline. A file that is no video has some length, too.
    """
    return _declared_seconds(data) or len(data) / _LOWEST_BYTES_PER_SECOND


def _declared_seconds(data: bytes) -> float:
    """The length that an MP4, MOV, Matroska, WebM or AVI file declares; 0 if it declares none that makes sense."""
    try:
        if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
            seconds = _avi_seconds(data)
        elif data.startswith(_EBML):
            seconds = _matroska_seconds(data[:_HEAD_BYTES])
        else:
            seconds = _mp4_seconds(data)
    except (struct.error, IndexError):  # the header is cut off
        return 0.0
    return seconds if 0 < seconds < len(data) else 0.0  # no video has less than a byte a second


def _mp4_seconds(data: bytes) -> float:
    """The duration of the box `mvhd`, or of `mehd` in a fragmented file (ISO/IEC 14496-12, 8.2.2 and 8.8.2)."""
    start = data.rfind(b"mvhd") + 4
    if start < 4:
        return 0.0
    wide = data[start] == 1
    scale, duration = (
        struct.unpack_from(">IQ", data, start + 20) if wide else struct.unpack_from(">II", data, start + 12)
    )
    if not duration:
        fragments = data.find(b"mehd") + 4
        if fragments >= 4:
            (duration,) = struct.unpack_from(">Q" if data[fragments] == 1 else ">I", data, fragments + 4)
    return float(duration / scale) if scale else 0.0


def _matroska_seconds(head: bytes) -> float:
    """The duration of the element Info (RFC 9559, 5.1.2)."""
    found = _DURATION.search(head)
    if not found:
        return 0.0
    (ticks,) = struct.unpack_from(">f" if found[1] == b"\x84" else ">d", found[2])
    scale = _TIMESTAMP_SCALE.search(head)
    nanoseconds = int.from_bytes(scale[2][: scale[1][0] & 0x0F], "big") if scale else _DEFAULT_SCALE_NANOSECONDS
    return float(ticks * nanoseconds / 1e9)


def _avi_seconds(data: bytes) -> float:
    """The number of frames times the duration of a frame, in the chunk `avih`."""
    start = data.find(b"avih") + 8
    microseconds, frames = struct.unpack_from("<I", data, start)[0], struct.unpack_from("<I", data, start + 16)[0]
    return float(microseconds * frames / 1e6)
