"""What runs inside a worker process: it verifies a clip, or turns it into a landmark tensor."""

import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.extractor.sources.selection import Usable
from services.extractor.sources.wlasl import Instance, segment_of
from services.extractor.tracking.holistic import HolisticGraph, fingerprint
from services.extractor.video.decode import Segment, Video, read_file
from signet.errors import ClipError
from signet.landmarks import ClipRecord, Landmarks, dump

_log = logging.getLogger(__name__)

# A worker with its graph maps 0.9 GB; the largest frame that we take, and its copies, fit well into the rest. A file
# that makes the decoder ask for more gets an error instead of the machine's memory. MediaPipe starts threads by the
# core, and each reserves a stack and an arena that it never fills.
_ADDRESS_SPACE_BYTES = 6 * 1024**3 + (os.cpu_count() or 1) * 256 * 1024**2


@dataclass(frozen=True)
class Labels:
    """What a record says of a clip besides what is measured."""

    clip_id: str
    corpus: str = ""
    gloss: str = ""
    split: str = ""
    signer: str = ""


@dataclass(frozen=True)
class Extracted:
    """A clip's landmark tensor, encoded, what was found in how many of its frames, and where the time went."""

    data: bytes
    frames: int
    found: dict[str, int]
    decode_seconds: float
    landmark_seconds: float


def set_up(stderr: Connection) -> None:
    """Make a fresh process a worker. Its standard error goes to `stderr`, where the parent sifts it."""
    os.dup2(stderr.fileno(), 2)
    # Ctrl-C reaches the whole process group; what becomes of a clip under way is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End when the parent ends, even by SIGKILL.

    PR_SET_PDEATHSIG would not do: it follows the thread that made this process, and such threads come and go.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def verify(path: Path, instance: Instance) -> Usable:
    """Decode a clip of the corpus, without looking at its pictures.

    Raises:
        ClipError: it is not usable.
    """
    video = Video(read_file(path), path.name)
    segment, note = segment_of(instance, video.count())
    return Usable(video.sha256, segment, note)


def extract_file(path: Path, usable: Usable, labels: Labels) -> Extracted:
    """Turn a verified clip of the corpus into a landmark tensor.

    Raises:
        ClipError: it is not usable after all.
    """
    start = time.perf_counter()
    video = Video(read_file(path), path.name)
    if video.sha256 != usable.sha256:
        raise ClipError("unreadable", f"{path}: was changed while it was being extracted. Extract again.")
    return _extract(video, usable.segment, labels, time.perf_counter() - start)


def extract_bytes(data: bytes, labels: Labels) -> Extracted:
    """Turn an encoded video into a landmark tensor.

    Raises:
        ClipError: it is not usable.
    """
    start = time.perf_counter()
    return _extract(Video(data, labels.clip_id), None, labels, time.perf_counter() - start)


def _extract(video: Video, segment: Segment | None, labels: Labels, read_seconds: float) -> Extracted:
    tracks = _graph().track(video.frames(segment))
    frames = len(tracks.timestamps)
    clip = Landmarks(
        landmarks=tracks.landmarks,
        presence=tracks.presence,
        visibility=tracks.visibility,
        timestamps=tracks.timestamps,
        record=ClipRecord(
            clip_id=labels.clip_id,
            corpus=labels.corpus,
            gloss=labels.gloss,
            split=labels.split,
            signer=labels.signer,
            fps=video.fps,
            width=tracks.width,
            height=tracks.height,
            source_sha256=video.sha256,
            frame_start=segment.start if segment else 1,
            frame_end=segment.end if segment else frames,
            extractor=fingerprint(),
        ),
    )
    return Extracted(
        dump(clip), frames, _found(clip.presence), read_seconds + tracks.decode_seconds, tracks.landmark_seconds
    )


def _found(presence: npt.NDArray[np.uint8]) -> dict[str, int]:
    """In how many frames each part was found; a signing hand is either one."""
    pose, left, right = presence.astype(bool).T
    parts = {"pose": pose, "left_hand": left, "right_hand": right, "any_hand": left | right}
    return {part: int(found.sum()) for part, found in parts.items()}


_state = threading.local()


def _graph() -> HolisticGraph:
    """This process's one graph, made when the first clip wants it."""
    if not hasattr(_state, "graph"):
        _state.graph = HolisticGraph()
    graph: HolisticGraph = _state.graph
    return graph
