"""Tells animated GIF, PNG and WebP pictures from still ones, by the structure of the file."""

from dataclasses import dataclass

_GIF_HEADER_BYTES = 13
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C
_PNG_SIGNATURE_BYTES = 8
# The flag of an extended WebP file (chunk VP8X) that says it is animated, and where the flags are.
_WEBP_ANIMATED, _WEBP_FLAGS_AT = 0x02, 20


@dataclass(frozen=True)
class Animation:
    """The pictures of a file.

    Attributes:
        pictures: the number of pictures that the file declares; a still picture has one.
        complete: whether the last declared block ends before the end of the file.
    """

    pictures: int
    complete: bool = True


def read_gif(data: bytes) -> Animation:
    """Count the pictures of a GIF file (GIF89a specification, appendix A)."""
    position = _GIF_HEADER_BYTES + (_colour_table_bytes(data[10]) if len(data) > 10 else 0)
    pictures = 0
    while position < len(data) and data[position] in {_GIF_EXTENSION, _GIF_IMAGE}:
        if data[position] == _GIF_EXTENSION:
            position += 2
        else:
            pictures += 1
            table = _colour_table_bytes(data[position + 9]) if position + 9 < len(data) else 0
            position += 10 + table + 1
        while position < len(data) and data[position]:  # sub-blocks, each after its length
            position += 1 + data[position]
        position += 1
    return Animation(pictures, position <= len(data))


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def read_png(data: bytes) -> Animation:
    """Read how many pictures a PNG file declares (PNG specification, third edition, 11.3.6.1)."""
    position, pictures = _PNG_SIGNATURE_BYTES, 1
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"acTL":
            pictures = int.from_bytes(data[position + 8 : position + 12], "big")
        if kind == b"IDAT" and pictures == 1:
            return Animation(1)
        position += 12 + length
        if kind == b"IEND":
            return Animation(pictures, position <= len(data))
    return Animation(pictures, complete=pictures == 1)


def is_animated_webp(data: bytes) -> bool:
    """Whether a WebP file says that it is animated."""
    return data[12:16] == b"VP8X" and len(data) > _WEBP_FLAGS_AT and bool(data[_WEBP_FLAGS_AT] & _WEBP_ANIMATED)
