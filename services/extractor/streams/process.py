"""A process that tracks one stream. It can be killed, and another one continues the stream."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from services.extractor.jobs.processes import CleanContext
from services.extractor.streams import worker
from services.extractor.video.limits import REASONS
from signet.errors import ClipError, SignetError, Unavailable
from signet.landmarks import JOINTS

# Loading the networks takes 2 s of a core.
_START_SECONDS = 60.0
# A picture of the largest size takes 0.2 s. One that takes longer than this is made to take long.
PICTURE_SECONDS = 10.0


class StreamProcessDied(SignetError):
    """The process of a stream ended, or gave no answer in time."""

    code = "UNAVAILABLE"


class StreamProcess:
    """A process with one tracker. Its methods are called one at a time.

    Args:
        processes: starts processes with a clean environment.
        stderr: where its standard error goes.
        limits_memory: whether it may use only the memory that a picture needs.
    """

    def __init__(self, processes: CleanContext, stderr: Connection, *, limits_memory: bool = True) -> None:
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(
            target=worker.run_stream_worker, args=(theirs, stderr, limits_memory), daemon=True
        )
        self._process.start()
        theirs.close()
        self._thread = ThreadPoolExecutor(1, "stream")
        self._ready = False

    async def prepare(self) -> None:
        """Wait until the process can track a new stream.

        Raises:
            Unavailable: it did not start.
        """
        try:
            if not self._ready:
                await self._exchange(None, _START_SECONDS)
                self._ready = True
            await self._exchange(worker.RESTART, _START_SECONDS)
        except StreamProcessDied as error:
            raise Unavailable(f"the extractor could not start the process of a stream ({error}).") from error

    async def track(self, image: bytes) -> npt.NDArray[np.float16]:
        """Decode and track the next picture: landmarks float16 [75, 3].

        Raises:
            ClipError: the picture cannot be used. The process goes on.
            StreamProcessDied: the picture ended the process, or blocks it.
        """
        answer = await self._exchange(worker.PICTURE + image, PICTURE_SECONDS)
        if answer[:1] == worker.REFUSED:
            reason, _, message = answer[1:].decode(errors="replace").partition("\n")
            raise ClipError(reason if reason in REASONS else "crashed", message)
        if answer[:1] != worker.LANDMARKS or len(answer) != 1 + worker.LANDMARK_BYTES:
            raise StreamProcessDied("its answer is no landmarks")
        return np.frombuffer(answer, np.float16, offset=1).reshape(JOINTS, 3)

    def kill(self) -> None:
        """End the process at once. A call that waits for its answer gets `StreamProcessDied`."""
        self._process.kill()
        self._thread.submit(self._forget)
        self._thread.shutdown(wait=False)

    def _forget(self) -> None:
        self._process.join()
        self._connection.close()

    async def _exchange(self, message: bytes | None, seconds: float) -> bytes:
        """Send a message, if there is one, and wait for the answer."""
        exchange = asyncio.get_running_loop().run_in_executor(self._thread, self._send_and_receive, message)
        try:
            # A thread that waits for an answer ends when the process does.
            return await asyncio.wait_for(asyncio.shield(exchange), seconds)
        except TimeoutError:
            exchange.add_done_callback(asyncio.Future.exception)
            raise StreamProcessDied(f"it gave no answer for {seconds:g} s") from None
        except asyncio.CancelledError:
            exchange.add_done_callback(asyncio.Future.exception)
            raise

    def _send_and_receive(self, message: bytes | None) -> bytes:
        try:
            if message is not None:
                self._connection.send_bytes(message)
            return self._connection.recv_bytes(worker.MAX_ANSWER_BYTES)
        except (EOFError, OSError) as error:
            raise StreamProcessDied("it ended while it worked on a picture") from error
