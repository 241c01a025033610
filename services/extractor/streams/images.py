"""Decodes single pictures. The size in the header is checked before memory is allocated for the picture."""

import struct

import cv2
import numpy as np
import numpy.typing as npt

from services.extractor.video.limits import MAX_PIXELS, MAX_SIDE
from signet.errors import ClipError

# The largest file of a picture: a photo of a camera at 4096 x 2304 pixels.
MAX_IMAGE_BYTES = 4 << 20
# A smaller picture shows no hand that a network can find.
_MIN_SIDE = 16

_PNG = b"\x89PNG\r\n\x1a\n"
# Markers of JPEG that begin a frame header, and those that have no length. 0xC4, 0xC8 and 0xCC begin other segments.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def decode_image(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP file to RGB, uint8 [height, width, 3], upright as its EXIF orientation says.

    Raises:
        ClipError: the bytes are no such file, or the picture is too large or too small, or it cannot be decoded.
    """
    if not data:
        raise ClipError("empty", "the picture has no bytes. Send a JPEG, PNG or WebP file.")
    if len(data) > MAX_IMAGE_BYTES:
        raise ClipError(
            "too_large", f"the picture has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are allowed. Make it smaller."
        )
    width, height = read_image_size(data)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ClipError(
            "too_large",
            f"the picture has {width} x {height} pixels; at most 4096 x 2304 are allowed. Make it smaller.",
        )
    if min(width, height) < _MIN_SIDE:
        raise ClipError(
            "unsupported", f"the picture has {width} x {height} pixels; at least {_MIN_SIDE} x {_MIN_SIDE} are needed."
        )
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ClipError("undecodable", f"the picture cannot be decoded ({error.func}). Encode it again.") from error
    if picture is None:
        raise ClipError("undecodable", "the picture cannot be decoded: it is damaged or cut off. Encode it again.")
    return np.ascontiguousarray(picture[..., ::-1])


def read_image_size(data: bytes) -> tuple[int, int]:
    """The width and height in pixels that the header of a JPEG, PNG or WebP file declares.

    Raises:
        ClipError: the bytes are no such file, or its header is damaged.
    """
    size: tuple[int, int] | None
    if data.startswith(_PNG):
        size = struct.unpack(">II", data[16:24]) if len(data) >= 24 and data[12:16] == b"IHDR" else None
    elif data.startswith(b"\xff\xd8"):
        size = _jpeg_size(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp_size(data)
    else:
        raise ClipError(
            "html" if data.lstrip()[:1] == b"<" else "unsupported",
            f"the picture is neither JPEG, PNG nor WebP: it begins with {data[:16]!r}. Send one of these formats.",
        )
    if size is None:
        raise ClipError("truncated", "the picture is cut off, or its header is damaged. Encode it again.")
    return size


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Look for the frame header. Each step is at least one byte, so that the search ends.

    A picture without an end is cut off. The decoder would fill the rest with grey.
    """
    if data.rfind(b"\xff\xd9") < len(data) // 2:
        return None
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in _BARE_MARKERS:
            place += 2
            continue
        if marker in {_START_OF_SCAN, _END_OF_IMAGE}:
            return None
        if marker in _FRAME_MARKERS:
            if place + 9 > len(data):
                return None
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return (width, height) if width and height else None
        place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None
