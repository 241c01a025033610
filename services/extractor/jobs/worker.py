"""The functions that run inside a worker process: verify a clip, or extract its landmark tensor."""

import contextlib
import ctypes
import gc
import logging
import math
import multiprocessing
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from services.extractor.jobs.board import JobBoard, VideoSize
from services.extractor.quality.measurement import add_quality
from services.extractor.sources.instances import Instance
from services.extractor.sources.selection import Usable
from services.extractor.sources.verification import find_clip
from services.extractor.tracking.lockstep import LockstepTracker
from services.extractor.tracking.trackers import FAST_RATE, TrackingQuality, create_tracker, fingerprint
from services.extractor.tracking.tracks import Tracker, Tracks
from services.extractor.video.decode import Frame, Segment, Video
from services.extractor.video.file_bytes import FileState, read_state
from services.extractor.video.limits import MAX_FILE_BYTES
from signet.errors import ClipError, InvalidLandmarks
from signet.landmarks import ClipRecord, Landmarks, dump

_log = logging.getLogger(__name__)

_MANY_PEOPLE = {
    TrackingQuality.FAST: "more than one person is in the picture; the landmarks are those of the one who moves most. "
    "Crop it if that is not the signer.",
    TrackingQuality.FULL: "more than one person is in the picture; the landmarks can be those of any. Crop it to the "
    "signer.",
}

# Memory that a worker can write to. A worker with its graph has 0.5 GB; the largest accepted frames need 0.4 GB more at
# most (16 reference frames of HEVC, 10 bits, 4:4:4). A file that makes the decoder request more gets an error.
# MediaPipe starts threads for each core.
_CORES = os.cpu_count() or 1
_DATA_BYTES = (896 + _CORES * 64) * 1024**2
# All addresses, also those that are only reserved: each thread reserves an arena that it never fills. This limit holds
# where the system does not count the memory of mappings as data.
_ADDRESS_SPACE_BYTES = 2 * 1024**3 + _CORES * 256 * 1024**2

Result = TypeVar("Result")

# The board, the place of the current job, and the trackers. Tests call the functions below without a board.
_state = threading.local()


@dataclass(frozen=True)
class Labels:
    """The labels of a clip that its record stores in addition to the measured data."""

    clip_id: str
    corpus: str = ""
    gloss: str = ""
    split: str = ""
    signer: str = ""


@dataclass(frozen=True)
class Extracted:
    """The result of an extraction.

    Attributes:
        data: the encoded landmark tensor.
        frames: the number of frames of the video.
        tracked_frames: the number of frames that were tracked.
        found: the number of tracked frames in which each part was found.
        decode_seconds: time to read and decode the video.
        landmark_seconds: time to track the frames.
        warnings: the warnings in the record of the clip.
    """

    data: bytes
    frames: int
    tracked_frames: int
    found: dict[str, int]
    decode_seconds: float
    landmark_seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def stage_seconds(self) -> dict[str, float]:
        """The seconds per stage, as the metrics name the stages."""
        return {"decode": self.decode_seconds, "landmarks": self.landmark_seconds}


def set_up(stderr: Connection, board: JobBoard, limits_memory: bool = True) -> None:
    """Prepare a new process as a worker.

    Its standard error goes to `stderr`, where the parent filters it. On the `board` it counts the frames of its jobs.
    """
    _state.board = board
    set_up_process(stderr, limits_memory)


def set_up_process(stderr: Connection, limits_memory: bool = True) -> None:
    """Prepare a new process that decodes foreign files: its standard error, signals, and limits of memory."""
    os.dup2(stderr.fileno(), 2)
    # Ctrl-C reaches the whole process group. The parent decides what happens to the current clip.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The pool ends a worker with SIGTERM. FFmpeg does not return to Python for minutes if a file is made for that.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if limits_memory:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
        resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Exit when the parent exits, even if SIGKILL ends it.

    PR_SET_PDEATHSIG is not suitable: it follows the thread that started this process, and such threads end earlier.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def run_job(place: int, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    """Run a function as the job with this place on the board.

    Raises:
        JobStopped: the job was stopped.
    """
    _state.board.check(place)
    _state.board.start(place)
    _state.place = place
    try:
        return function(*arguments)
    except Exception as error:
        _free_frames(error)
        raise
    finally:
        del _state.place


def _free_frames(error: BaseException | None) -> None:
    """Free what the functions that failed held: pebble keeps the error, with their variables, during the next job.

    The decoder of a 4K video has hundreds of megabytes.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc keeps freed memory, and the limit of a worker counts it
        ctypes.CDLL(None).malloc_trim(0)


def verify(path: Path, instance: Instance, cuts: bool = False) -> Usable:
    """Check a clip of the corpus, and find its frames. No landmarks are computed. See `sources.verification`.

    Args:
        path: the video.
        instance: the clip.
        cuts: whether a video that is too long for a clip is cut into pieces.

    Raises:
        ClipError: the clip is not usable.
    """
    video = open_video(path)
    note_packets(video, None)
    return find_clip(video, instance, cuts=cuts)


def extract_file(
    path: Path, usable: Usable, labels: Labels, quality: TrackingQuality = TrackingQuality.FAST
) -> Extracted:
    """Extract the landmark tensor of a verified clip.

    Raises:
        ClipError: the clip is not usable, or its file has changed since it was verified.
    """
    start = time.perf_counter()
    video = open_video(path)
    _check_verified(video, path, usable)
    return _extract(video, usable.segment, labels, quality, time.perf_counter() - start)


def extract_files(
    device: str, places: int, clips: Sequence[tuple[Path, Usable, Labels, TrackingQuality]]
) -> list[Extracted | ClipError]:
    """Extract the landmark tensors of several verified clips at a time, with the quality `fast`.

    Args:
        device: "cpu" or "cuda".
        places: the number of clips at a time, the same in each call of a process.
        clips: the arguments of `extract_file` for each clip.

    Returns:
        The result of each clip, or why it is not usable.
    """
    if not hasattr(_state, "lockstep"):
        _state.lockstep = LockstepTracker(FAST_RATE, places, device)
    tracker: LockstepTracker = _state.lockstep
    videos: dict[int, Video] = {}

    def decode(index: int) -> Iterator[Frame]:
        path, usable, _, _ = clips[index]
        # Several clips of one file are decoded at the same time: each has a `Video` of its own.
        videos[index] = Video(path, path.name)
        _check_verified(videos[index], path, usable)
        yield from _count_frames(videos[index], usable.segment, tracker.rate)

    outcomes: dict[int, Extracted | ClipError] = {}
    for index, outcome in tracker.track_clips((index, decode(index)) for index in range(len(clips))):
        _, usable, labels, quality = clips[index]
        if isinstance(outcome, ClipError):
            outcomes[index] = outcome
            continue
        try:
            outcomes[index] = _to_clip(videos.pop(index), usable.segment, labels, quality, outcome)
        except ClipError as error:
            outcomes[index] = error
    return [outcomes[index] for index in range(len(clips))]


def extract_upload(labels: Labels, path: Path, quality: TrackingQuality = TrackingQuality.FAST) -> Extracted:
    """Extract the landmark tensor of the video in a temporary file.

    Raises:
        ClipError: the video is not usable.
    """
    start = time.perf_counter()
    return _extract(Video(path, labels.clip_id), None, labels, quality, time.perf_counter() - start)


def extract_bytes(data: bytes, labels: Labels, quality: TrackingQuality = TrackingQuality.FAST) -> Extracted:
    """Extract the landmark tensor of an encoded video.

    Raises:
        ClipError: the video is not usable.
    """
    start = time.perf_counter()
    return _extract(Video(data, labels.clip_id), None, labels, quality, time.perf_counter() - start)


def _extract(
    video: Video, segment: Segment | None, labels: Labels, quality: TrackingQuality, read_seconds: float
) -> Extracted:
    tracker = _tracker(quality)
    tracks = tracker.track(_count_frames(video, segment, tracker.rate))
    return _to_clip(video, segment, labels, quality, tracks, read_seconds)


def _check_verified(video: Video, path: Path, usable: Usable) -> None:
    if video.sha256 != usable.sha256:
        raise ClipError("unreadable", f"{path}: the file changed while it was being extracted. Extract again.")


def open_video(path: Path) -> Video:
    """Open a video. A large one is kept for the next job, which often needs another part of it."""
    kept: tuple[Path, FileState, Video] | None = getattr(_state, "kept", None)
    if kept is not None:
        with contextlib.suppress(OSError):
            if kept[0] == path and kept[1] == read_state(path):
                kept[2].before_packet = lambda: None
                return kept[2]
        _state.kept = None
    video = Video(path, path.name)
    if video.state is not None and video.state.size > MAX_FILE_BYTES and video.state.is_settled:
        _state.kept = path, video.state, video
    return video


def _to_clip(
    video: Video,
    segment: Segment | None,
    labels: Labels,
    quality: TrackingQuality,
    tracks: Tracks,
    read_seconds: float = 0.0,
) -> Extracted:
    """The landmark tensor of a decoded video.

    Raises:
        ClipError: the labels are too long for the record of a clip.
    """
    clip = Landmarks(
        landmarks=tracks.landmarks,
        presence=tracks.presence,
        visibility=tracks.visibility,
        timestamps=tracks.timestamps,
        record=ClipRecord(
            **asdict(labels),
            fps=video.fps,
            width=tracks.width,
            height=tracks.height,
            source_sha256=video.sha256,
            frame_start=segment.start if segment else 1,
            frame_end=segment.end if segment else video.decoded,
            extractor=fingerprint(quality),
            warnings=(_MANY_PEOPLE[quality],) if tracks.many_people else (),
        ),
    )
    clip = add_quality(clip, video.display_times(segment), tracks.many_people)
    try:
        data = dump(clip)
    except InvalidLandmarks as error:
        raise ClipError(
            "too_large",
            f"{video.name}: its labels are too long to be stored with its landmarks ({error}). Shorten the gloss or "
            "the name of the signer.",
        ) from error
    return Extracted(
        data=data,
        frames=video.decoded,
        tracked_frames=len(tracks.timestamps),
        found=_count_parts(clip.presence),
        decode_seconds=read_seconds + tracks.decode_seconds,
        landmark_seconds=tracks.landmark_seconds,
        warnings=clip.record.warnings,
    )


def name_job(arguments: tuple[Any, ...]) -> str:
    """The name of a job in messages. A worker function takes a path, or the bytes of a file and its labels."""
    for argument in arguments:
        if isinstance(argument, Path):
            return argument.name
        if isinstance(argument, Labels):
            return argument.clip_id
    return "the clip"


def _count_frames(video: Video, segment: Segment | None, rate: float) -> Iterator[Frame]:
    """The frames of a clip to track, so many a second; 0 tracks all.

    If this is a job of the pool, those that are done are counted on the board.
    """
    frames = video.frames(segment, rate)
    if not hasattr(_state, "place"):
        return frames
    board: JobBoard = _state.board
    note_packets(video, segment, rate)
    return board.count(_state.place, frames, lambda: video.decoded)


def note_packets(video: Video, segment: Segment | None, rate: float = 0.0) -> None:
    """Show on the board that the job goes on, also where a video has many packets without a frame."""
    if not hasattr(_state, "place"):
        return
    board: JobBoard = _state.board
    place: int = _state.place

    def note() -> None:
        frames = segment.frames if segment else video.expected_frames
        tracked = min(frames, math.ceil(frames / video.fps * rate)) if rate else frames
        board.note_packet(place, VideoSize(frames, video.pixels, tracked))

    board.open(place)
    video.before_packet = note


def _count_parts(presence: npt.NDArray[np.uint8]) -> dict[str, int]:
    """The number of frames in which each part was found; `any_hand` counts frames with at least one hand."""
    pose, left, right = presence.astype(bool).T
    parts = {"pose": pose, "left_hand": left, "right_hand": right, "any_hand": left | right}
    return {part: int(present.sum()) for part, present in parts.items()}


def _tracker(quality: TrackingQuality) -> Tracker:
    """The one tracker of this process for this quality, created for the first clip."""
    if not hasattr(_state, "trackers"):
        _state.trackers = {}
    trackers: dict[TrackingQuality, Tracker] = _state.trackers
    if quality not in trackers:
        trackers[quality] = create_tracker(quality)
    return trackers[quality]
