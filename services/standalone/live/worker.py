"""The process behind `signet live`: it reads a camera, or a video at the speed of its clock, and tracks the signer.

It decodes foreign files, so it sends plain bytes and no pickles, and it can be killed at any time.
"""

import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from services.extractor.jobs.worker import set_up_process
from services.extractor.sources.pieces import cut_into_pieces, is_too_long
from services.extractor.tracking.stream_tracker import StreamTracker
from services.extractor.tracking.trackers import FAST_RATE
from services.extractor.video.decode import Frame, Segment, Video
from services.extractor.video.frame_choice import FrameChoice
from signet.errors import ClipError
from signet.landmarks import JOINTS

# The first byte of a message: the tracker is ready; landmarks with their time; the end; a fault.
READY, LANDMARKS, END, FAULT = b"r", b"l", b"e", b"f"
# The time of the frame, and how many frames came, were tracked, and were dropped until then.
HEADER = struct.Struct("<cdIII")
LANDMARK_BYTES = JOINTS * 3 * 2
MAX_MESSAGE_BYTES = 4096

# A frame that the tracker begins so late is dropped: the frame after it is due.
_LATE_SECONDS = 1.5 / FAST_RATE
# A camera without a picture for so long is given up.
_CAMERA_SECONDS = 10.0

Picture = npt.NDArray[np.uint8]


@dataclass
class _Counts:
    read: int = 0
    tracked: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class _Item:
    """A frame that is due for tracking."""

    frame: Frame
    late: bool


def run_live_worker(results: Connection, stderr: Connection, source: str | int, limits_memory: bool) -> None:
    """Track a video, or a camera, until it ends or this process is ended.

    Args:
        results: where the messages go.
        stderr: where standard error goes.
        source: the path of a video, or the number of a camera.
        limits_memory: whether this process may use only the memory that a video needs.
    """
    set_up_process(stderr, limits_memory)
    counts = _Counts()
    try:
        tracker = StreamTracker()
        results.send_bytes(HEADER.pack(READY, 0.0, 0, 0, 0))
        items = _camera_frames(source, counts) if isinstance(source, int) else _video_frames(Path(source), counts)
        for item in items:
            if item.late:
                counts.dropped += 1
                continue
            landmarks = tracker.track(item.frame.rgb).tobytes()
            counts.tracked += 1
            results.send_bytes(_header(LANDMARKS, item.frame.seconds, counts) + landmarks)
        results.send_bytes(_header(END, 0.0, counts))
    except ClipError as error:
        results.send_bytes(_header(FAULT, 0.0, counts) + f"{error.reason}\n{str(error)[:2000]}".encode()[:4000])
    except MemoryError:
        text = (
            "too_large\nthe video needs more memory than its process may use. Convert it to H.264, or make it smaller."
        )
        results.send_bytes(_header(FAULT, 0.0, counts) + text.encode())


def _header(kind: bytes, seconds: float, counts: _Counts) -> bytes:
    return HEADER.pack(kind, seconds, counts.read, counts.tracked, counts.dropped)


def _video_frames(path: Path, counts: _Counts) -> Iterator[_Item]:
    """The frames of a video that are tracked, each at its time. A frame that comes too late for its time is marked."""
    video = Video(path, path.name)
    times = video.packet_times()
    pieces: tuple[Segment | None, ...] = (None,)
    if times is not None and is_too_long(times):
        pieces = cut_into_pieces(times)
    began: float | None = None
    read = 0
    for piece in pieces:
        offset = 0.0 if piece is None or times is None else times[piece.start - 1]
        for frame in video.frames(piece, FAST_RATE):
            counts.read = read + video.decoded
            seconds = offset + frame.seconds
            now = time.monotonic()
            began = now - seconds if began is None else began
            wait = began + seconds - now
            if wait > 0:
                time.sleep(wait)
            yield _Item(Frame(frame.rgb, seconds), wait < -_LATE_SECONDS)
        read = counts.read = read + video.decoded


class _Camera:
    """Reads a camera in a thread, and keeps its newest picture."""

    def __init__(self, number: int, counts: _Counts) -> None:
        # The error below says more than the messages of OpenCV.
        cv2.setLogLevel(0)
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise ClipError(
                "unreadable",
                f"camera {number} cannot be opened. Check that it is connected, that no other program uses it, and "
                f"that this user may read /dev/video{number}; --camera names another one. A video works instead: "
                "signet live --video FILE",
            )
        self._counts = counts
        self._changed = threading.Condition()
        self._newest: tuple[Picture, float] | None = None
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def next_picture(self) -> tuple[Picture, float] | None:
        """The newest picture that was not given yet, RGB, and when it was taken; None if the camera gives no more."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._newest is not None or self._ended, _CAMERA_SECONDS):
                return None
            newest, self._newest = self._newest, None
        return newest

    def _read(self) -> None:
        while True:
            read, picture = self._capture.read()
            with self._changed:
                if not read:
                    self._ended = True
                    self._changed.notify()
                    return
                self._counts.read += 1
                self._newest = np.asarray(picture, np.uint8), time.monotonic()
                self._changed.notify()


def _camera_frames(number: int, counts: _Counts) -> Iterator[_Item]:
    """The pictures of a camera, about 10 a second. Those that came while the tracker worked are counted as dropped."""
    camera = _Camera(number, counts)
    choice = FrameChoice(FAST_RATE)
    first: float | None = None
    last_slot = -1
    while (taken := camera.next_picture()) is not None:
        picture, moment = taken
        first = moment if first is None else first
        seconds = moment - first
        if not choice.is_due(seconds, 0.0):
            continue
        slot = int(seconds * FAST_RATE)
        counts.dropped += max(0, slot - last_slot - 1)
        last_slot = slot
        yield _Item(Frame(np.ascontiguousarray(picture[..., ::-1]), seconds), late=False)
    raise ClipError("unreadable", f"camera {number} gives no more pictures. Check its cable, and start again.")
