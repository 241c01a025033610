"""Receives videos in chunks into temporary files, for calls whose video is too large for one message.

The files of a process are in a folder of its own, whose lock it holds. A process that starts deletes the folders of
those that were killed.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.extractor.video.limits import MAX_FILE_BYTES
from signet.errors import Busy, DeadlineExceeded, InvalidInput
from signet.rpc.receiving import LARGE_REQUEST_BYTES
from signet.v1 import extractor_pb2 as pb

# The largest video, the largest chunk of it, and the videos that are received or worked on at a time. In a container,
# the temporary files are in memory.
MAX_UPLOAD_BYTES = MAX_FILE_BYTES
MAX_CHUNK_BYTES = LARGE_REQUEST_BYTES
MAX_UPLOADS = 3
_RETRY_SECONDS = 10

# The largest video arrives in 9 minutes over 1 Mbit/s.
CHUNK_SECONDS = 30.0
UPLOAD_SECONDS = 900.0

_PREFIX = "signet-uploads-"
_LOCK = "lock"
_NEW_SECONDS = 60.0


@dataclass(frozen=True)
class Upload:
    """A complete video in a temporary file."""

    path: Path
    clip_id: str
    wants_progress: bool = False


class UploadFolder:
    """The temporary files of this process. The folder is made for the first upload."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._folder: Path | None = None
        self._lock = -1
        self._uploads = 0

    def close(self) -> None:
        """Delete the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None

    @asynccontextmanager
    async def receive(self, requests: AsyncIterator[pb.ExtractClipStreamRequest]) -> AsyncIterator[Upload]:
        """Receive a video. Its file exists until the block ends, however it ends.

        Raises:
            InvalidInput: there is no video, or it is too large, or not complete.
            DeadlineExceeded: the chunks come too slowly.
            Busy: too many videos are being received, or there is no room for their files.
        """
        if self._uploads >= MAX_UPLOADS:
            raise Busy(
                f"the extractor receives or works on {MAX_UPLOADS} videos in chunks. Retry in {_RETRY_SECONDS} s.",
                _RETRY_SECONDS,
            )
        self._uploads += 1
        path: Path | None = None
        try:
            try:
                await asyncio.to_thread(self._make_folder)
                # A call that is cancelled while a thread makes its file would never delete it.
                handle, name = tempfile.mkstemp(dir=self._folder)
                path = Path(name)
                with os.fdopen(handle, "wb") as file:
                    first = await _write_chunks(requests, file)
            except OSError as error:
                raise Busy(
                    f"the extractor has no room for this video ({error.strerror}). Retry in {_RETRY_SECONDS} s.",
                    _RETRY_SECONDS,
                ) from error
            yield Upload(path, first.clip_id or "clip", first.progress)
        finally:
            self._uploads -= 1
            if path is not None:
                path.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        with self._making:
            if self._folder is None:
                _delete_abandoned_folders()
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
                self._lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                self._folder = folder


async def _write_chunks(
    requests: AsyncIterator[pb.ExtractClipStreamRequest], file: BinaryIO
) -> pb.ExtractClipStreamRequest:
    """Write all chunks of a video. Returns the fields of the first message, without its chunk."""
    end = time.monotonic() + UPLOAD_SECONDS
    size, first = 0, None
    while True:
        seconds = min(CHUNK_SECONDS, end - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                request = await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the video is not complete after {size} bytes: no chunk came for {CHUNK_SECONDS:g} s, or all of it "
                f"takes more than {UPLOAD_SECONDS:g} s. Send it again."
            ) from None
        if request is None:
            break
        if first is None:
            first = pb.ExtractClipStreamRequest(clip_id=request.clip_id, size=request.size, progress=request.progress)
        size += len(request.chunk)
        _check_size(max(size, first.size), len(request.chunk))
        await asyncio.to_thread(file.write, request.chunk)
    if first is None or not size:
        raise InvalidInput("the call ended without a video. Send its bytes in messages with the field `chunk`.")
    if first.size and size != first.size:
        raise InvalidInput(f"the video has {size} bytes, but {first.size} were announced. Send it again.")
    return first


def _check_size(size: int, chunk: int) -> None:
    if chunk > MAX_CHUNK_BYTES:
        raise InvalidInput(f"a chunk has {chunk} bytes; at most {MAX_CHUNK_BYTES} are allowed. Send smaller chunks.")
    if size > MAX_UPLOAD_BYTES:
        raise InvalidInput(
            f"the video has {size} bytes or more; at most {MAX_UPLOAD_BYTES} are allowed. Cut it to the signing, for "
            "example: ffmpeg -i video.mp4 -ss 0 -t 60 -c copy shorter.mp4"
        )


def _delete_abandoned_folders() -> None:
    """Delete the folders of processes that were killed: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            status = os.fstat(lock.fileno())
            # A process that has just made its lock file may not hold the lock yet.
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _NEW_SECONDS:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
