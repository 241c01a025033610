"""Keeps the landmarks of parts of a video on this machine, so that an interrupted transcription goes on from there.

A folder belongs to one video, by its sha256, to the parts into which it is cut, and to the version of the tracker. Each
part is one file, which appears when it is complete. No model takes part in it: another model or another threshold can
use the same landmarks.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from services.standalone.video_parts import TrackedPart, VideoPart, VideoPlan, read_part
from signet.errors import InvalidLandmarks

_log = logging.getLogger(__name__)

_FOLDER = "transcripts"
_TEMPORARY = ".signet-"
# Folders that were not used for so long are deleted. An hour of video has 20 MB.
_KEPT_SECONDS = 14 * 86_400.0


class PartCache:
    """The finished parts of one video. Without a folder, or on a full disk, they are kept in memory.

    Args:
        root: the directory of caches; None keeps nothing on the disk.
        plan: the video.
        tracker: the version of what makes the landmarks.
    """

    def __init__(self, root: Path | None, plan: VideoPlan, tracker: str) -> None:
        parts = repr([(part.lead, part.start, part.end) for part in plan.parts])
        key = hashlib.sha256(f"{plan.sha256}\n{tracker}\n{parts}".encode()).hexdigest()[:32]
        self.folder = root / _FOLDER / key if root is not None else None
        self._memory: dict[VideoPart, bytes] = {}
        if root is not None:
            _delete_old_folders(root / _FOLDER, key)

    def add(self, part: VideoPart, data: bytes) -> None:
        """Keep the landmark tensor of a part."""
        if self.folder is None or not _write(self.folder / _name(part), data):
            self._memory[part] = data

    def find(self, part: VideoPart) -> TrackedPart | None:
        """The landmarks of a part; None if they are not kept. A damaged file is deleted."""
        data = self._memory.get(part)
        path = None if self.folder is None else self.folder / _name(part)
        if data is None and path is not None:
            with suppress(OSError):
                data = path.read_bytes()
        if data is None:
            return None
        try:
            return read_part(data, part)
        except InvalidLandmarks as error:
            _log.warning("%s: damaged (%s); it is made again", path, error)
            self._memory.pop(part, None)
            if path is not None:
                with suppress(OSError):
                    path.unlink()
            return None

    def delete(self) -> None:
        """Delete the parts: the transcript is complete."""
        self._memory.clear()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _name(part: VideoPart) -> str:
    return f"{part.start}-{part.end}.safetensors"


def _write(path: Path, data: bytes) -> bool:
    """Write a file as a whole or not at all; False if it cannot be written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError as error:
        _log.info("%s: cannot be written (%s); continuing without it", path, error.strerror)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return False
    return True


def _delete_old_folders(root: Path, used: str) -> None:
    with suppress(OSError):
        for folder in root.iterdir():
            with suppress(OSError):
                if folder.name != used and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
