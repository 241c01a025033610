"""`signet extract` as a process: its exit statuses and output, and resuming after a kill at any moment."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.extractor.jobs.extraction import Extraction
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.sources.wlasl import read_wlasl
from signet.store import DirectoryStore
from tests.services.extractor.conftest import SHORT, MakeCorpus, wait_until_gone

pytestmark = pytest.mark.clips


def start(folder: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "extract", "--wlasl", str(folder), "--store", f"file:{store}", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def stored(store: Path) -> dict[str, Path]:
    return {path.name: path for path in (store / "landmarks").rglob("*.safetensors")}


def wait_for(store: Path, clips: int) -> None:
    deadline = time.monotonic() + 60
    while len(stored(store)) < clips:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_and_repeated_extraction_stores_the_same_bytes_as_an_undisturbed_one(
    make_corpus: MakeCorpus, workers: WorkerPool, tmp_path: Path
) -> None:
    folder = make_corpus(SHORT[:3])
    disturbed = tmp_path / "disturbed"

    process = start(folder, disturbed, "--workers", "2")
    wait_for(disturbed, 1)
    process.kill()
    finish(process)
    wait_until_gone(process.pid)  # the workers notice, whatever they were at
    kept = {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in stored(disturbed).items()}
    assert 1 <= len(kept) < 3

    status, out, err = finish(start(folder, disturbed, "--workers", "2"))
    assert (status, err) == (0, "")
    assert re.search(rf"extracted\D+{3 - len(kept)}\b", out)
    assert re.search(rf"present already\D+{len(kept)}\b", out)
    for name, identity in kept.items():
        path = stored(disturbed)[name]
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == identity

    undisturbed = Extraction(
        name="wlasl",
        corpus=read_wlasl(folder),
        choice=SelectionCriteria(),
        store=DirectoryStore(tmp_path / "undisturbed"),
        workers=workers,
        metrics=ExtractorMetrics(CollectorRegistry()),
    )
    assert undisturbed.run().extracted == 3
    expected = {name: path.read_bytes() for name, path in stored(tmp_path / "undisturbed").items()}
    assert {name: path.read_bytes() for name, path in stored(disturbed).items()} == expected


def test_ctrl_c_finishes_the_current_clips_and_the_command_says_how_to_resume(
    make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    folder = make_corpus(SHORT[:3])
    process = start(folder, tmp_path / "store", "--workers", "1")
    wait_for(tmp_path / "store", 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: workers and all
    status, out, err = finish(process)
    assert (status, err) == (130, "")
    assert "the same command resumes" in out
    assert re.search(r"not done\D+[12]\b", out)
    assert len(stored(tmp_path / "store")) in {1, 2}


def test_the_command_names_broken_clips_and_exits_with_their_status(
    wlasl: Path, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    others = {path.stem: path for path in (wlasl / "broken").iterdir()}
    folder = make_corpus(SHORT[:1], others)
    status, out, err = finish(start(folder, tmp_path / "store", "--stats", "--workers", "1"))
    assert (status, err) == (3, "")
    for name in others:
        assert re.search(rf"^broken {name} \((html|text_mangled)\): ", out, re.MULTILINE)
    assert re.search(r"broken\W+9\b", out)
    assert re.search(rf"{SHORT[0]}\W+bird\W+9x75x3\W+0\.75\b.*100%", out)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--wlasl", "/nowhere"], "/nowhere: no such file"),
        (["--gloss", "brd"], "no gloss 'brd'"),
        (["--split", "dev"], "no split 'dev'"),
        (["--store", "ftp://x/y"], "names no store"),
        (["--corpus", "a/b"], "'a/b' cannot name a corpus"),
    ],
)
def test_an_invalid_argument_gives_one_line_and_exit_status_one(
    make_corpus: MakeCorpus, tmp_path: Path, arguments: list[str], fault: str
) -> None:
    status, out, err = finish(start(make_corpus(SHORT[:1]), tmp_path / "store", *arguments))
    assert status == 1
    assert not out
    assert fault in err
    assert err.count("\n") == 1
