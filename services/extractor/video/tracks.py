"""Chooses the video track that a player would show, and reads the times of its packets without decoding them."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from services.extractor.video.container import MATROSKA, MP4
from signet.errors import ClipError
from signet.rpc.limits import MAX_MESSAGE_BYTES

# The decoders that may run: those of the codecs that cameras, phones, browsers and converters write. The decoders of
# rare codecs are seldom tested with hostile files.
CODECS = frozenset((
    "apng", "av1", "dnxhd", "dvvideo", "ffv1", "flv", "gif", "h263", "h263i", "h264", "hevc", "huffyuv", "libaom-av1",
    "libdav1d",
    "libvpx", "libvpx-vp9", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2",
    "mpegvideo", "png", "prores", "qtrle", "rawvideo", "theora", "vc1", "vp8", "vp9", "wmv1", "wmv2", "wmv3",
))  # fmt: skip

# Tracks that are no video: cover pictures, chapter thumbnails, and layers that another track needs.
_NO_VIDEO = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)  # fmt: skip
# A track with fewer frames or a lower rate (in frames per second) is a preview or a slide show.
_MIN_FRAMES = 5
_MIN_FPS = 5.0
# In MP4 and MOV, programs often enable only the first track. An enabled track with fewer pixels than the largest track,
# by this factor, is a preview of it.
_PREVIEW_FACTOR = 8
# Packets are read of so many tracks. Phones write two: the video and a preview.
_MOST_VIDEO_TRACKS = 8
# Packets can be larger than the file: they can share bytes of the file, or be compressed in it. In a file of a camera
# each byte belongs to one packet at most.
_MOST_PACKET_BYTES, _MOST_PACKET_SHARE = 4 * MAX_MESSAGE_BYTES, 2
# The packets of all tracks. Ten minutes of video and sound have 100,000 at most; a file of some megabytes can declare
# millions. Packets of longer videos have at least so many bytes on average. 12 hours at 60 frames a second have 5
# million packets; their times need 100 MB.
_MOST_PACKETS, _LEAST_PACKET_BYTES, _MOST_PACKETS_OF_ANY = 500_000, 128, 5_000_000
# The smallest step between two frames, in seconds: a landmark tensor has at most 1000 frames a second.
MIN_STEP_SECONDS = 0.001
# The rate of a stream that has neither timestamps nor a rate.
FALLBACK_FPS = 25.0
# The bit of the first byte of a VP8 packet that says that its frame is shown (RFC 6386, 9.1).
_VP8_SHOWN = 0x10
# `on_packets` is called once for so many packets.
_PACKETS_AT_A_TIME = 2048


@dataclass(frozen=True)
class KeyFrame:
    """A packet from which decoding can begin: its display time and its decoding time, in ticks of its track."""

    pts: int
    dts: int


@dataclass(frozen=True, eq=False)
class Track:
    """A video track, and what its packets say.

    Attributes:
        index: its place among the streams of the file.
        width, height: the declared size of a picture; 0 if the header has none.
        is_default: whether the container marks the track as the one to show. MP4 and MOV call this enabled.
        fps: its nominal rate, in frames per second.
        pixel_aspect: width of a pixel divided by its height, as the header says it.
        packets: the number of its packets, with those that flush the decoder.
        declared: the number of frames that the index of an MP4 file declares; 0 in other containers.
        tick_seconds: the unit of `ticks`.
        ticks: int64, the display time of each packet that is shown, sorted.
        exact: whether each shown packet is a frame at its own time. Then frames can be found by time.
        key_pts, key_dts: int64, the display and decoding times of the key frames, in the order of decoding.
    """

    index: int
    width: int
    height: int
    is_default: bool
    fps: float
    pixel_aspect: float
    packets: int
    declared: int
    tick_seconds: float
    ticks: npt.NDArray[np.int64]
    exact: bool
    key_pts: npt.NDArray[np.int64]
    key_dts: npt.NDArray[np.int64]

    @property
    def pixels(self) -> int:
        """Width times height; 0 if the header has no size."""
        return self.width * self.height

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """The display time of each packet that is shown, in seconds, sorted."""
        return self.ticks * self.tick_seconds

    @property
    def moves(self) -> bool:
        """Whether the track has as many frames, and as many a second, as a video of a sign."""
        if len(self.ticks) < _MIN_FRAMES:
            return False
        times = self.times
        return bool(len(times) - 1 >= _MIN_FPS * (times[-1] - times[0]))

    def find_key_frame(self, ticks: int) -> KeyFrame | None:
        """Where to begin decoding for the pictures from a display time on: one key frame earlier than necessary.

        Pictures after a key frame may depend on pictures before it (open GOP), but not on those before the key frame
        before it. None stands for the begin of the track.
        """
        order = np.argsort(self.key_pts, kind="stable")
        place = int(np.searchsorted(self.key_pts[order], ticks, side="right")) - 2
        if place <= 0:
            return None
        chosen = order[place]
        return KeyFrame(int(self.key_pts[chosen]), int(self.key_dts[chosen]))


def check_packets(opened: Any, file_bytes: int, name: str, on_packets: Callable[[], None]) -> None:
    """Refuse a file that has absurdly many packets, or packets much larger than the file. Each packet is freed at once.

    Args:
        opened: the container that FFmpeg opened with a small `probesize`: FFmpeg keeps the packets that it probes.
        file_bytes: the size of the file. More packets are possible in a larger file.
        name: the name of the file in error messages.
        on_packets: called after each some thousand packets.

    Raises:
        ClipError: the packets of all tracks are too many or too large.
    """
    most_bytes = max(_MOST_PACKET_BYTES, _MOST_PACKET_SHARE * file_bytes)
    most_packets = min(_MOST_PACKETS_OF_ANY, max(_MOST_PACKETS, file_bytes // _LEAST_PACKET_BYTES))
    total_bytes = 0
    for count, packet in enumerate(opened.demux(), start=1):
        total_bytes += packet.size
        if count > most_packets:
            raise ClipError(
                "too_large",
                f"{name}: has more than {most_packets} packets in all. Convert it to H.264, without sound.",
            )
        if total_bytes > most_bytes:
            raise ClipError(
                "too_large", f"{name}: its packets have more than {most_bytes} bytes in all. Convert it to H.264."
            )
        if count % _PACKETS_AT_A_TIME == 0:
            on_packets()


def read_track(opened: Any, container: str, name: str, on_packets: Callable[[], None]) -> Track:
    """Choose a video track, and read the times of its packets. No packet is kept.

    A player shows the track with the default flag. Among several, or without a flag, the largest is taken. Cover
    pictures and thumbnails are never taken. Tracks with an unknown codec, previews and slide shows are only taken if
    the file has nothing else.

    Args:
        opened: the container that FFmpeg opened.
        container: its format.
        name: the name of the file in error messages.
        on_packets: called after each some thousand packets.

    Raises:
        ClipError: the file has no video track, or none with a known codec, or too many.
    """
    streams = [stream for stream in opened.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        what = "only still pictures, such as a cover," if opened.streams.video else "sound or data, but no video stream"
        raise ClipError("no_video", f"{name}: has {what}. Download the video itself.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise ClipError("undecodable", f"{name}: its video codec is unknown. Convert it to H.264.")
    allowed = [stream for stream in known if stream.codec_context.name in CODECS]
    if not allowed:
        codec = known[0].codec_context.name
        raise ClipError("undecodable", f"{name}: its video codec, {codec}, is not supported. Convert it to H.264.")
    if len(allowed) > _MOST_VIDEO_TRACKS:
        raise ClipError(
            "too_large",
            f"{name}: {len(allowed)} video tracks; at most {_MOST_VIDEO_TRACKS} are allowed. Keep the one of the sign.",
        )
    return _choose(_read_tracks(opened, allowed, container, on_packets), container)


class _PacketTimes:
    """Collects the times of the packets of one stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_vp8 = stream.codec_context.name == "vp8"
        self._packets = 0
        self._tick_seconds = 0.0
        self._has_all_times = True
        self._ticks, self._key_pts, self._key_dts = array("q"), array("q"), array("q")

    def add(self, packet: Any) -> None:
        """Note a packet. AVI has decoding times only."""
        if not self._packets:
            self._tick_seconds = float(packet.time_base)
        self._packets += 1
        pts, dts = packet.pts, packet.dts
        if not packet.size or packet.is_discard or (pts is None and dts is None):
            return
        self._ticks.append(dts if pts is None else pts)
        if pts is None or (self._is_vp8 and not memoryview(packet)[0] & _VP8_SHOWN):
            self._has_all_times = False
        elif packet.is_keyframe:
            self._key_pts.append(pts)
            self._key_dts.append(pts if dts is None else dts)

    def build(self, container: str) -> Track:
        """The track, after its last packet."""
        stream, context = self._stream, self._stream.codec_context
        ticks = np.sort(np.array(self._ticks, np.int64))
        steps = np.diff(ticks) * self._tick_seconds
        return Track(
            index=stream.index,
            width=context.width,
            height=context.height,
            is_default=bool(stream.disposition & Disposition.default),
            fps=_frame_rate(stream),
            pixel_aspect=float(stream.sample_aspect_ratio or 1),
            packets=self._packets,
            declared=sum(not entry.is_discard for entry in _index(stream)) if container == MP4 else 0,
            tick_seconds=self._tick_seconds,
            ticks=ticks,
            exact=container in {MP4, MATROSKA} and self._has_all_times and bool((steps >= MIN_STEP_SECONDS).all()),
            key_pts=np.array(self._key_pts, np.int64),
            key_dts=np.array(self._key_dts, np.int64),
        )


def _read_tracks(opened: Any, streams: Sequence[Any], container: str, on_packets: Callable[[], None]) -> list[Track]:
    times = {stream.index: _PacketTimes(stream) for stream in streams}
    for count, packet in enumerate(opened.demux(streams), start=1):
        # The packets that flush a decoder have the number of their stream in `stream` only.
        times[packet.stream.index].add(packet)
        if count % _PACKETS_AT_A_TIME == 0:
            on_packets()
    return [collected.build(container) for collected in times.values()]


def _index(stream: Any) -> Iterator[Any]:
    return (stream.index_entries[position] for position in range(len(stream.index_entries)))


def _frame_rate(stream: Any) -> float:
    """The nominal rate of the stream, in frames per second."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= 1 / MIN_STEP_SECONDS:
            return float(rate)
    return FALLBACK_FPS


def _choose(tracks: Sequence[Track], container: str) -> Track:
    tracks = [track for track in tracks if track.moves] or tracks
    largest = max(track.pixels for track in tracks)
    marked = [track for track in tracks if track.is_default]
    if container == MP4:
        marked = [track for track in marked if track.pixels * _PREVIEW_FACTOR >= largest]
    return max(marked or tracks, key=lambda track: track.pixels)
