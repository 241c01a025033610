"""Downloads one address to an unfinished file, and goes on with an unfinished file of an earlier run."""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from services.extractor.fetching.failures import DownloadFailed, FetchStopped
from services.extractor.fetching.links import ClipLink
from services.extractor.fetching.web import WebClient, WebResponse, retry_after

# An hour of video at 720 lines has 1 GB. The extractor reads larger files, too, but a host may send anything.
DEFAULT_MOST_BYTES = 2 * 1024**3
_CHUNK_BYTES = 64 * 1024
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_WEB_PAGE = re.compile(rb"\s*(?:<!doctype\s+html|<html|<head|<\?xml)", re.IGNORECASE)


@dataclass(frozen=True)
class DownloadLimits:
    """When a download is given up.

    Attributes:
        most_bytes: a video of more bytes is refused.
        speed_bytes: so many bytes must come...
        speed_seconds: ...in this time.
    """

    most_bytes: int = DEFAULT_MOST_BYTES
    speed_bytes: int = 32 * 1024
    speed_seconds: float = 30.0


@dataclass(frozen=True)
class _Origin:
    """What identifies the bytes of an unfinished file at its host, so that a download can go on.

    Attributes:
        etag: the strong ETag of the video; "" if it has none.
        modified: its Last-Modified; "" if it has none.
        total: its bytes; -1 if they are not known.
        url: the address at the end of the redirects, without secrets.
    """

    etag: str = ""
    modified: str = ""
    total: int = -1
    url: str = ""

    @property
    def validator(self) -> str:
        """The value of If-Range; "" if it is not certain that the host still has the same bytes."""
        return self.etag or self.modified


@dataclass(frozen=True)
class Downloaded:
    """A complete download: its unfinished file, final address, whether it was resumed, and whether its size is sure."""

    path: Path
    url: str
    resumed: bool
    has_known_size: bool


class PartFile:
    """The unfinished file of a link, and what is known about its origin."""

    def __init__(self, folder: Path, link: ClipLink) -> None:
        self.path = folder / f"{link.key}.part"
        self._origin_path = folder / f"{link.key}.json"

    @property
    def size(self) -> int:
        """Its bytes; 0 without a file."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def origin(self) -> _Origin:
        """What is known about its bytes."""
        try:
            values = json.loads(self._origin_path.read_bytes())
            origin = _Origin(**values)
            return origin if all(type(getattr(origin, name)) is type(values[name]) for name in values) else _Origin()
        except (OSError, ValueError, TypeError):
            return _Origin()

    def begin(self, origin: _Origin) -> None:
        """Remove the file, and remember the origin of the next one."""
        self.discard()
        new = self._origin_path.with_suffix(".new")
        new.write_text(json.dumps(asdict(origin)))
        new.replace(self._origin_path)

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left in the folder of unfinished files, and no later run needs.

    These are names that were not given yet, files that have their final name too, and origins without a file.
    """
    for path in folder.iterdir():
        if path.suffix == ".new" or (path.suffix == ".part" and path.stat().st_nlink > 1):
            path.unlink()
    for path in folder.glob("*.json"):
        if not path.with_suffix(".part").exists():
            path.unlink()


class Downloader:
    """Downloads links with HTTP. It may be used by several threads.

    Args:
        client: sends the requests.
        folder: the folder of unfinished files.
        limits: when a download is given up.
        stopped: whether all downloads must end.
        on_bytes: called with the number of bytes that came.
    """

    def __init__(
        self,
        client: WebClient,
        folder: Path,
        limits: DownloadLimits,
        stopped: Callable[[], bool],
        on_bytes: Callable[[int], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._limits = limits
        self._stopped = stopped
        self._on_bytes = on_bytes
        self._active: set[WebResponse] = set()

    def stop(self) -> None:
        """End all connections. `stopped` must be true already."""
        for response in tuple(self._active):
            response.end()

    def download(self, link: ClipLink) -> Downloaded:
        """Download a link to its unfinished file.

        Raises:
            DownloadFailed: it cannot be downloaded. The unfinished file is kept if the next attempt can go on with it.
            FetchStopped: all downloads must end.
        """
        part = PartFile(self._folder, link)
        size, origin = part.size, part.origin
        if size and size == origin.total:
            return Downloaded(part.path, origin.url, resumed=True, has_known_size=True)
        headers = {}
        if size and origin.validator and (origin.total < 0 or size < origin.total):
            headers = {"Range": f"bytes={size}-", "If-Range": origin.validator}
        with self._client.get(link.url, headers) as response:
            if headers and response.status == 416 and _total(response) == size:
                return Downloaded(part.path, response.url, resumed=True, has_known_size=True)
            resumed = bool(headers) and response.status == 206
            if resumed:
                _check_rest(response, origin, part)
                total = origin.total if origin.total >= 0 else _total(response)
            else:
                if response.status == 416:
                    part.discard()
                total = self._check_new(response)
                part.begin(_origin_of(response, total))
            self._receive(response, part, 0 if not resumed else size, total)
            return Downloaded(part.path, response.url, resumed, total >= 0)

    def _check_new(self, response: WebResponse) -> int:
        """The bytes of a new video; -1 if the host does not tell them.

        Raises:
            DownloadFailed: the answer has no video.
        """
        status, url = response.status, response.url
        if status == 200:
            length = str(response.headers.get("Content-Length", ""))
            total = int(length) if length.isdecimal() and len(length) < 19 else -1
            if total > self._limits.most_bytes:
                self._refuse_size(response, f"{total} bytes")
            return total
        if status in {404, 410}:
            raise DownloadFailed("gone", f"{url}: status {status}.", final_url=url)
        if status in {401, 403, 407}:
            raise DownloadFailed("forbidden", f"{url}: status {status}.", final_url=url)
        wait = retry_after(response.headers)
        if status in {429, 503}:
            raise DownloadFailed("busy", f"{url}: status {status}.", retry_seconds=wait, final_url=url)
        if status in {408, 416, 425} or status >= 500:
            raise DownloadFailed("server_error", f"{url}: status {status}.", retry_seconds=wait, final_url=url)
        raise DownloadFailed("status", f"{url}: status {status}.", final_url=url)

    def _receive(self, response: WebResponse, part: PartFile, size: int, total: int) -> None:
        """Append the body of an answer to the unfinished file, whose size is known."""
        self._active.add(response)
        try:
            with part.path.open("ab") as file:
                file.truncate(size)
                window_end, window_bytes = time.monotonic() + self._limits.speed_seconds, 0
                while True:
                    if self._stopped():
                        raise FetchStopped("stopped")
                    try:
                        chunk = response.read_some(_CHUNK_BYTES)
                    except DownloadFailed:
                        if self._stopped():
                            raise FetchStopped("stopped") from None
                        raise
                    if not chunk:
                        break
                    if not size and _is_web_page(response, chunk):
                        part.discard()
                        raise DownloadFailed("html", f"{response.url}: a web page.", final_url=response.url)
                    file.write(chunk)
                    size, window_bytes = size + len(chunk), window_bytes + len(chunk)
                    self._on_bytes(len(chunk))
                    if size > self._limits.most_bytes:
                        part.discard()
                        self._refuse_size(response, f"more than {self._limits.most_bytes} bytes")
                    if time.monotonic() >= window_end:
                        self._check_speed(response, window_bytes)
                        window_end, window_bytes = time.monotonic() + self._limits.speed_seconds, 0
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._active.discard(response)
        if self._stopped() and size < total:
            raise FetchStopped("stopped")
        if size < total or (not size and total < 0):
            raise DownloadFailed(
                "interrupted",
                f"{response.url}: {size} of {total if total >= 0 else 'unknown'} bytes came.",
                final_url=response.url,
            )

    def _check_speed(self, response: WebResponse, received: int) -> None:
        if received < self._limits.speed_bytes:
            raise DownloadFailed(
                "stalled",
                f"{response.url}: only {received} bytes came in {self._limits.speed_seconds:.0f} s.",
                final_url=response.url,
            )

    def _refuse_size(self, response: WebResponse, size: str) -> None:
        raise DownloadFailed(
            "too_large",
            f"{response.url}: {size}; the limit is {self._limits.most_bytes}. --max-megabytes changes it.",
            final_url=response.url,
        )


def _check_rest(response: WebResponse, origin: _Origin, part: PartFile) -> None:
    """Check that an answer has the rest of the unfinished file. Otherwise the next attempt begins anew.

    Raises:
        DownloadFailed: it has other bytes.
    """
    found = _CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")).strip())
    begins = found is not None and found[1] is not None and int(found[1][:18]) == part.size
    same_total = origin.total < 0 or _total(response) in {-1, origin.total}
    same_bytes = not origin.etag or response.headers.get("ETag", origin.etag) == origin.etag
    if not (begins and same_total and same_bytes):
        part.discard()
        raise DownloadFailed(
            "interrupted", f"{response.url}: the host sent another part than was requested.", final_url=response.url
        )


def _is_web_page(response: WebResponse, head: bytes) -> bool:
    kind = str(response.headers.get("Content-Type", "")).lower()
    return kind.startswith(("text/html", "application/xhtml")) and _WEB_PAGE.match(head) is not None


def _total(response: WebResponse) -> int:
    """The bytes of the whole video, from the header Content-Range; -1 if the host does not tell them."""
    found = _CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")).strip())
    return int(found[3]) if found and found[3] != "*" and len(found[3]) < 19 else -1


def _origin_of(response: WebResponse, total: int) -> _Origin:
    etag = _printable(response, "ETag")
    return _Origin(
        etag=etag if etag.startswith('"') else "",  # a weak one, W/"…", does not identify bytes
        modified=_printable(response, "Last-Modified"),
        total=total,
        url=response.url,
    )


def _printable(response: WebResponse, name: str) -> str:
    """The value of a header; "" if it cannot be sent back in a request."""
    value = str(response.headers.get(name, "")).strip()
    return value if value.isascii() and value.isprintable() else ""
