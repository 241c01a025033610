"""Decodes a video file into frames, in display order and with display times."""

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.extractor.video.container import identify
from services.extractor.video.decoder import PictureDecoder
from services.extractor.video.display import Orientation, OrientationReader, RgbConverter
from services.extractor.video.display_clock import DisplayClock
from services.extractor.video.file_bytes import FileBytes, VideoBytes, hash_bytes
from services.extractor.video.frame_choice import FrameChoice
from services.extractor.video.limits import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SECONDS,
    MAX_SIDE,
    MAX_VIDEO_BYTES,
    MIN_FRAMES,
    check_bytes,
)
from services.extractor.video.tracks import FALLBACK_FPS, Track
from signet.errors import ClipError
from signet.landmarks.tensor import MAX_FRAMES

# A video is refused before it is decoded if this number of packets is later than `MAX_SECONDS`, or if it has more
# packets than `_MOST_PACKETS`. A few packets can have a wrong time; VP8 has packets without a frame.
_LATE_PACKETS = 10
_MOST_PACKETS = MAX_FRAMES * 5 // 4

# A segment that begins later is decoded from a key frame near it. Others are decoded from the first frame on.
_SEEK_SECONDS = 30.0
# Encoders write ratios such as 1280:1281 when they round. Only really anamorphic clips are stretched.
_SQUARE_TOLERANCE = 0.01


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


def hash_file(path: Path) -> str:
    """The sha256 of a video, in hexadecimal digits.

    Raises:
        ClipError: the file does not exist, cannot be read, or is larger than `MAX_VIDEO_BYTES`.
    """
    data = FileBytes(path)
    check_bytes(len(data), MAX_VIDEO_BYTES, path.name)
    return hash_bytes(data)


def read_file(path: Path) -> bytes:
    """Read a clip's bytes, to send them.

    Raises:
        ClipError: the file does not exist, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        check_bytes(path.stat().st_size, MAX_FILE_BYTES, path.name)
        return path.read_bytes()
    except OSError as error:
        raise ClipError("unreadable", f"{path}: cannot be read ({error.strerror}).") from error


class Video(PictureDecoder):
    """An encoded video in a supported container. It can be decoded any number of times.

    Args:
        source: a file, which is read in parts, or the bytes of a whole file.
        name: the name used in error messages.

    Attributes:
        fps: the nominal rate, in frames per second, as soon as decoding has begun.
        expected_frames: the number of frames that the container declares; 0 before decoding begins.
        decoded: the number of requested frames that are decoded so far.
        state: the state of the file; None if there is none.
        pixels, before_packet, container, name: as of `PictureDecoder`.

    Raises:
        ClipError: the file is not a supported video.
    """

    def __init__(self, source: bytes | Path, name: str) -> None:
        data: VideoBytes = FileBytes(source) if isinstance(source, Path) else source
        check_bytes(len(data), MAX_VIDEO_BYTES if isinstance(source, Path) else MAX_FILE_BYTES, name)
        super().__init__(data, identify(data, name), name)
        self.state = data.state if isinstance(data, FileBytes) else None
        self.sha256 = hash_bytes(data)
        # Read from the container when decoding begins.
        self.fps = FALLBACK_FPS
        self.expected_frames = self.decoded = 0
        self._known_track: Track | None = None

    def times(self, *, limited: bool = False) -> tuple[float, ...]:
        """Decode the whole video and give the display time of each frame, in seconds since the first frame.

        Args:
            limited: whether a video of more than `MAX_SECONDS` or `MAX_FRAMES` is refused. A segment of it can be short
                enough.

        Raises:
            ClipError: the video cannot be decoded, has fewer than `MIN_FRAMES` frames, or is too long.
        """
        clock = DisplayClock(self.container)
        track = self._find_track()
        if limited:
            self.check_length(None)
        times = tuple(clock.seconds(picture, self.fps) for picture in self.decode(track, limited=limited))
        self._check_end(len(times))
        return times

    def packet_times(self) -> Sequence[float] | None:
        """The display time of each frame in seconds since the first frame, as its packets say it: nothing is decoded.

        Returns:
            None if the packets do not say it for certain, or are fewer than `MIN_FRAMES`.

        Raises:
            ClipError: the video cannot be read.
        """
        track = self._find_track()
        if not track.exact or len(track.ticks) < MIN_FRAMES:
            return None
        times: list[float] = (track.times - track.times[0]).tolist()
        return times

    def display_times(self, segment: Segment | None = None) -> list[float]:
        """The declared display times of the frames of `segment`, in seconds, sorted; none before decoding begins."""
        if self._known_track is None:
            return []
        times = self._known_track.times
        chosen: list[float] = (times[segment.start - 1 : segment.end] if segment else times).tolist()
        return chosen

    def starts_late(self, segment: Segment) -> bool:
        """Whether a segment is found by the times of packets, and decoded from a key frame near it."""
        track = self._find_track()
        if not track.exact or segment.end > len(track.ticks):
            return False
        return bool(track.times[segment.start - 1] - track.times[0] > _SEEK_SECONDS)

    def frames(self, segment: Segment | None = None, rate: float = 0.0) -> Generator[Frame, None, None]:
        """Decode the frames of `segment` one at a time; without a segment, all frames.

        Args:
            segment: the frames to decode.
            rate: give only about this many frames a second: those nearest to even times, and the last frame. 0 gives
                all frames.

        Raises:
            ClipError: at any frame. The caller must then discard the frames that were given before.
        """
        clock = DisplayClock(self.container)
        choice = FrameChoice(rate)
        self.decoded = 0
        transposed: bool | None = None
        skipped: tuple[Any, Orientation, float] | None = None
        pixel_aspect, converter = 1.0, RgbConverter()
        for picture, orientation in self._requested(segment):
            seconds = clock.seconds(picture, self.fps)
            if seconds > MAX_SECONDS:
                self.refuse_long(f"{seconds:.0f} s or more", f"{MAX_SECONDS:.0f} s")
            self.decoded += 1
            if transposed is None:
                transposed, pixel_aspect = orientation.transposed, _pixel_aspect(self._find_track())
            if orientation.transposed != transposed:
                self.refuse_new_size()
            if choice.is_due(seconds, 1 / self.fps):
                skipped = None
                # No variable holds the image: its memory is free again before the next image needs memory.
                yield Frame(self.convert(converter, picture, pixel_aspect, orientation), seconds)
            else:
                skipped = picture, orientation, seconds
        if segment is not None:
            self._check_segment(segment)
        self._check_end(self.decoded)
        if skipped is not None:
            picture, orientation, seconds = skipped
            yield Frame(self.convert(converter, picture, pixel_aspect, orientation), seconds)

    def check_segment(self, segment: Segment) -> None:
        """Decode a segment, and throw the pictures away.

        Raises:
            ClipError: `frames` would raise it.
        """
        self.decoded = sum(1 for _ in self._requested(segment))
        self._check_segment(segment)

    def _requested(self, segment: Segment | None) -> Iterator[tuple[Any, Orientation]]:
        """Decode the pictures of a segment, with their orientations."""
        track = self._find_track()
        self.check_length(segment)
        orientations = OrientationReader()
        if segment is not None and self.starts_late(segment):
            yield from self._seek(track, segment, orientations)
            return
        for index, picture in enumerate(self.decode(track, limited=segment is None), start=1):
            if segment is not None and index > segment.end:
                break
            orientation = orientations.read(picture)
            if segment is None or index >= segment.start:
                yield picture, orientation

    def _seek(
        self, track: Track, segment: Segment, orientations: OrientationReader
    ) -> Iterator[tuple[Any, Orientation]]:
        """Decode the pictures of a segment from a key frame before it on."""
        first, last = int(track.ticks[segment.start - 1]), int(track.ticks[segment.end - 1])
        key_frame = track.find_key_frame(first)
        if key_frame is not None:
            # The orientation may stand at the first picture only.
            for picture in self.decode(track, limited=False):
                orientations.read(picture)
                break
        damaged = 0
        for picture in self.decode(track, limited=False, start=key_frame):
            if picture.pts is not None and picture.pts > last:
                break
            orientation = orientations.read(picture)
            if picture.pts is not None and picture.pts >= first:
                damaged += picture.is_corrupt
                yield picture, orientation
        self.check_damage(damaged, segment.frames)

    def _find_track(self) -> Track:
        """Read the packets of the video, once."""
        if self._known_track is None:
            self._known_track = track = self.read_track()
            self.fps, self.pixels, self.expected_frames = track.fps, track.pixels, len(track.ticks)
        return self._known_track

    def check_length(self, segment: Segment | None) -> None:
        """Refuse a segment, or a whole video, that is too long before it is decoded.

        The packets are counted, because a header can lie. Only lengths that are certain are refused here. The exact
        limits are checked while the video is decoded.

        Raises:
            ClipError: the segment is too long.
        """
        track = self._find_track()
        part = segment or Segment(1, MAX_FRAMES)
        times = track.times[part.start - 1 : part.end].tolist()
        if times and len(times) - bisect_right(times, times[0] + MAX_SECONDS) >= _LATE_PACKETS:
            self.refuse_long(f"{times[-1] - times[0]:.0f} s", f"{MAX_SECONDS:.0f} s")
        if part.frames > MAX_FRAMES or (segment is None and track.packets > _MOST_PACKETS):
            self.refuse_long(f"more than {MAX_FRAMES} frames", f"{MAX_FRAMES}")

    def _check_segment(self, segment: Segment) -> None:
        """Check that all frames of a segment were decoded. Of one that was found by time, a few may be missing."""
        if self.decoded == segment.frames:
            return
        if self.starts_late(segment):
            self.check_damage(abs(segment.frames - self.decoded), segment.frames)
            return
        requested, last = f"frames {segment.start} to {segment.end}", segment.start + self.decoded - 1
        raise ClipError("outside", f"{self.name}: {requested} were requested, but it has {last}.")

    def _check_end(self, frames: int) -> None:
        """Check what can be checked when all frames are known."""
        if isinstance(self._data, FileBytes) and self._data.has_changed():
            raise ClipError("unreadable", f"{self.name}: the file changed while it was read. Extract again.")
        if frames < MIN_FRAMES:
            raise ClipError(
                "too_few_frames",
                f"{self.name}: {frames} frame{'s' * (frames != 1)}; a sign needs at least {MIN_FRAMES}.",
            )


def _pixel_aspect(track: Track) -> float:
    """Width of a pixel divided by its height; 1 if it is unknown, nearly 1, or would make a frame too large."""
    ratio = track.pixel_aspect
    fits = 0 < ratio * track.pixels <= MAX_PIXELS and ratio * track.width <= MAX_SIDE
    if abs(ratio - 1) <= _SQUARE_TOLERANCE or not fits:
        return 1.0
    return ratio
