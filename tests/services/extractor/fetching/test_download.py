"""Downloads to unfinished files, from a real server: ranges, sizes, speeds, and what goes on after an interruption."""

import hashlib
import threading
import time
from pathlib import Path

import pytest

from services.extractor.fetching.download import Downloader, DownloadLimits, PartFile, remove_leftovers
from services.extractor.fetching.failures import DownloadFailed, FetchStopped
from services.extractor.fetching.links import ClipLink, LinkKind
from services.extractor.fetching.web import WebClient
from tests.services.extractor.fetching.web_server import (
    Handler,
    Page,
    WebServer,
    cut_off,
    html,
    in_turn,
    send,
    status,
    video,
)

DATA = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(250)) * 10  # 80 kB


class Setup:
    """A downloader, and a link to one page."""

    def __init__(self, web: WebServer, folder: Path) -> None:
        self.web, self.folder = web, folder
        self.stopped = threading.Event()
        self.received: list[int] = []
        self.link = ClipLink("key", web.url("/a.mp4"), LinkKind.HTTP, "127.0.0.1", ())
        self.part = PartFile(folder, self.link)
        self.limits = DownloadLimits(most_bytes=100_000, speed_bytes=4000, speed_seconds=0.4)

    def run(self, page: Page | None = None) -> bytes:
        if page is not None:
            self.web.pages["/a.mp4"] = page
        client = WebClient(read_seconds=0.6)
        self.downloader = Downloader(client, self.folder, self.limits, self.stopped.is_set, self.received.append)
        self.result = self.downloader.download(self.link)
        return self.result.path.read_bytes()

    def failure(self, page: Page | None = None) -> str:
        with pytest.raises(DownloadFailed) as caught:
            self.run(page)
        return caught.value.reason

    def ranges(self) -> list[str]:
        return [request.headers.get("Range", "") for request in self.web.requests]


@pytest.fixture
def setup(web: WebServer, tmp_path: Path) -> Setup:
    return Setup(web, tmp_path)


def test_a_video_is_downloaded_and_its_bytes_are_counted(setup: Setup) -> None:
    assert setup.run(video(DATA)) == DATA
    assert sum(setup.received) == len(DATA)
    assert setup.result.url == setup.web.url("/a.mp4")
    assert not setup.result.resumed


@pytest.mark.parametrize("validator", ["etag", "date"])
def test_a_download_goes_on_where_it_ended(setup: Setup, validator: str) -> None:
    page = video(DATA, validator=validator)
    first = in_turn(_cut(page, 30_000), page)
    assert setup.failure(first) == "interrupted"
    assert setup.part.size == 30_000
    assert setup.run() == DATA
    assert setup.ranges() == ["", "bytes=30000-"]
    assert setup.result.resumed


def _cut(page: Page, size: int) -> Page:
    """A page of which only so many bytes of the body arrive."""

    def cut(handler: Handler) -> None:
        real = handler.wfile

        class Cut:
            def write(self, data: bytes) -> int:
                real.write(data if data.startswith(b"HTTP") else data[:size])
                return len(data)

            def flush(self) -> None:
                real.flush()

        handler.wfile = Cut()  # type: ignore[assignment]
        page(handler)
        handler.wfile = real
        handler.close_connection = True

    return cut


@pytest.mark.parametrize("validator", ["weak", "none"])
def test_a_download_without_a_strong_validator_begins_anew(setup: Setup, validator: str) -> None:
    page = video(DATA, validator=validator)
    assert setup.failure(in_turn(_cut(page, 30_000), page)) == "interrupted"
    assert setup.run() == DATA
    assert setup.ranges() == ["", ""]


def test_a_host_without_ranges_begins_anew(setup: Setup) -> None:
    assert setup.failure(cut_off(DATA, 30_000, then=video(DATA, ranges=False))) == "interrupted"
    assert setup.run() == DATA
    assert setup.ranges() == ["", "bytes=30000-"]
    assert not setup.result.resumed


def test_a_video_that_has_changed_begins_anew(setup: Setup) -> None:
    new = DATA[::-1]
    assert setup.failure(cut_off(DATA, 30_000, then=video(new))) == "interrupted"
    assert setup.run() == new


@pytest.mark.parametrize(
    "answer",
    [
        "bytes 29999-79999/80000", "bytes 30001-79999/80000", "bytes 30000-79999/80001", "nonsense", "",
        f"bytes {'3' * 5000}-4/5",
    ],
)  # fmt: skip
def test_another_part_than_was_requested_is_not_appended(setup: Setup, answer: str) -> None:
    def wrong(handler: Handler) -> None:
        handler.begin(206, Content_Range=answer, Content_Length=len(DATA) - 30_000)
        handler.wfile.write(DATA[30_000:])

    assert setup.failure(in_turn(cut_off(DATA, 30_000), wrong, video(DATA))) == "interrupted"
    assert setup.failure() == "interrupted"
    assert setup.run() == DATA
    assert setup.ranges() == ["", "bytes=30000-", ""]


def test_a_complete_unfinished_file_needs_no_request(setup: Setup) -> None:
    setup.run(video(DATA))
    assert setup.run() == DATA
    assert len(setup.web.requests) == 1


def test_the_end_of_a_video_of_unknown_size_is_confirmed_by_the_host(setup: Setup) -> None:
    """The length that was declared was too large; now the host says that nothing is left."""
    page = video(DATA)

    def too_long(handler: Handler) -> None:
        tag = hashlib.md5(DATA).hexdigest()  # noqa: S324
        handler.begin(200, Transfer_Encoding="chunked", ETag=f'"{tag}"')
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(DATA), DATA))
        handler.close_connection = True

    assert setup.failure(in_turn(too_long, page)) == "interrupted"
    assert setup.run() == DATA
    assert setup.ranges() == ["", f"bytes={len(DATA)}-"]


def test_a_chunked_video_is_complete_at_its_end(setup: Setup) -> None:
    def chunked(handler: Handler) -> None:
        handler.begin(200, Transfer_Encoding="chunked")
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DATA), DATA))

    assert setup.run(chunked) == DATA
    assert not setup.result.has_known_size


def test_an_answer_that_ends_within_its_headers_is_an_interruption(setup: Setup) -> None:
    def page(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nServer: a\r\n")
        handler.close_connection = True

    assert setup.failure(page) == "interrupted"


def test_a_length_that_is_too_large_is_an_interruption(setup: Setup) -> None:
    def page(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(DATA) + 1)
        handler.wfile.write(DATA)
        handler.close_connection = True

    assert setup.failure(page) == "interrupted"


def test_a_length_over_the_limit_is_refused_before_the_body(setup: Setup) -> None:
    assert setup.failure(lambda handler: handler.begin(200, Content_Length=100_001)) == "too_large"
    assert setup.received == []


def test_a_body_without_an_end_is_cut_at_the_limit(setup: Setup) -> None:
    def endless(handler: Handler) -> None:
        handler.begin(200)
        while not handler.web.closing.is_set():
            handler.wfile.write(DATA)

    assert setup.failure(endless) == "too_large"
    assert sum(setup.received) < 200_000
    assert not setup.part.path.exists()


def test_a_body_that_stops_is_given_up_and_kept(setup: Setup) -> None:
    def stall(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(DATA), ETag='"1"')
        handler.wfile.write(DATA[:10_000])
        handler.web.closing.wait(10)

    began = time.monotonic()
    assert setup.failure(stall) == "stalled"
    assert time.monotonic() - began < 3
    assert setup.part.size == 10_000


def test_a_body_that_drips_is_given_up(setup: Setup) -> None:
    def drip(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(DATA))
        for byte in DATA:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if handler.web.closing.wait(0.05):
                return

    began = time.monotonic()
    assert setup.failure(drip) == "stalled"
    assert time.monotonic() - began < 3


def test_a_web_page_is_no_video(setup: Setup) -> None:
    assert setup.failure(html()) == "html"
    assert not setup.part.path.exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (404, "gone"), (410, "gone"), (403, "forbidden"), (401, "forbidden"), (400, "status"), (451, "status"),
        (204, "status"), (304, "status"), (408, "server_error"), (500, "server_error"), (502, "server_error"),
        (429, "busy"), (503, "busy"),
    ],
)  # fmt: skip
def test_a_status_has_its_reason(setup: Setup, code: int, reason: str) -> None:
    assert setup.failure(status(code)) == reason


def test_a_busy_host_does_not_lose_the_unfinished_file(setup: Setup) -> None:
    with pytest.raises(DownloadFailed):
        setup.run(in_turn(cut_off(DATA, 30_000), status(429, Retry_After=9), video(DATA)))
    with pytest.raises(DownloadFailed) as caught:
        setup.run()
    assert caught.value.retry_seconds == 9
    assert setup.run() == DATA
    assert setup.ranges()[-1] == "bytes=30000-"


def test_what_is_known_about_an_unfinished_file_may_be_damaged(setup: Setup) -> None:
    for text in ("", "{", "[]", '{"etag": 5}', '{"other": 1}', "null", '{"total": "x"}'):
        assert setup.failure(cut_off(DATA, 30_000, then=video(DATA))) == "interrupted"
        (setup.folder / "key.json").write_text(text)
        assert setup.run() == DATA
        setup.part.discard()


def test_a_stop_ends_a_download_at_once_and_keeps_what_came(setup: Setup) -> None:
    setup.limits = DownloadLimits(most_bytes=100_000, speed_seconds=60)

    def slow(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(DATA), ETag='"1"')
        send(handler, DATA[:8192], 0.01)
        handler.web.closing.wait(10)

    def stop() -> None:
        while sum(setup.received) < 8192:
            time.sleep(0.01)
        setup.stopped.set()
        setup.downloader.stop()

    threading.Thread(target=stop).start()
    with pytest.raises(FetchStopped):
        setup.run(slow)
    assert setup.part.size == 8192


def test_leftovers_of_a_killed_run_are_removed_and_unfinished_files_are_kept(tmp_path: Path) -> None:
    work = tmp_path / ".fetch"
    work.mkdir()
    for name in ("lock", "open.part", "open.json", "placed.part", "placed.json", "bare.json", "1.mp4.new"):
        (work / name).write_bytes(b"x")
    (tmp_path / "2.mp4").hardlink_to(work / "placed.part")
    remove_leftovers(work)
    assert sorted(path.name for path in work.iterdir()) == ["lock", "open.json", "open.part"]
    assert (tmp_path / "2.mp4").read_bytes() == b"x"
