"""The places of streams: a bounded number of processes, of which some are kept for the next streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
import numpy.typing as npt

from services.extractor.jobs.processes import CleanContext
from services.extractor.jobs.stderr_filter import StderrFilter
from services.extractor.streams.process import StreamProcess, StreamProcessDied
from signet.errors import Busy, ClipError, InvalidInput, Unavailable

# A refused client should try again after this time: streams last minutes.
_RETRY_SECONDS = 10
# Processes without a stream that are kept, so that the next stream begins at once. Each has 250 MB.
_MAX_IDLE = 1
# So many pictures of a stream may end its process. The stream ends then.
_MAX_DEATHS = 3


class StreamPool:
    """Gives each stream a process of its own, which no other stream uses at the same time.

    Make it inside the event loop that serves, and close it.

    Args:
        places: the number of streams at a time; 0 refuses all.
        limits_memory: whether each process may use only the memory that a picture needs.
    """

    def __init__(self, places: int, *, limits_memory: bool = True) -> None:
        self.places = places
        self.open = 0
        self._limits_memory = limits_memory
        self._context = CleanContext()
        self._stderr: StderrFilter | None = None
        self._idle: list[StreamProcess] = []
        self._used: set[StreamProcess] = set()
        self._closed = False

    def close(self) -> None:
        """End all processes at once."""
        self._closed = True
        for process in (*self._idle, *self._used):
            process.kill()
        self._idle.clear()
        if self._stderr is not None:
            self._stderr.close()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator["TrackedStream"]:
        """A place for a stream, until the block ends.

        Raises:
            Busy: all places are taken.
            Unavailable: no process can be started.
        """
        if self.open >= self.places:
            raise Busy(
                f"the extractor tracks {self.open} streams of pictures, and has {self.places} places. Retry in "
                f"{_RETRY_SECONDS} s, or send landmarks.",
                _RETRY_SECONDS,
            )
        self.open += 1
        stream = TrackedStream(self)
        try:
            await stream.begin()
            yield stream
        finally:
            self.open -= 1
            stream.end()

    async def take(self) -> StreamProcess:
        """A process that is ready for a new stream.

        Raises:
            Unavailable: no process can be started.
        """
        if self._closed:
            raise Unavailable("the extractor was stopped. Open the stream again when it is back.")
        while self._idle:
            process = self._idle.pop()
            with suppress(Unavailable):  # it died while it waited
                return await self._prepare(process)
        if self._stderr is None:
            self._stderr = StderrFilter(self._context)
        # A start takes some milliseconds of this thread. In another thread, a cancelled call would lose the process.
        return await self._prepare(
            StreamProcess(self._context, self._stderr.write_end, limits_memory=self._limits_memory)
        )

    async def _prepare(self, process: StreamProcess) -> StreamProcess:
        self._used.add(process)
        try:
            await process.prepare()
        except BaseException:
            self.discard(process)
            raise
        return process

    def give_back(self, process: StreamProcess) -> None:
        """Keep a process that waits for a picture for the next stream, or end it if enough are kept."""
        if self._closed or len(self._idle) >= _MAX_IDLE:
            self.discard(process)
            return
        self._used.discard(process)
        self._idle.append(process)

    def discard(self, process: StreamProcess) -> None:
        """End a process."""
        self._used.discard(process)
        process.kill()


class TrackedStream:
    """The tracking of one stream. A picture that ends the process is refused, and a new process goes on."""

    def __init__(self, pool: StreamPool) -> None:
        self._pool = pool
        self._process: StreamProcess | None = None
        self._deaths = 0

    async def begin(self) -> None:
        """Get a process."""
        self._process = await self._pool.take()

    def end(self) -> None:
        """Give the process back."""
        if self._process is not None:
            self._pool.give_back(self._process)
            self._process = None

    async def track(self, image: bytes) -> npt.NDArray[np.float16]:
        """Decode and track the next picture: landmarks float16 [75, 3].

        Raises:
            ClipError: the picture cannot be used. The stream goes on.
            InvalidInput: too many pictures of this stream have ended its process.
            Unavailable: the pool is closed.
        """
        if self._process is None:
            await self.begin()
        process, self._process = self._process, None
        assert process is not None  # noqa: S101  (`begin` has set it)
        try:
            landmarks = await process.track(image)
        except ClipError:
            self._process = process
            raise
        except StreamProcessDied as error:
            self._pool.discard(process)
            self._deaths += 1
            if self._deaths >= _MAX_DEATHS:
                raise InvalidInput(
                    f"{self._deaths} pictures of this stream ended the process that decoded them; the last time, "
                    f"{error}. Send pictures of another encoder."
                ) from error
            raise ClipError(
                "crashed", f"the process that decoded the picture was replaced: {error}. Encode it again."
            ) from error
        except BaseException:
            # The call was cancelled: the process is busy with a picture that nobody waits for.
            self._pool.discard(process)
            raise
        self._process = process
        return landmarks
