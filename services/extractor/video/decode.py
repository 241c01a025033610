"""Decodes a video file into frames, in display order and with display times."""

import contextlib
import hashlib
import io
import shlex
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import numpy.typing as npt

from services.extractor.video.container import APNG, AVI, GIF, MATROSKA, MP4, identify
from services.extractor.video.display import Orientation, OrientationReader, to_rgb
from services.extractor.video.frame_choice import FrameChoice
from services.extractor.video.tracks import CODECS, Track, check_packets, read_track
from signet.errors import ClipError
from signet.landmarks.tensor import MAX_FRAMES
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
# A file is read as a whole. The largest WLASL clip has 2 MB. A message of gRPC has half as much.
MAX_FILE_BYTES = 2 * MAX_MESSAGE_BYTES
# 4096 x 2304 is the largest size that phones record, in either orientation. One frame is 28 MB of RGB.
MAX_PIXELS = 4096 * 2304
# MAX_FRAMES at 60 frames a second. Up to this value, float32 timestamps are more precise than 0.1 ms.
MAX_SECONDS = 600.0
# Decoders conceal damaged frames. Sampling bridges a few of them, as it bridges a lost hand; a larger share is refused.
MAX_DAMAGED_SHARE = 0.1

# A video is refused before it is decoded if this number of packets is later than `MAX_SECONDS`, or if it has more
# packets than `_MOST_PACKETS`. A few packets can have a wrong time; VP8 has packets without a frame.
_LATE_PACKETS = 10
_MOST_PACKETS = MAX_FRAMES * 5 // 4

# The smallest step between two frames: a landmark tensor has at most 1000 frames a second.
_MIN_STEP_SECONDS = 0.001
# The rate of a stream that has neither timestamps nor a rate.
_FALLBACK_FPS = 25.0
# Encoders write ratios such as 1280:1281 when they round. Only really anamorphic clips are stretched.
_SQUARE_TOLERANCE = 0.01

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


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as a player shows it: upright, with square pixels.

    Attributes:
        rgb: uint8 [height, width, 3].
        seconds: time since the first requested frame; strictly increasing.
    """

    rgb: npt.NDArray[np.uint8]
    seconds: float


@dataclass(frozen=True)
class Segment:
    """A range of frame numbers, 1-based and inclusive."""

    start: int
    end: int

    @property
    def frames(self) -> int:
        """The number of frames."""
        return self.end - self.start + 1


def read_file(path: Path) -> bytes:
    """Read a clip's bytes.

    Raises:
        ClipError: the file does not exist, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            _refuse_size(path.name, f"{size} bytes", f"{MAX_FILE_BYTES} bytes", _how_to_cut(path.name))
        return path.read_bytes()
    except OSError as error:
        raise ClipError("unreadable", f"{path}: cannot be read ({error.strerror}).") from error


class Video:
    """An encoded video in a supported container. It can be decoded any number of times.

    Args:
        data: the bytes of the whole file.
        name: the name used in error messages.

    Attributes:
        expected_frames: the number of frames that the container declares; 0 before decoding begins.
        decoded: the number of requested frames that are decoded so far.
        pixels: the pixels of a frame; those that the container declares, until the first frame is decoded.
        before_packet: called before each packet is decoded. It can raise an error to end the decoding.

    Raises:
        ClipError: the file is not a supported video.
    """

    def __init__(self, data: bytes, name: str) -> None:
        if len(data) > MAX_FILE_BYTES:
            _refuse_size(name, f"{len(data)} bytes", f"{MAX_FILE_BYTES} bytes", _how_to_cut(name))
        self.name = name
        self._data = data
        self._format = identify(data, name)
        self.sha256 = hashlib.sha256(data).hexdigest()
        # Read from the container when decoding begins.
        self.fps = _FALLBACK_FPS
        self.expected_frames = self.pixels = self.decoded = 0
        self._packet_times: list[float] = []
        self.before_packet: Callable[[], None] = lambda: None
        self._pixel_aspect = 1.0

    def times(self, *, limited: bool = False) -> tuple[float, ...]:
        """Decode the whole video and give the display time of each frame, in seconds since the first frame.

        Args:
            limited: whether a video of more than `MAX_SECONDS` is refused. A segment of it can be short enough.

        Raises:
            ClipError: the video cannot be decoded, has fewer than `MIN_FRAMES` or more than `MAX_FRAMES` frames, or is
                too long.
        """
        clock = _DisplayClock(self._format)
        pictures = self._pictures(Segment(1, MAX_FRAMES) if limited else None)
        times = tuple(clock.seconds(picture, self.fps) for picture in pictures)
        self._check_count(len(times))
        return times

    def display_times(self, segment: Segment | None = None) -> list[float]:
        """The declared display times of the frames of `segment`, in seconds, sorted; none before decoding begins."""
        return self._packet_times[segment.start - 1 : segment.end] if segment else self._packet_times

    def frames(self, segment: Segment | None = None, rate: float = 0.0) -> Generator[Frame, None, None]:
        """Decode the frames of `segment` one at a time; without a segment, all frames.

        Args:
            segment: the frames to decode.
            rate: give only about this many frames a second: those nearest to even times, and the last frame. 0 gives
                all frames.

        Raises:
            ClipError: at any frame. The caller must then discard the frames that were given before.
        """
        clock = _DisplayClock(self._format)
        choice = FrameChoice(rate)
        self.decoded = 0
        orientations = OrientationReader()
        transposed: bool | None = None
        skipped: tuple[Any, Orientation, float] | None = None
        for index, picture in enumerate(self._pictures(segment or Segment(1, MAX_FRAMES)), start=1):
            if segment is not None and index > segment.end:
                break
            orientation = orientations.read(picture)
            if segment is not None and index < segment.start:
                continue
            seconds = clock.seconds(picture, self.fps)
            if seconds > MAX_SECONDS:
                self._refuse_long(f"{seconds:.0f} s or more", f"{MAX_SECONDS:.0f} s")
            self.decoded += 1
            transposed = orientation.transposed if transposed is None else transposed
            if orientation.transposed != transposed:
                self._refuse_new_size()
            if choice.is_due(seconds, 1 / self.fps):
                skipped = None
                # No variable holds the image: its memory is free again before the next image needs memory.
                yield Frame(to_rgb(picture, self._pixel_aspect, orientation), seconds)
            else:
                skipped = picture, orientation, seconds
        if segment is not None and self.decoded != segment.frames:
            requested, last = f"frames {segment.start} to {segment.end}", segment.start + self.decoded - 1
            raise ClipError("outside", f"{self.name}: {requested} were requested, but it has {last}.")
        self._check_count(self.decoded)
        if skipped is not None:
            picture, orientation, seconds = skipped
            yield Frame(to_rgb(picture, self._pixel_aspect, orientation), seconds)

    def _pictures(self, limited: Segment | None) -> Iterator[Any]:
        """Decode pictures, and turn every failure into a `ClipError`.

        Args:
            limited: the frames that are refused before decoding if they last more than `MAX_SECONDS`.
        """
        try:
            with contextlib.suppress(av.FFmpegError), self._open(probesize=_SMALL_PROBE) as opened:
                check_packets(opened, self.name)
            with self._open() as opened:
                track = read_track(opened, self._format, self.name, _MOST_PACKETS + 1)
                self._check_length(track, limited)
                self.expected_frames, self.pixels = len(track.times), track.pixels
                self._packet_times = track.times
                yield from self._decode(track)
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
                f"{self.name}: {_FORMATS[self._format]} that does not decode ({error.strerror}{large}). "
                "Download it again.",
            ) from error

    def _open(self, **container_options: str) -> Any:
        # The file is in memory and no protocol is allowed, so that it cannot make FFmpeg open anything else.
        # A title in another encoding than UTF-8 does not make a video unusable.
        return av.open(
            io.BytesIO(self._data),
            format=self._format,
            options={"max_pixels": _CODEC_OPTIONS["max_pixels"]},
            container_options=_CONTAINER_OPTIONS | container_options,
            metadata_errors="replace",
        )

    def _check_length(self, track: Track, limited: Segment | None) -> None:
        """Refuse a video that is too long before it is decoded.

        The packets are counted, because a header can lie. Only lengths that are certain are refused here. The exact
        limits are checked while the video is decoded.
        """
        if limited is not None:
            times = track.times[limited.start - 1 : limited.end]
            if times and len(times) - bisect_right(times, times[0] + MAX_SECONDS) >= _LATE_PACKETS:
                self._refuse_long(f"{times[-1] - times[0]:.0f} s", f"{MAX_SECONDS:.0f} s")
        if len(track.packets) > _MOST_PACKETS:
            self._refuse_long(f"more than {MAX_FRAMES} frames", f"{MAX_FRAMES}")

    def _decode(self, track: Track) -> Iterator[Any]:
        stream = track.stream
        # One thread: clips are decoded in parallel, and the frames do not depend on the number of cores.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = dict(_CODEC_OPTIONS)
        self._check_pixels(stream.codec_context.width, stream.codec_context.height)
        self.fps = _frame_rate(stream)
        self._pixel_aspect = _pixel_aspect(stream)
        decoded = damaged = 0
        size: tuple[int, int] | None = None
        for picture in self._decode_packets(track):
            self._check_pixels(picture.width, picture.height)
            self.pixels = picture.width * picture.height
            size = size or (picture.width, picture.height)
            if size != (picture.width, picture.height):
                self._refuse_new_size()
            decoded += 1
            damaged += picture.is_corrupt
            if decoded > MAX_FRAMES:
                self._refuse_long(f"more than {MAX_FRAMES} frames", f"{MAX_FRAMES}")
            yield picture
        expected = sum(not entry.is_discard for entry in _index(stream)) if self._format == MP4 else 0
        if decoded < expected:
            raise ClipError(
                "truncated",
                f"{self.name}: cut off: {expected} frames are declared, {decoded} were found. Download it again.",
            )
        if damaged > MAX_DAMAGED_SHARE * decoded:
            raise ClipError("damaged", f"{self.name}: {damaged} of {decoded} frames are damaged. Download it again.")

    def _decode_packets(self, track: Track) -> Iterator[Any]:
        for packet in track.packets:
            self.before_packet()
            yield from packet.decode()

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            _refuse_size(
                self.name,
                f"{width}x{height} pixels",
                f"{MAX_PIXELS} pixels in all",
                f"Make it smaller, for example: ffmpeg -i {shlex.quote(self.name)} -vf scale=1280:-2 smaller.mp4",
            )

    def _refuse_long(self, size: str, limit: str) -> NoReturn:
        _refuse_size(self.name, size, limit, _how_to_cut(self.name))

    def _refuse_new_size(self) -> NoReturn:
        raise ClipError("undecodable", f"{self.name}: its frame size changes midway. Convert it to one size.")

    def _check_count(self, frames: int) -> None:
        if frames < MIN_FRAMES:
            raise ClipError(
                "too_few_frames",
                f"{self.name}: {frames} frame{'s' * (frames != 1)}; a sign needs at least {MIN_FRAMES}.",
            )


class _DisplayClock:
    """Gives each picture its display time in seconds since the first picture; strictly increasing."""

    def __init__(self, container: str) -> None:
        # AVI stores no display times. FFmpeg's guesses are wrong where pictures are decoded in another order.
        self._attribute = "dts" if container == AVI else "pts"
        self._offset = 0.0
        self._before: float | None = None

    def seconds(self, picture: Any, fps: float) -> float:
        ticks = getattr(picture, self._attribute)
        moment = None if ticks is None else float(ticks * picture.time_base)
        if self._before is None:
            self._offset, seconds = moment or 0.0, 0.0
        elif moment is not None and moment - self._offset >= self._before + _MIN_STEP_SECONDS:
            seconds = moment - self._offset
        else:  # A missing or backward timestamp: advance by one nominal step until the clock is ahead again.
            seconds = self._before + 1 / fps
        self._before = seconds
        return seconds


def _index(stream: Any) -> Iterator[Any]:
    return (stream.index_entries[position] for position in range(len(stream.index_entries)))


def _frame_rate(stream: Any) -> float:
    """The nominal rate of the stream, in frames per second."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= 1 / _MIN_STEP_SECONDS:
            return float(rate)
    return _FALLBACK_FPS


def _pixel_aspect(stream: Any) -> float:
    """Width of a pixel divided by its height; 1 if it is unknown, nearly 1, or would make a frame too large."""
    ratio = float(stream.sample_aspect_ratio or 1)
    context = stream.codec_context
    if abs(ratio - 1) <= _SQUARE_TOLERANCE or not 0 < ratio * context.width * context.height <= MAX_PIXELS:
        return 1.0
    return ratio


def _how_to_cut(name: str) -> str:
    return f"Cut it to the sign. This takes 10 s from second 5 on: ffmpeg -ss 5 -i {shlex.quote(name)} -t 10 sign.mp4"


def _refuse_size(name: str, size: str, limit: str, remedy: str) -> NoReturn:
    raise ClipError("too_large", f"{name}: {size}; the limit is {limit}. {remedy}")
