"""`signet fetch` as a process: its output, its exit statuses, and what SIGKILL and Ctrl-C leave behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.extractor.fetching.cli import choose_instances
from services.extractor.sources.instances import Instance
from services.extractor.sources.selection import SelectionCriteria
from signet.errors import InvalidInput
from tests.conftest import RunSignet
from tests.services.extractor.conftest import wait_until_gone
from tests.services.extractor.fetching.conftest import MakeMetadata
from tests.services.extractor.fetching.web_server import WebServer, hang, html, video


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "fetch", "--wlasl", str(folder), "--interval", "0", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        start_new_session=True,
    )


def clips(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "clips").glob("*.mp4")}


def test_a_run_ends_with_what_exists_and_why_the_rest_does_not(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata, run_signet: RunSignet
) -> None:
    web.pages["/1"], web.pages["/2"] = video(videos[0]), html()
    url = web.url("/2?token=word").replace("//", "//me:pass@")
    folder = make_metadata({"book": [("1", web.url("/1")), ("2", url)], "read": [("3", web.url("/3"))]})
    web.pages["/2?token=word"] = html()
    arguments = ["fetch", "--wlasl", str(folder), "--interval", "0"]
    status, out, err = run_signet(arguments)
    assert status == 3, err
    lines = [line.split() for line in out.splitlines()]
    assert ["book", "1/2", "1/2"] in lines
    assert ["read", "0/1", "0/1"] in lines
    assert ["2", "glosses", "1/3", "1/3"] in lines
    assert ["gone", "127.0.0.1", "1", "1"] in lines
    assert ["html", "127.0.0.1", "1", "1"] in lines
    assert "1 of 3 links downloaded" in out
    ledger = (folder / "clips/fetch-ledger.jsonl").read_text()
    for secret in ("word", "pass", "me:"):
        assert secret not in out + err + ledger

    status, report, _ = run_signet([*arguments, "--report"])
    assert status == 3
    assert "1/2" in report
    assert run_signet([*arguments, "--gloss", "read", "--report"])[1].count("1 glosses") == 1
    assert run_signet([*arguments, "--gloss", "nothing"])[0] == 1


def test_a_run_that_is_killed_at_any_moment_leaves_what_the_next_one_needs(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata
) -> None:
    """No name of a clip ever belongs to half a file, and in the end all files are those of the server."""
    for number, data in enumerate(videos):
        web.pages[f"/{number}"] = video(data, delay=0.1)
    folder = make_metadata({"book": [(str(number), web.url(f"/{number}")) for number in range(len(videos))]})
    whole = {f"{number}.mp4": data for number, data in enumerate(videos)}
    moments = random.Random(5)  # noqa: S311
    for _ in range(3):
        process = start(folder)
        deadline, seen = time.monotonic() + 60, len(web.requests)
        while len(web.requests) == seen and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        wait_until_gone(process.pid)
        assert clips(folder).items() <= whole.items()
    for number, data in enumerate(videos):
        web.pages[f"/{number}"] = video(data)
    done = start(folder)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert clips(folder) == whole
    assert "6/6" in out
    assert "Clips that are missing" not in out
    lines = (folder / "clips/fetch-ledger.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines if line]
    assert {record["name"] for record in records if record["kind"] == "file"} == set(whole)
    assert [path.name for path in (folder / "clips/.fetch").iterdir()] == ["lock"]


def test_ctrl_c_ends_a_run_at_once_and_the_next_one_goes_on(
    web: WebServer, videos: list[bytes], make_metadata: MakeMetadata
) -> None:
    web.pages["/0"] = video(videos[0], delay=0.3)
    folder = make_metadata({"book": [("0", web.url("/0"))]})
    process = start(folder)
    deadline = time.monotonic() + 60
    while not list((folder / "clips/.fetch").glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "the same command goes on" in out
    assert "Traceback" not in err
    wait_until_gone(process.pid)
    web.pages["/0"] = video(videos[0])
    again = start(folder)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert web.requests[-1].headers["Range"].startswith("bytes=")
    assert clips(folder) == {"0.mp4": videos[0]}


def test_two_runs_do_not_download_to_one_directory(
    web: WebServer, make_metadata: MakeMetadata, run_signet: RunSignet
) -> None:
    web.pages["/0"] = hang
    folder = make_metadata({"book": [("0", web.url("/0"))]})
    process = start(folder)
    try:
        deadline = time.monotonic() + 60
        while not web.requests:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        status, _, err = run_signet(["fetch", "--wlasl", str(folder)])
        assert status == 1
        assert "another `signet fetch`" in err
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def test_the_first_glosses_are_chosen_in_the_order_of_the_metadata() -> None:
    listed = tuple(
        Instance(f"{gloss}{split}", gloss, split, "1", 1, -1) for gloss in ("b", "a", "c") for split in ("train", "val")
    )

    def chosen(*arguments: object) -> list[str]:
        return [one.clip_id for one in choose_instances(listed, SelectionCriteria(*arguments))]  # type: ignore[arg-type]

    assert chosen(2) == ["btrain", "bval", "atrain", "aval"]
    assert chosen(0) == [one.clip_id for one in listed]
    assert chosen(1, 0, ("val",)) == ["bval"]
    assert chosen(1, 0, (), ("c",)) == ["ctrain", "cval"]
    with pytest.raises(InvalidInput, match="test"):
        chosen(1, 0, ("test",))
