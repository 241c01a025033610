"""What a process needs to refuse a video."""

import re
from pathlib import Path

from services.extractor.video.decode import Video
from signet.errors import ClipError


def refuse(data: bytes, name: str) -> tuple[str, str, int]:
    """Decode a video in this process.

    Returns:
        The reason and the message of the refusal, "" if there is none; and the most memory that the process had, in MB.
    """
    reason = message = ""
    try:
        for _ in Video(data, name).frames():
            pass
    except ClipError as error:
        reason, message = error.reason, str(error)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return reason, message, int(peak.group(1)) // 1024
