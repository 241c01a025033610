"""Chooses the video track that a player would show, and reads its packets without decoding them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from av.stream import Disposition

from services.extractor.video.container import MP4
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
# Packets can be larger than the file: they can share bytes of the file, or be compressed in it.
_MOST_PACKET_BYTES = 4 * MAX_MESSAGE_BYTES
# The packets of all tracks. FFmpeg has 260 bytes for each. Ten minutes of video and sound have 100,000 at most; a file
# of some megabytes can declare millions.
_MOST_PACKETS = 500_000


@dataclass(frozen=True)
class Track:
    """A video track and its encoded content.

    Attributes:
        stream: FFmpeg's stream.
        packets: the packets of the stream in the order of decoding; the last ones flush the decoder.
        times: the display time of each packet that is shown, in seconds, sorted.
    """

    stream: Any
    packets: list[Any]
    times: list[float]

    @property
    def pixels(self) -> int:
        """Width times height; 0 if the header has no size."""
        return int(self.stream.codec_context.width * self.stream.codec_context.height)

    @property
    def is_default(self) -> bool:
        """Whether the container marks the track as the one to show. MP4 and MOV call this enabled."""
        return bool(self.stream.disposition & Disposition.default)

    @property
    def moves(self) -> bool:
        """Whether the track has as many frames, and as many a second, as a video of a sign."""
        if len(self.times) < _MIN_FRAMES:
            return False
        return len(self.times) - 1 >= _MIN_FPS * (self.times[-1] - self.times[0])


def check_packets(opened: Any, name: str) -> None:
    """Refuse a file that has absurdly many packets, or packets much larger than the file. Each packet is freed at once.

    Args:
        opened: the container that FFmpeg opened with a small `probesize`: FFmpeg keeps the packets that it probes.
        name: the name of the file in error messages.

    Raises:
        ClipError: the packets of all tracks are too many or too large.
    """
    total_bytes = 0
    for count, packet in enumerate(opened.demux(), start=1):
        total_bytes += packet.size
        if count > _MOST_PACKETS:
            raise ClipError(
                "too_large",
                f"{name}: has more than {_MOST_PACKETS} packets in all. Convert it to H.264, without sound.",
            )
        if total_bytes > _MOST_PACKET_BYTES:
            raise ClipError(
                "too_large",
                f"{name}: its packets have more than {_MOST_PACKET_BYTES} bytes in all. Convert it to H.264.",
            )


def read_track(opened: Any, container: str, name: str, most_packets: int) -> Track:
    """Choose a video track, and read its packets.

    A player shows the track with the default flag. Among several, or without a flag, the largest is taken. Cover
    pictures and thumbnails are never taken. Tracks with an unknown codec, previews and slide shows are only taken if
    the file has nothing else.

    Args:
        opened: the container that FFmpeg opened.
        container: its format.
        name: the name of the file in error messages.
        most_packets: how many packets of a track are read, at most.

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
    return _choose(_read_packets(opened, allowed, most_packets), container)


def _read_packets(opened: Any, streams: Sequence[Any], most_packets: int) -> list[Track]:
    packets: dict[int, list[Any]] = {stream.index: [] for stream in streams}
    for packet in opened.demux(streams):
        # The packets that flush a decoder have the number of their stream in `stream` only.
        if len(packets[packet.stream.index]) < most_packets:
            packets[packet.stream.index].append(packet)
        elif all(len(read) == most_packets for read in packets.values()):
            break
    return [Track(stream, packets[stream.index], _display_times(packets[stream.index])) for stream in streams]


def _display_times(packets: Sequence[Any]) -> list[float]:
    """The display times of the packets that are shown, in seconds, sorted. AVI has decoding times only."""
    if not packets:
        return []
    tick_seconds = float(packets[0].time_base)
    times = []
    for packet in packets:
        ticks = packet.dts if packet.pts is None else packet.pts
        if packet.size and ticks is not None and not packet.is_discard:
            times.append(ticks * tick_seconds)
    return sorted(times)


def _choose(tracks: Sequence[Track], container: str) -> Track:
    tracks = [track for track in tracks if track.moves] or tracks
    largest = max(track.pixels for track in tracks)
    marked = [track for track in tracks if track.is_default]
    if container == MP4:
        marked = [track for track in marked if track.pixels * _PREVIEW_FACTOR >= largest]
    return max(marked or tracks, key=lambda track: track.pixels)
