"""yt-dlp as a process: the real program downloads from a real server, and its messages have their reasons."""

import threading
import time
from pathlib import Path

import pytest

from services.extractor.fetching import youtube as module
from services.extractor.fetching.failures import DownloadFailed, FetchStopped
from services.extractor.fetching.links import ClipLink, LinkKind
from services.extractor.fetching.youtube import YoutubeDownloader, has_yt_dlp
from tests.services.extractor.fetching.web_server import WebServer, status, video

needs_yt_dlp = pytest.mark.skipif(not has_yt_dlp(), reason="yt-dlp is not installed: pip install 'signet[fetch]'")


def link(url: str) -> ClipLink:
    return ClipLink("key", url, LinkKind.YOUTUBE, "www.youtube.com", (), "abcdefghijk")


def downloader(folder: Path, stopped: threading.Event | None = None) -> YoutubeDownloader:
    return YoutubeDownloader(folder, (stopped or threading.Event()).is_set, lambda _: None)


@needs_yt_dlp
def test_yt_dlp_downloads_a_video_to_the_unfinished_file(web: WebServer, videos: list[bytes], tmp_path: Path) -> None:
    """It takes a direct address of a video, too; YouTube itself cannot be tried here."""
    folder = tmp_path / "100% (ext)s"
    folder.mkdir()
    web.pages["/a.mp4"] = video(videos[0])
    done = downloader(folder).download(link(web.url("/a.mp4")))
    assert done.path == folder / "key.part"
    assert done.path.read_bytes() == videos[0]
    assert [path.name for path in folder.iterdir()] == ["key.part"]


@needs_yt_dlp
def test_a_video_that_is_gone_has_its_reason(web: WebServer, tmp_path: Path) -> None:
    web.pages["/a.mp4"] = status(404)
    with pytest.raises(DownloadFailed) as caught:
        downloader(tmp_path).download(link(web.url("/a.mp4")))
    assert caught.value.reason == "gone"
    assert list(tmp_path.iterdir()) == []


@needs_yt_dlp
def test_a_stop_ends_yt_dlp(web: WebServer, videos: list[bytes], tmp_path: Path) -> None:
    web.pages["/a.mp4"] = video(videos[0], delay=1)
    stopped = threading.Event()
    threading.Timer(3, stopped.set).start()
    began = time.monotonic()
    with pytest.raises(FetchStopped):
        downloader(tmp_path, stopped).download(link(web.url("/a.mp4")))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ERROR: [youtube] abc: Video unavailable. This video has been removed by the uploader", "gone"),
        ("ERROR: [youtube] abc: Private video. Sign in if you've been granted access to this video", "gone"),
        ("ERROR: [youtube] abc: Sign in to confirm you’re not a bot. Use --cookies", "busy"),
        ("ERROR: unable to download video data: HTTP Error 429: Too Many Requests", "busy"),
        ("ERROR: [youtube] abc: Sign in to confirm your age. This video may be inappropriate", "forbidden"),
        ("ERROR: unable to download video data: HTTP Error 403: Forbidden", "forbidden"),
        ("ERROR: Unable to download API page: [Errno -2] Name or service not known", "unknown_host"),
        ("ERROR: unable to download video data: The read operation timed out", "interrupted"),
        ("ERROR: [youtube] abc: Signature extraction failed", "youtube"),
        ("ERROR: [youtube] abc: Requested format is not available. Use --list-formats for a list", "youtube"),
        ("[download] File is larger than max-filesize (70000000 bytes > 67108864 bytes). Aborting.", "too_large"),
        ("", "youtube"),
    ],
)
def test_what_yt_dlp_says_has_its_reason(line: str, reason: str) -> None:
    assert module._explain(link("https://www.youtube.com/watch?v=abc"), [line], 1).reason == reason
