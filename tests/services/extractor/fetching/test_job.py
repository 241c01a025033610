"""Whole runs against a real server: what is stored, what the ledger says, and what a second run does."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.extractor.fetching.checks import check_in_worker
from services.extractor.fetching.download import DownloadLimits
from services.extractor.fetching.job import FetchJob
from services.extractor.fetching.ledger import WORK_FOLDER, FetchLedger
from services.extractor.fetching.progress import FetchProgress, FetchSettings
from services.extractor.fetching.schedule import HostLimits
from services.extractor.fetching.survey import ClipState, find_files, survey_clips
from services.extractor.fetching.youtube import YoutubeDownloader
from services.extractor.jobs.workers import WorkerPool
from services.extractor.sources.wlasl import list_clip_directories, read_metadata, read_wlasl
from signet.errors import ClipError
from tests.services.extractor.conftest import MakeVideo
from tests.services.extractor.fetching.conftest import MakeMetadata
from tests.services.extractor.fetching.web_server import WebServer, cut_off, html, in_turn, status, video

SETTINGS = FetchSettings(
    host=HostLimits(2, 0.0),
    youtube=HostLimits(1, 0.0),
    backoff_seconds=0.01,
    read_seconds=2.0,
    limits=DownloadLimits(most_bytes=1_000_000),
)

Run = Callable[..., FetchProgress]


@pytest.fixture(autouse=True)
def _without_yt_dlp(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("job", "survey"):
        monkeypatch.setattr(f"services.extractor.fetching.{module}.has_yt_dlp", lambda: False)


@pytest.fixture
def fetch(workers: WorkerPool) -> Iterator[Run]:
    """Runs a job for all instances of the metadata in a directory."""

    def run(folder: Path, settings: FetchSettings = SETTINGS, cancel_after: int = 0) -> FetchProgress:
        instances = read_metadata(folder).instances
        directories = list_clip_directories(folder)
        with FetchLedger(directories[0], writable=True) as ledger:

            def on_change(state: FetchProgress) -> None:
                if cancel_after and state.received >= cancel_after:
                    job.cancel()

            job = FetchJob(instances, directories, directories[0], ledger, workers, settings, on_change)
            return job.run()

    yield run


def reasons(folder: Path) -> dict[str, str]:
    """The reason of each clip; "" if it exists."""
    return {state.instance.clip_id: state.reason for state in states(folder)}


def states(folder: Path) -> list[ClipState]:
    instances = read_metadata(folder).instances
    directories = list_clip_directories(folder)
    with FetchLedger(directories[0], writable=False) as ledger:
        return survey_clips(instances, find_files(directories, instances), directories[0], ledger)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "clips").glob("*.m*"))


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "clips" / WORK_FOLDER).iterdir() if path.name != "lock")


def test_everything_that_hosts_do_has_its_outcome(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    pages = {
        "good": video(videos[0]),
        "page": html(),
        "moved": status(302, Location="/good"),
        "circle": status(302, Location="/circle"),
        "file": status(302, Location="file:///etc/passwd"),
        "busy": in_turn(status(429, Retry_After=0), status(503), video(videos[1])),
        "cut": cut_off(videos[2], 30_000, then=video(videos[2])),
        "half": video(videos[3][:50_000]),
        "text": video(b"no video at all, but some text"),
        "empty": video(b""),
        "down": status(500),
    }
    for name, page in pages.items():
        web.pages[f"/{name}"] = page
    listed = [(name, web.url(f"/{name}")) for name in [*pages, "gone"] if name != "empty"]
    folder = make_metadata(
        {"book": [*listed, ("flash", "http://a.org/a.swf"), ("none", ""), ("tube", "https://youtu.be/3-GrhsVs830")]}
    )
    result = fetch(folder)
    assert reasons(folder) == {
        "good": "", "page": "html", "moved": "", "circle": "redirect", "file": "redirect", "busy": "", "cut": "",
        "half": "truncated", "text": "unsupported", "down": "server_error", "gone": "gone", "flash": "flash",
        "none": "no_url", "tube": "needs_fetch",
    }  # fmt: skip
    assert names(folder) == ["busy.mp4", "cut.mp4", "good.mp4", "moved.mp4"]
    for name, data in {"good": 0, "moved": 0, "busy": 1, "cut": 2}.items():
        assert (folder / "clips" / f"{name}.mp4").read_bytes() == videos[data]
    assert (result.total, result.stored, result.refused, result.failed) == (11, 4, 6, 1)
    assert left_over(folder) == []
    with FetchLedger(folder / "clips", writable=False) as ledger:
        assert len(ledger.links) == 14
        by_name = {record.url.rpartition("/")[2]: record for record in ledger.links.values()}
        assert by_name["moved"].final_url == web.url("/good")
        assert (by_name["busy"].attempts, by_name["down"].attempts, by_name["gone"].attempts) == (3, 4, 1)
        assert all(record.time for record in ledger.links.values())

    web.requests.clear()
    web.pages["/down"] = video(videos[4])
    again = fetch(folder)
    assert web.paths() == ["/down"]
    assert (again.total, again.stored) == (1, 1)

    web.requests.clear()
    web.pages["/gone"] = video(videos[5])
    fetch(folder, replace(SETTINGS, retry_refused=True))
    assert "/gone" in web.paths()
    assert "/good" not in web.paths()
    assert reasons(folder)["gone"] == ""


def test_instances_of_one_address_share_one_download(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    web.pages["/a.mov"] = video(videos[0])
    fetch(make_metadata({"book": [("1", web.url("/a.mov"))]}))
    folder = make_metadata({"book": [("1", web.url("/a.mov"))], "read": [("2", web.url("/a.mov"))]})
    fetch(folder)
    assert web.paths() == ["/a.mov"]
    assert names(folder) == ["1.mov", "2.mov"]
    assert (folder / "clips/1.mov").samefile(folder / "clips/2.mov")
    assert reasons(folder) == {"1": "", "2": ""}
    assert {path.name for path in read_wlasl(folder).files.values()} == {"1.mov", "2.mov"}


def test_existing_files_are_checked_and_broken_ones_replaced(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    folder = make_metadata({"book": [(name, web.url(f"/{name}")) for name in ("1", "2", "3")]})
    (folder / "videos").mkdir()
    (folder / "videos/1.mp4").write_bytes(videos[1])
    (folder / "videos/2.mp4").write_text("<!DOCTYPE html><html></html>")
    (folder / "videos/3.mp4").write_text("<!DOCTYPE html><html></html>")
    web.pages["/2"] = video(videos[2])
    result = fetch(folder)
    assert sorted(web.paths()) == ["/2", "/3"]
    assert reasons(folder) == {"1": "", "2": "", "3": "gone"}
    assert result.moved == (folder / "videos/2.mp4.broken",)
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["1.mp4", "2.mp4.broken", "3.mp4"]
    assert read_wlasl(folder).files["2"] == folder / "clips/2.mp4"
    web.requests.clear()
    assert fetch(folder).to_check == 0
    assert web.requests == []


def test_a_deleted_file_is_downloaded_again(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    web.pages["/1"] = video(videos[0])
    folder = make_metadata({"book": [("1", web.url("/1"))]})
    fetch(folder)
    (folder / "clips/1.mp4").unlink()
    assert fetch(folder).stored == 1
    assert reasons(folder) == {"1": ""}


def test_a_video_that_ends_before_the_sign_is_named(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    web.pages["/1"] = video(videos[0])
    folder = make_metadata({"book": [("1", web.url("/1"))]}, frame_start=5, frame_end=90)
    fetch(folder)
    assert reasons(folder) == {"1": "outside"}


def test_a_file_that_was_resumed_and_is_bad_is_downloaded_anew(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    """The host has given the same ETag to two files."""
    mixed = bytes(1000) + videos[0][1000:]
    web.pages["/1"] = in_turn(status(500), status(500))
    folder = make_metadata({"book": [("1", web.url("/1"))]})
    fetch(folder)
    web.pages["/1"] = cut_off(videos[0], 30_000, then=video(videos[0]))
    fetch(folder, replace(SETTINGS, attempts=1))
    (part,) = (folder / "clips" / WORK_FOLDER).glob("*.part")
    part.write_bytes(mixed[:30_000])
    web.requests.clear()
    fetch(folder)
    assert [request.headers.get("Range", "") for request in web.requests] == ["bytes=30000-", ""]
    assert (folder / "clips/1.mp4").read_bytes() == videos[0]


@pytest.mark.parametrize("reason", ["crashed", "timeout"])
def test_a_video_whose_check_crashed_or_took_too_long_is_fetched_by_the_next_run(
    web: WebServer,
    videos: list[bytes],
    make_metadata: MakeMetadata,
    fetch: Run,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    """The machine may have been short of memory or busy. The host is not at fault, so its other videos are fetched."""
    web.pages.update({f"/{number}": video(videos[number % 3]) for number in range(9)})
    folder = make_metadata({"book": [(str(number), web.url(f"/{number}")) for number in range(9)]})

    def fail(pool: Any, path: Path, instances: Any, name: str) -> Any:
        return (
            check_in_worker(pool, path, instances, name)
            if name == "8"
            else ClipError(reason, f"{name}: the check failed")
        )

    with monkeypatch.context() as patch:
        patch.setattr("services.extractor.fetching.job.check_in_worker", fail)
        result = fetch(folder)
    assert (result.stored, result.failed, result.refused) == (1, 8, 0)
    assert set(reasons(folder).values()) == {"", reason}
    assert len(web.requests) == 9, "each video was fetched once"
    assert fetch(folder).stored == 8
    assert set(reasons(folder).values()) == {""}


def test_a_host_that_is_down_is_not_asked_for_every_clip(make_metadata: MakeMetadata, fetch: Run) -> None:
    folder = make_metadata({"book": [(str(number), f"http://127.0.0.1:9/{number}") for number in range(40)]})
    result = fetch(folder)
    found = list(reasons(folder).values())
    assert result.failed == 40
    assert found.count("host_down") >= 34
    assert set(found) == {"host_down", "no_connection"}


def test_a_host_that_asks_to_wait_for_long_is_left_alone(
    web: WebServer, make_metadata: MakeMetadata, fetch: Run
) -> None:
    web.pages["/0"] = status(429, Retry_After=3600)
    folder = make_metadata({"book": [(str(number), web.url(f"/{number}")) for number in range(9)]})
    fetch(folder, replace(SETTINGS, host=HostLimits(1, 0.0)))
    assert web.paths() == ["/0"]
    assert reasons(folder)["0"] == "busy"
    assert reasons(folder)["8"] == "host_down"


def test_a_host_gets_no_more_than_its_downloads_at_a_time(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    for number in range(6):
        web.pages[f"/{number}"] = video(videos[number], delay=0.002)
    folder = make_metadata({"book": [(str(number), web.url(f"/{number}")) for number in range(6)]})
    assert fetch(folder).stored == 6
    assert web.most_at_a_time <= 2


def test_a_cancelled_run_goes_on_in_the_next(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run
) -> None:
    for number in range(4):
        web.pages[f"/{number}"] = video(videos[number], delay=0.05)
    folder = make_metadata({"book": [(str(number), web.url(f"/{number}")) for number in range(4)]})
    began = time.monotonic()
    result = fetch(folder, cancel_after=20_000)
    assert result.interrupted
    assert time.monotonic() - began < 10
    assert any(reason == "not_tried" for reason in reasons(folder).values())
    assert left_over(folder)
    for number in range(4):
        web.pages[f"/{number}"] = video(videos[number])
    fetch(folder)
    assert any(request.headers.get("Range") for request in web.requests)
    assert [(folder / f"clips/{number}.mp4").read_bytes() for number in range(4)] == videos[:4]


def test_videos_of_youtube_are_stored_once_under_their_id(
    make_video: MakeVideo, make_metadata: MakeMetadata, fetch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """yt-dlp is replaced, as tests do not use the internet."""
    made = make_video(frames=60)
    calls = []

    def run(self: YoutubeDownloader, command: list[str], log: Path) -> int:
        url = command[-1]
        calls.append(url)
        key = Path(command[command.index("--output") + 1]).name.split(".")[0]
        gone = url.endswith("gone4567890")
        log.write_text("ERROR: [youtube] gone4567890: Video unavailable\n" if gone else "done\n")
        if not gone:
            shutil.copy(made, log.parent / f"{key}.video.mp4")
        return int(gone)

    monkeypatch.setattr(YoutubeDownloader, "_run", run)
    for module in ("job", "survey"):
        monkeypatch.setattr(f"services.extractor.fetching.{module}.has_yt_dlp", lambda: True)
    tube = "https://www.youtube.com/watch?v="
    folder = make_metadata(
        {"book": [("1", f"{tube}abcdefghijk"), ("2", f"{tube}abcdefghijk"), ("3", f"{tube}gone4567890")]}
    )
    fetch(folder)
    assert len(calls) == 2
    assert names(folder) == ["abcdefghijk.mp4"]
    assert reasons(folder) == {"1": "", "2": "", "3": "gone"}
    fetch(folder)
    assert len(calls) == 2


def test_a_full_disk_is_an_error_with_the_directory(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, fetch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "clips/1.mp4")

    monkeypatch.setattr("services.extractor.fetching.job.place", full)
    web.pages["/1"] = video(videos[0])
    folder = make_metadata({"book": [("1", web.url("/1"))]})
    with pytest.raises(Exception, match=r"clips/1.mp4: cannot be written \(No space left"):
        fetch(folder)
    monkeypatch.undo()
    web.requests.clear()
    fetch(folder)
    assert web.requests == []  # the complete unfinished file was kept
    assert (folder / "clips/1.mp4").read_bytes() == videos[0]
