"""Identifies a file by its bytes: a supported video container, or something else that a download left behind."""

import re
import shlex
from collections.abc import Iterator

from services.extractor.video.animation import Animation, is_animated_webp, read_gif, read_png
from services.extractor.video.file_bytes import VideoBytes, iterate_blocks
from services.extractor.video.sample_tables import check_tables
from signet.errors import ClipError
from signet.rpc.limits import MAX_MESSAGE_BYTES

# The demuxers that FFmpeg may use. The format is always forced: a guessing FFmpeg would also accept playlists and
# concat lists, which open other files and URLs.
MP4 = "mp4"
MATROSKA = "matroska"
AVI = "avi"
GIF = "gif"
APNG = "apng"

_MP4_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}
_STILL_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"msf1"}
_IMAGES = {b"\xff\xd8\xff": "JPEG", b"BM": "BMP"}
_OTHERS = {
    b"FLV": "Flash video", b"OggS": "Ogg", b"0&\xb2u": "Windows Media", b"\x00\x00\x01\xba": "MPEG program stream",
    b"CWS": "Flash", b"FWS": "Flash", b"PK\x03\x04": "ZIP archive", b"%PDF": "PDF", b"\x1f\x8b": "gzip",
    b"#EXTM3U": "playlist", b"ID3": "MP3", b"fLaC": "FLAC",
}  # fmt: skip

# The part of a file that tells text from video. Real video is never valid UTF-8 for this many bytes.
_HEAD_BYTES = 65_536
_REPLACEMENT = "\ufffd"
_HTML = re.compile(r"<!doctype\s+html|<html|<head|<body|<script", re.IGNORECASE)

# An animated picture is read as a whole: it has no index. No picture of a sign has a tenth of this.
_MOST_PICTURE_BYTES = 2 * MAX_MESSAGE_BYTES
# Boxes at the top level of an MP4 file. A live recording has two for each fragment: 220,000 in an hour, if each frame
# of 30 a second is a fragment.
_MOST_BOXES = 500_000

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def identify(data: VideoBytes, name: str) -> str:
    """Choose the demuxer for a file.

    Args:
        data: the whole file. Of a large one, only headers and tables are read.
        name: the name used in error messages.

    Raises:
        ClipError: the file is empty, an HTML page, damaged by a text encoding, an image, cut off, or not supported.
    """
    if len(data) == 0:
        raise ClipError("empty", f"{name}: the file is empty. Download it again.")
    _refuse_text(data, name)
    demuxer = _animation(data, name) or _demuxer(data, name)
    if demuxer in {GIF, APNG}:
        return demuxer
    if demuxer == MP4:
        _check_boxes(data, name)
    elif demuxer == MATROSKA:
        _check_length(_matroska_bytes(data), data, name)
    else:
        _check_length(8 + int.from_bytes(data[4:8], "little"), data, name)
    return demuxer


def _animation(data: VideoBytes, name: str) -> str:
    """The demuxer of an animated picture; "" for a file that is no GIF, PNG or WebP."""
    if data[:4] == b"GIF8":
        _check_animation(read_gif(_read_picture(data, name)), "GIF", name)
        return GIF
    if data[:4] == b"\x89PNG":
        _check_animation(read_png(_read_picture(data, name)), "PNG", name)
        return APNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if not is_animated_webp(data[:_HEAD_BYTES]):
            _refuse_image("WebP", name)
        # Converters write MP4 and GIF at another speed than the WebP. An animated PNG keeps its times.
        convert = "import sys; from PIL import Image; Image.open(sys.argv[1]).save('sign.png', save_all=True)"
        raise ClipError(
            "unsupported",
            f"{name}: an animated WebP, which FFmpeg cannot read. Convert it to MP4 or an animated PNG, for example: "
            f'python -c "{convert}" {shlex.quote(name)}',
        )
    return ""


def _read_picture(data: VideoBytes, name: str) -> bytes:
    if len(data) > _MOST_PICTURE_BYTES:
        raise ClipError(
            "too_large",
            f"{name}: an animated picture of {len(data)} bytes; the limit is {_MOST_PICTURE_BYTES} bytes. Convert it "
            "to MP4, for example with ffmpeg.",
        )
    return data[:]


def _check_animation(animation: Animation, kind: str, name: str) -> None:
    if not animation.complete:
        raise ClipError("truncated", f"{name}: a {kind} that is cut off. Download it again.")
    if animation.pictures <= 1:
        _refuse_image(kind, name)


def _demuxer(data: VideoBytes, name: str) -> str:
    head = data[:_HEAD_BYTES]
    for magic, kind in _IMAGES.items():
        if head.startswith(magic):
            _refuse_image(kind, name)
    if data[4:8] == b"ftyp" and data[8:12] in _STILL_BRANDS and not any(kind == b"moov" for kind, _ in _boxes(data)):
        _refuse_image("HEIF", name)
    if data[4:8] in _MP4_FIRST_BOXES:
        return MP4
    if head.startswith(_EBML):
        return MATROSKA
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return AVI
    kind = next((kind for magic, kind in _OTHERS.items() if head.startswith(magic)), "")
    what = f"it is a {kind} file" if kind else f"it begins with {data[:8].hex(' ')}"
    raise ClipError(
        "unsupported",
        f"{name}: not MP4, MOV, WebM, MKV, AVI, or an animated GIF or PNG ({what}). Convert it to MP4, for example "
        "with ffmpeg, or download it again.",
    )


def _refuse_image(kind: str, name: str) -> None:
    raise ClipError("image", f"{name}: a {kind} image, not a video. Download the video itself.")


def _refuse_text(data: VideoBytes, name: str) -> None:
    """Refuse text: web pages, and video that was read and written again as text."""
    try:
        head = data[:_HEAD_BYTES].decode()
    except UnicodeDecodeError as error:
        if error.start < min(len(data), _HEAD_BYTES) - 3:  # not a character that our limit cut in two
            return
        head = data[: error.start].decode()
    if _REPLACEMENT in head:
        raise ClipError(
            "text_mangled",
            f"{name}: a text encoding damaged its bytes ({_count_replacements(data)} characters became "
            "U+FFFD). They cannot be restored. Download it again in binary mode.",
        )
    if _HTML.search(head):
        raise ClipError(
            "html", f"{name}: a web page, not a video. The link is dead or needs a login. Download the video by hand."
        )


def _count_replacements(data: VideoBytes) -> int:
    character = _REPLACEMENT.encode()
    return sum(block.count(character) for _, block in iterate_blocks(data, 0, len(data), len(character) - 1))


def _check_boxes(data: VideoBytes, name: str) -> None:
    """Refuse an MP4 file whose media extends past the end of the file, whose index is missing or declares too much."""
    indexed = False
    start = 0
    media = []
    for number, (kind, end) in enumerate(_boxes(data)):
        indexed |= kind == b"moov"
        if number >= _MOST_BOXES:
            raise ClipError(
                "damaged",
                f"{name}: has more than {_MOST_BOXES} parts. Write it again: ffmpeg -i {shlex.quote(name)} "
                "-c copy sign.mp4",
            )
        if kind in {b"moov", b"mdat", b"moof"}:
            _check_length(end, data, name)
        if kind == b"mdat":
            media.append((start, end))
        start = end
    if not indexed:
        raise ClipError(
            "truncated",
            f"{name}: cut off: its index (the 'moov' box) is missing. Download it again, or finish the recording.",
        )
    check_tables(data, media, name)


def _boxes(data: VideoBytes) -> Iterator[tuple[bytes, int]]:
    """Type and end position of each top-level box (ISO/IEC 14496-12, 4.2)."""
    position = 0
    while position + 8 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        elif size == 0:
            size = len(data) - position
        if size < 8:
            return
        position += size
        yield kind, position


def _matroska_bytes(data: VideoBytes) -> int:
    """The length that a Matroska file declares, in bytes; 0 if it declares none (RFC 8794, 6 and 8)."""
    position, size = _element_size(data, 4)
    header_end = position + size
    if data[header_end : header_end + 4] != _SEGMENT:
        return 0
    position, size = _element_size(data, header_end + 4)
    return position + size if size else 0


def _element_size(data: VideoBytes, position: int) -> tuple[int, int]:
    """Start and length of an EBML element's content, in bytes; the length is 0 if it is unknown."""
    first = data[position] if position < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return position, 0
    value = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    unknown = value == (1 << 7 * width) - 1
    return position + width, 0 if unknown else value


def _check_length(declared: int, data: VideoBytes, name: str) -> None:
    if declared > len(data):
        raise ClipError(
            "truncated", f"{name}: cut off: it declares {declared} bytes, but has {len(data)}. Download it again."
        )
