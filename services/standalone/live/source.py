"""Landmarks of a camera, or of a video at the speed of its clock, from a process that can be killed."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from services.extractor.jobs.processes import CleanContext
from services.extractor.jobs.stderr_filter import StderrFilter
from services.extractor.video.limits import REASONS
from services.standalone.live import worker
from signet.errors import ClipError
from signet.landmarks import JOINTS

# Loading the networks takes 2 s of a core.
_START_SECONDS = 60.0
# A frame that takes longer is made to take long. A camera that gives no picture is given up earlier.
_FRAME_SECONDS = 20.0


@dataclass(frozen=True)
class LiveCounts:
    """How many frames came, were tracked, and were dropped because the tracker was busy."""

    read: int = 0
    tracked: int = 0
    dropped: int = 0


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """The landmarks of a frame: float16 [75, 3], NaN where a part is absent."""

    seconds: float
    joints: npt.NDArray[np.float16]


class LiveSource:
    """Reads a source in a process of its own.

    Args:
        source: the path of a video, or the number of a camera.
    """

    def __init__(self, source: str | int) -> None:
        self._name = f"camera {source}" if isinstance(source, int) else source
        self.counts = LiveCounts()
        self.ended = False
        self._ready = False
        self._heard = time.monotonic()
        processes = CleanContext()
        self._stderr = StderrFilter(processes)
        self._connection, theirs = processes.Pipe(duplex=False)
        # Drivers of cameras map memory of their own.
        arguments = (theirs, self._stderr.write_end, source, not isinstance(source, int))
        self._process = processes.Process(target=worker.run_live_worker, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._stderr.close()

    def next_frame(self, seconds: float) -> LiveFrame | None:
        """The next frame, if it comes within this time. `ended` says whether there are no more.

        Raises:
            ClipError: the source cannot be read, or its process has ended or takes too long.
        """
        if not self._connection.poll(seconds):
            limit = _FRAME_SECONDS if self._ready else _START_SECONDS
            if time.monotonic() - self._heard > limit:
                raise ClipError("timeout", f"{self._name}: no frame came for {limit:.0f} s. Convert it to H.264.")
            return None
        try:
            message = self._connection.recv_bytes(worker.MAX_MESSAGE_BYTES + worker.HEADER.size)
        except (EOFError, OSError) as error:
            raise ClipError(
                "crashed", f"{self._name}: the process that reads it has died. Convert a video to H.264."
            ) from error
        self._heard = time.monotonic()
        return self._take(message)

    def _take(self, message: bytes) -> LiveFrame | None:
        header, body = message[: worker.HEADER.size], message[worker.HEADER.size :]
        if len(header) < worker.HEADER.size:
            raise ClipError("crashed", f"{self._name}: the process that reads it sends nonsense. Convert it to H.264.")
        kind, seconds, *counts = worker.HEADER.unpack(header)
        self.counts = LiveCounts(*counts)
        self._ready = True
        if kind == worker.END:
            self.ended = True
        elif kind == worker.FAULT:
            reason, _, text = body.decode(errors="replace").partition("\n")
            raise ClipError(reason if reason in REASONS else "crashed", text)
        elif kind == worker.LANDMARKS and len(body) == worker.LANDMARK_BYTES:
            return LiveFrame(seconds, np.frombuffer(body, np.float16).reshape(JOINTS, 3))
        return None
