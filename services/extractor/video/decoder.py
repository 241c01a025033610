"""Reads the packets of a video with FFmpeg, and decodes them into pictures, from any key frame on."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import av
import numpy as np
import numpy.typing as npt

from services.extractor.video.container import APNG, AVI, GIF, MATROSKA, MP4
from services.extractor.video.display import Orientation, RgbConverter
from services.extractor.video.file_bytes import VideoBytes, open_stream
from services.extractor.video.limits import MAX_DAMAGED_SHARE, MAX_PIXELS, MAX_SIDE, how_to_cut, refuse_size
from services.extractor.video.tracks import CODECS, KeyFrame, Track, check_packets, read_track
from signet.errors import ClipError
from signet.landmarks.tensor import MAX_FRAMES

# FFmpeg refuses larger pictures before it reserves memory for them, in any track. No decoder of sound or text runs.
_CODEC_OPTIONS = {"max_pixels": str(MAX_PIXELS), "codec_whitelist": ",".join(sorted(CODECS))}
# Files with subtitles in many languages have some dozens of tracks.
_MOST_TRACKS = 100
_CONTAINER_OPTIONS = {
    "protocol_whitelist": "", "max_streams": str(_MOST_TRACKS), "codec_whitelist": _CODEC_OPTIONS["codec_whitelist"],
}  # fmt: skip

# FFmpeg keeps all packets that it reads to find out what the tracks are: so many bytes, at least one packet of each.
_SMALL_PROBE = "4096"

_FORMATS = {MP4: "MP4", MATROSKA: "Matroska", AVI: "AVI", GIF: "GIF", APNG: "APNG"}


class PictureDecoder:
    """Decodes the pictures of a video.

    Args:
        data: the whole video.
        container: its container.
        name: the name used in error messages.

    Attributes:
        pixels: the pixels of a frame; those that the container declares, until the first frame is decoded.
        before_packet: called before each packet is decoded, and now and then while packets are counted. It can raise an
            error to end the work.
    """

    def __init__(self, data: VideoBytes, container: str, name: str) -> None:
        self.name = name
        self.container = container
        self.pixels = 0
        self.before_packet: Callable[[], None] = lambda: None
        self._data = data

    def read_track(self) -> Track:
        """Choose the video track, and read the times of its packets.

        Raises:
            ClipError: the file has no usable track, or too many packets.
        """
        with self._failures():
            with contextlib.suppress(av.FFmpegError), self._open(probesize=_SMALL_PROBE) as opened:
                check_packets(opened, len(self._data), self.name, self.before_packet)
            with self._open() as opened:
                return read_track(opened, self.container, self.name, self.before_packet)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn every failure of FFmpeg into a `ClipError`."""
        try:
            yield
        except MemoryError as error:  # FFmpeg's is of both kinds
            raise ClipError(
                "too_large",
                f"{self.name}: needs more memory than a worker may use, or has more than {_MOST_TRACKS} tracks. "
                "Convert it to H.264 with one track.",
            ) from error
        except av.FFmpegError as error:
            # FFmpeg's answer to a frame of too many pixels.
            large = f", or a frame is larger than {MAX_PIXELS} pixels" if isinstance(error, av.ArgumentError) else ""
            raise ClipError(
                "undecodable",
                f"{self.name}: {_FORMATS[self.container]} that does not decode ({error.strerror}{large}). "
                "Download it again.",
            ) from error

    def _open(self, **container_options: str) -> Any:
        # FFmpeg reads through a Python object, and no protocol is allowed, so that it cannot open anything else.
        # A title in another encoding than UTF-8 does not make a video unusable.
        return av.open(
            open_stream(self._data),
            format=self.container,
            options={"max_pixels": _CODEC_OPTIONS["max_pixels"]},
            container_options=_CONTAINER_OPTIONS | container_options,
            metadata_errors="replace",
        )

    def decode(self, track: Track, *, limited: bool, start: KeyFrame | None = None) -> Iterator[Any]:
        """Decode pictures, from a key frame on.

        Args:
            track: the track.
            limited: whether more than `MAX_FRAMES` pictures are refused.
            start: the key frame; None for the first packet. The end of the video is then checked, too.

        Raises:
            ClipError: at any picture.
        """
        self._check_pixels(track.width, track.height)
        most = MAX_FRAMES if limited else max(MAX_FRAMES, 2 * track.packets)
        decoded = damaged = 0
        size: tuple[int, int] | None = None
        with self._failures():
            for picture in self._decode_packets(track, start):
                self._check_pixels(picture.width, picture.height)
                self.pixels = picture.width * picture.height
                size = size or (picture.width, picture.height)
                if size != (picture.width, picture.height):
                    self.refuse_new_size()
                decoded += 1
                damaged += picture.is_corrupt
                if decoded > most:
                    self.refuse_long(f"more than {most} frames", f"{most}")
                yield picture
        if start is not None:
            return
        if decoded < track.declared:
            raise ClipError(
                "truncated",
                f"{self.name}: cut off: {track.declared} frames are declared, {decoded} were found. Download it again.",
            )
        self.check_damage(damaged, decoded)

    def convert(
        self, converter: RgbConverter, picture: Any, pixel_aspect: float, orientation: Orientation
    ) -> npt.NDArray[np.uint8]:
        """Convert a picture to an image, as `RgbConverter.convert` does.

        Raises:
            ClipError: FFmpeg cannot convert it.
        """
        with self._failures():
            return converter.convert(picture, pixel_aspect, orientation)

    def _decode_packets(self, track: Track, start: KeyFrame | None) -> Iterator[Any]:
        for packet in self._read_packets(track, start):
            self.before_packet()
            yield from packet.decode()

    def _read_packets(self, track: Track, start: KeyFrame | None) -> Iterator[Any]:
        """The packets of a track from a key frame on. Where FFmpeg cannot seek, all packets before it are read."""
        for seeks in (True, False) if start else (False,):
            with self._open() as opened:
                stream = opened.streams[track.index]
                # One thread: clips are decoded in parallel, and the frames do not depend on the number of cores.
                stream.codec_context.thread_count = 1
                stream.codec_context.options = dict(_CODEC_OPTIONS)
                packets = opened.demux(stream)
                if start is not None:
                    if seeks:
                        with contextlib.suppress(av.FFmpegError):
                            opened.seek(min(start.pts, start.dts), stream=stream)
                    first = self._skip_to(packets, start)
                    if first is None:
                        continue
                    yield first
                yield from packets
                return
        raise ClipError("undecodable", f"{self.name}: a key frame was not found again. Convert it to H.264.")

    def _skip_to(self, packets: Iterator[Any], start: KeyFrame) -> Any | None:
        """The packet of a key frame; None if the packets begin after it."""
        for packet in packets:
            self.before_packet()
            if packet.size and packet.is_keyframe and packet.pts is not None:
                if packet.pts == start.pts:
                    return packet
                if packet.pts > start.pts:
                    return None
        return None

    def check_damage(self, damaged: int, frames: int) -> None:
        """Raise `ClipError` if too many frames are damaged."""
        if damaged > MAX_DAMAGED_SHARE * frames:
            raise ClipError("damaged", f"{self.name}: {damaged} of {frames} frames are damaged. Download it again.")

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            refuse_size(
                self.name,
                f"{width}x{height} pixels",
                f"{MAX_PIXELS} pixels in all, and {MAX_SIDE} in each direction",
                f"Make it smaller, for example: ffmpeg -i {shlex.quote(self.name)} -vf scale=1280:-2 smaller.mp4",
            )

    def refuse_long(self, size: str, limit: str) -> NoReturn:
        """Raise the error for a video that is too long."""
        refuse_size(self.name, size, limit, how_to_cut(self.name))

    def refuse_new_size(self) -> NoReturn:
        """Raise the error for a video whose pictures change their size."""
        raise ClipError("undecodable", f"{self.name}: its frame size changes midway. Convert it to one size.")
