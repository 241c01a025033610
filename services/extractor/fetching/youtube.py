"""Downloads a video of YouTube with yt-dlp, which runs as a process of its own."""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from services.extractor.fetching.download import Downloaded, DownloadLimits
from services.extractor.fetching.failures import DownloadFailed, FetchStopped
from services.extractor.fetching.links import ClipLink
from services.extractor.fetching.schedule import HostLimits
from services.extractor.jobs.processes import clean_environment

# YouTube blocks guests that ask for more than about 300 videos an hour.
YOUTUBE_LIMITS = HostLimits(at_a_time=1, interval_seconds=12.0)

# A video may take so long, and longer if so many bytes a second would take longer for the largest allowed one.
_MOST_SECONDS, _SLOWEST_BYTES = 900.0, 1_000_000
# Runs yt-dlp, and ends it when standard input is closed: also when SIGKILL ends this process.
_PROGRAM = """
import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("yt_dlp", run_name="__main__", alter_sys=True)
"""
# Videos without sound, because nothing needs it, and joining both would need ffmpeg. 720 lines show every finger.
_FORMATS = (
    "bv*[vcodec^=avc1][height<=720][filesize<{most_bytes}]/b[ext=mp4][height<=720]/"
    "bv*[height<=720][filesize<{most_bytes}]/b[height<=720]/wv*/w"
)
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})

# What yt-dlp says, in small letters.
_GONE = re.compile(
    r"video unavailable|is not available|no longer available|private video|video is private|been removed|terminated|"
    r"has been closed|copyright|incomplete youtube id|does not exist|http error 404|http error 410"
)
_BUSY = re.compile(r"not a bot|http error 429|too many requests|rate-limited|try again later")
_AGAIN = re.compile(r"timed out|connection|unable to download|http error 5|incomplete|reset")
_LOGIN = re.compile(r"sign in|age-restricted|confirm your age|members-only|join this channel|http error 403")


def has_yt_dlp() -> bool:
    """Whether yt-dlp is installed."""
    return importlib.util.find_spec("yt_dlp") is not None


class YoutubeDownloader:
    """Downloads videos with yt-dlp. It may be used by several threads.

    Args:
        folder: the folder of unfinished files.
        stopped: whether all downloads must end.
        on_bytes: called with the size of a video that came.
        limits: when a download is given up. Of these, only the largest size is used.
    """

    def __init__(
        self,
        folder: Path,
        stopped: Callable[[], bool],
        on_bytes: Callable[[int], None],
        limits: DownloadLimits = DownloadLimits(),  # noqa: B008  (frozen)
    ) -> None:
        self._folder = folder
        self._most_bytes = limits.most_bytes
        self._most_seconds = max(_MOST_SECONDS, limits.most_bytes / _SLOWEST_BYTES)
        self._stopped = stopped
        self._on_bytes = on_bytes

    def download(self, link: ClipLink) -> Downloaded:
        """Download a video. yt-dlp goes on with its own unfinished file.

        Raises:
            DownloadFailed: it cannot be downloaded.
            FetchStopped: all downloads must end.
        """
        part = self._folder / f"{link.key}.part"
        if part.exists():  # complete: yt-dlp has other names for unfinished files
            return Downloaded(part, link.url, resumed=False, has_known_size=True)
        log = self._folder / f"{link.key}.yt-dlp.log"
        try:
            status = self._run(_command(self._folder, link, self._most_bytes), log)
            lines = log.read_text(errors="replace").splitlines()
        finally:
            log.unlink(missing_ok=True)
        found = [path for path in self._folder.glob(f"{link.key}.video.*") if path.suffix not in {".part", ".ytdl"}]
        if status == 0 and len(found) == 1:
            self._on_bytes(found[0].stat().st_size)
            found[0].replace(part)
            return Downloaded(part, link.url, resumed=False, has_known_size=True)
        raise _explain(link, lines, status)

    def _run(self, command: list[str], log: Path) -> int:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=_environment(),
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + self._most_seconds
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=0.2)
                if self._stopped():
                    raise FetchStopped("stopped")
                if time.monotonic() > end:
                    return -1
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _command(folder: Path, link: ClipLink, most_bytes: int) -> list[str]:
    return [
        sys.executable, "-c", _PROGRAM, "--ignore-config", "--no-plugin-dirs", "--no-cache-dir", "--no-playlist",
        "--no-progress", "--no-colors", "--no-mtime", "--socket-timeout", "30", "--retries", "3",
        "--max-filesize", str(most_bytes), "--fixup", "never", "--format", _FORMATS.format(most_bytes=most_bytes),
        "--output", str(folder / f"{link.key}.video.%(ext)s").replace("%", "%%").replace("%%(ext)s", "%(ext)s"),
        "--", link.url,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """The environment of yt-dlp: it finds deno where pip has installed it, and the proxies of the system."""
    environment = clean_environment(os.environ)
    environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), environment.get("PATH", os.defpath)])
    return environment | {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}


def _explain(link: ClipLink, lines: list[str], status: int) -> DownloadFailed:
    """The failure for what yt-dlp has printed."""
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    text = errors[-1].removeprefix("ERROR:").strip()[:300] if errors else f"yt-dlp ended with status {status}"
    small = text.lower()
    if any("larger than max-filesize" in line for line in lines):
        reason, text = "too_large", "the video is larger than --max-megabytes allows"
    elif status == -1:
        reason, text = "stalled", "yt-dlp was not done in time"
    elif _BUSY.search(small):
        reason = "busy"
    elif "requested format is not available" in small:  # yt-dlp is too old for YouTube's present pages
        reason = "youtube"
    elif _GONE.search(small):
        reason = "gone"
    elif _LOGIN.search(small):
        reason = "forbidden"
    elif "name or service not known" in small or "failed to resolve" in small or "getaddrinfo" in small:
        reason = "unknown_host"
    elif _AGAIN.search(small):
        reason = "interrupted"
    else:
        reason = "youtube"
    return DownloadFailed(reason, f"{link.url}: {text}", final_url=link.url)
