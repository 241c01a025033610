"""Small hostile videos."""

import io
import re
import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction

import av
import numpy as np

# The pixel formats of encoders that do not have yuv420p.
_PIXEL_FORMATS = {
    "gif": "rgb8", "apng": "rgb24", "qtrle": "rgb24", "mjpeg": "yuvj420p", "huffyuv": "yuv422p",
    "prores": "yuv422p10le",
}  # fmt: skip
_CODEC_OPTIONS = {"libvpx": {"g": "1"}, "libx265": {"x265-params": "log-level=error"}}
_CONTAINERS = {"mkv": "matroska", "png": "apng", "ebm": "webm"}


def encode(
    name: str,
    codec: str = "libx264",
    *,
    frames: int = 12,
    title: str = "",
    tracks: int = 1,
    noise: bool = False,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """A video of 64x48 pixels in the container of the name's ending. VP8 has key frames only.

    Args:
        name: a name of a file with the ending of the container.
        codec: FFmpeg's name of the encoder.
        frames: the number of frames.
        title: the title in the metadata.
        tracks: the number of equal video tracks.
        noise: whether the pictures are random, always the same ones, so that their packets are not empty.
        options: options of the container's muxer.
    """
    buffer = io.BytesIO()
    random = np.random.default_rng(frames)
    container = _CONTAINERS.get(name[-3:], name[-3:])
    with av.open(buffer, "w", format=container, options=dict(options or {})) as file:
        if title:
            file.metadata["title"] = title
        for _ in range(tracks):
            stream = file.add_stream(codec, rate=25, options=_CODEC_OPTIONS.get(codec, {}))
            stream.width, stream.height, stream.pix_fmt = 64, 48, _PIXEL_FORMATS.get(codec, "yuv420p")
        for index in range(frames):
            grey = np.full((48, 64, 3), 20 * index, np.uint8)
            pixels = random.integers(0, 256, grey.shape, np.uint8) if noise else grey
            for stream in file.streams.video:
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture.pts = index
                file.mux(stream.encode(picture))
        for stream in file.streams.video:
            file.mux(stream.encode())
    return buffer.getvalue()


def patch(data: bytes, kind: bytes, offset: int, value: int) -> bytes:
    """Overwrite the 32-bit number at an offset from the end of a box's type."""
    at = data.index(kind) + 4 + offset
    return data[:at] + value.to_bytes(4, "big") + data[at + 4 :]


def share_samples(data: bytes, frames: int, sample_bytes: int) -> bytes:
    """Let every sample of an MP4 be the same bytes: a chunk for each, and all chunks in one place."""
    padding = (sample_bytes + 8).to_bytes(4, "big") + b"free" + bytes(sample_bytes)
    offsets = frames.to_bytes(4, "big") + (data.index(b"mdat") + 4).to_bytes(4, "big") * frames
    at = data.index(b"stco")
    grown = 4 * (frames - 1)
    data = patch(data, b"stsc", 12, 1)
    data = data[: at + 8] + offsets + data[at + 16 :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco"):
        size = int.from_bytes(data[data.index(kind) - 4 : data.index(kind)], "big")
        data = patch(data, kind, -8, size + grown)
    sizes = data.index(b"stsz") + 16
    return data[:sizes] + sample_bytes.to_bytes(4, "big") * frames + data[sizes + 4 * frames :] + padding


def grow_vp8(data: bytes, width: int, height: int) -> bytes:
    """Give every VP8 key frame from the sixth on this size (RFC 6386, 9.1)."""
    head = b"\x9d\x01\x2a" + (64).to_bytes(2, "little") + (48).to_bytes(2, "little")
    places = [found.start() for found in re.finditer(re.escape(head), data)]
    assert len(places) > 6
    new = b"\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")
    for place in places[5:]:
        data = data[:place] + new + data[place + len(new) :]
    return data


def gif_with_canvas(data: bytes, width: int, height: int) -> bytes:
    """Give a GIF another canvas."""
    return data[:6] + width.to_bytes(2, "little") + height.to_bytes(2, "little") + data[10:]


def png_with_size(data: bytes, width: int, height: int) -> bytes:
    """Give a PNG another size."""
    head = data[12:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + head + zlib.crc32(head).to_bytes(4, "big") + data[33:]


def large_pictures(frames: int = 300) -> bytes:
    """A small file with frames of 4096x2304 pixels, the largest that are decoded. The same packet makes most frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 4096, 2304, "yuv420p"
        grey = av.VideoFrame.from_ndarray(np.full((2304 * 3 // 2, 4096), 90, np.uint8), format="yuv420p")
        packets = []
        for index in range(3):
            grey.pts = index
            packets += stream.encode(grey)
        packets += stream.encode()
        for index in range(frames):
            packet = av.Packet(bytes(packets[min(index, len(packets) - 1)]))
            packet.pts = packet.dts = index
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, index == 0
            file.mux(packet)
    return buffer.getvalue()


def bombs(good: bytes) -> dict[str, bytes]:
    """Small videos that request much, and files that are no video; `good` is a good clip."""
    plain = encode("a.mp4")
    absurd = 1_000_000_000
    return {
        "absurd sample count": patch(plain, b"stsz", 8, absurd),
        "absurd times": patch(plain, b"stts", 4, absurd),
        "grows to 16384x8192": grow_vp8(encode("a.mkv", "libvpx"), 16383, 8192),
        "huge canvas": gif_with_canvas(encode("a.gif", "gif"), 65535, 65535),
        "huge picture": png_with_size(encode("a.png", "apng"), 30000, 30000),
        "300 tracks": encode("a.mkv", "mpeg4", frames=2, tracks=300),
        "shared samples": share_samples(encode("a.mp4", frames=200), 200, 1_000_000),
        "web page": b"<!DOCTYPE html><html><body>" + b"<p>Log in</p>" * 1000,
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "zeros": bytes(10_000_000),
        "playlist": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nfile:///etc/passwd\n",
        "concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


def matroska_with_laces(blocks: int, *, sound: bool = False) -> bytes:
    """A Matroska file of blocks with 256 frames of one byte each (RFC 9559, 10.3), in a track of video or of sound."""
    tracks = _matroska_track(1, 1, b"V_MJPEG") + _matroska_track(2, 2, b"A_PCM/INT/LIT")
    laces = bytes([0x82 if sound else 0x81, 0, 0, 0x84, 255]) + bytes(256)
    return _matroska(tracks, _element("a3", laces) * blocks)


def matroska_with_inflated_sound(blocks: int, megabytes: int) -> bytes:
    """A Matroska file whose blocks of sound inflate to so many megabytes each."""
    zlib_encoding = _element("6d80", _element("6240", _element("5034", _element("4254", b"\0"))))
    tracks = _matroska_track(1, 1, b"V_MJPEG") + _matroska_track(2, 2, b"A_PCM/INT/LIT", zlib_encoding)
    block = bytes([0x82, 0, 0, 0x80]) + zlib.compress(bytes(megabytes * 1_000_000), 9)
    return _matroska(tracks, _element("a3", block) * blocks)


def matroska_with_tags(count: int) -> bytes:
    """A Matroska file with so many tags of different names. FFmpeg compares each name with all others."""
    tags = [
        _element("67c8", _element("45a3", f"k{number}".encode()) + _element("4487", b"v")) for number in range(count)
    ]
    more = _element("1254c367", _element("7373", b"".join(tags)))
    return _matroska(_matroska_track(1, 1, b"V_MJPEG"), _element("a3", b"\x81\0\0\x80aa") * 10, more)


def matroska_with_inflated_pictures(chunk: bytes, megabytes: int) -> bytes:
    """A Matroska file of PNG pictures, each with a chunk (`zTXt` or `iCCP`) that inflates to so many megabytes."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"A" * 1_000_000) for _ in range(megabytes)) + packer.flush()
    head = (64).to_bytes(4, "big") + (48).to_bytes(4, "big") + b"\x08\x02\0\0\0"
    rows = zlib.compress(bytes(193 * 48))
    chunks = ((b"IHDR", head), (chunk, b"k\0\0" + packed), (b"IDAT", rows), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    header = struct.pack("<IiiHH4sIIIII", 40, 64, 48, 1, 24, b"MPNG", 0, 0, 0, 0, 0)  # BITMAPINFOHEADER
    track = _matroska_track(1, 1, b"V_MS/VFW/FOURCC", _element("63a2", header))
    return _matroska(track, b"".join(_element("a3", bytes([0x81, 0, 40 * number, 0x80]) + png) for number in range(5)))


def _matroska(tracks: bytes, blocks: bytes, more: bytes = b"") -> bytes:
    head = _element("1a45dfa3", _element("4282", b"matroska"))
    cluster = _element("1f43b675", _element("e7", b"\0") + blocks)
    return head + _element("18538067", _element("1654ae6b", tracks) + more + cluster)


def _matroska_track(number: int, kind: int, codec: bytes, extra: bytes = b"") -> bytes:
    shape = _element("e0", _element("b0", b"\x40") + _element("ba", b"\x30")) if kind == 1 else b""
    return _element(
        "ae", _element("d7", bytes([number])) + _element("83", bytes([kind])) + _element("86", codec) + extra + shape
    )


def _element(kind: str, content: bytes) -> bytes:
    return bytes.fromhex(kind) + (len(content) | 1 << 56).to_bytes(8, "big") + content
