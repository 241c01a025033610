"""The demo fails with clear messages and the right exit status, and leaves no process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.local.demo import NO_CLIPS, DemoResult, find_clips, unseen_clip
from signet.client import Prediction
from signet.errors import NotFound
from signet.v1 import evaluator_pb2 as evaluator
from tests.conftest import ROOT, alive


def _corpus(folder: Path, instances: dict[str, tuple[str, bytes]], *, end: int = -1) -> Path:
    """A WLASL directory of one gloss: {video_id: (split, bytes of the file)}."""
    (folder / "clips").mkdir(parents=True)
    entries = [
        {"video_id": name, "split": split, "frame_start": 1, "frame_end": end, "signer_id": 1, "fps": 25, "url": "",
         "bbox": [0, 0, 1, 1], "instance_id": 0, "source": "", "variation_id": 0}
        for name, (split, _) in instances.items()
    ]  # fmt: skip
    (folder / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": entries}]))
    for name, (_, data) in instances.items():
        (folder / "clips" / f"{name}.mp4").write_bytes(data)
    return folder


def _start(folder: Path, wlasl: Path) -> subprocess.Popen[str]:
    """As from a terminal: what runs in the background of a script is born deaf to Ctrl-C."""
    environment = {**os.environ, "WLASL": str(wlasl), "PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "services.local.demo"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    family: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return family


def test_the_last_line_of_the_demo_has_a_fixed_format() -> None:
    outcome = DemoResult(
        report=evaluator.ReportSummary(top1=32 / 37, clips=37, top5=36 / 37, greedy_top1=30 / 37, blank_ratio=0.314),
        best=Prediction("thin", 0.968),
        truth="thin",
        seconds=311.7,
    )
    assert str(outcome) == (
        "demo: top1=0.865 n=37 top5=0.973 greedy=0.811 blank=0.31 predicted=thin truth=thin p=0.97 seconds=312"
    )


def test_without_clips_two_lines_say_how_to_get_them(tmp_path: Path) -> None:
    process = _start(tmp_path, tmp_path / "nowhere")
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == NO_CLIPS
    assert len(complaint.splitlines()) == 2
    assert str(tmp_path / "nowhere") in complaint
    assert "github.com/dxli94/WLASL" in complaint
    assert "WLASL=<dir>" in complaint


def test_clips_are_searched_in_the_usual_directories_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert find_clips("") is None
    _corpus(tmp_path / "work/data/wlasl", {"1": ("val", b"")})
    assert find_clips("") == Path("data/wlasl")
    _corpus(tmp_path / "shared/wlasl", {"1": ("val", b"")})
    assert find_clips("") == Path("../shared/wlasl")
    assert find_clips(str(tmp_path)) is None


def test_the_unseen_clip_is_not_identical_to_any_training_clip(tmp_path: Path) -> None:
    corpus = _corpus(
        tmp_path,
        {"1": ("train", b"a"), "2": ("val", b"a"), "3": ("val", b"b"), "4": ("val", b"c"), "5": ("test", b"d")},
    )
    assert unseen_clip(corpus, ["book"], []).clip_id == "3"
    assert unseen_clip(corpus, ["book"], ["3"]).clip_id == "4"
    with pytest.raises(NotFound, match="no val clip of drink"):
        unseen_clip(corpus, ["drink"], [])


def test_a_failed_demo_names_the_step_and_leaves_no_process(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus", {"1": ("train", b"<html>not found</html>"), "2": ("val", b"")})
    process = _start(tmp_path, corpus)
    family: set[psutil.Process] = set()
    while process.poll() is None:
        family.update(_family(process))
        time.sleep(0.2)
    output, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.startswith("demo failed: ")
    assert "Traceback" not in complaint
    assert "demo: top1" not in output
    assert len(family) >= 4
    assert alive(family) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    corpus = _corpus(tmp_path / "corpus", {"1": ("train", b""), "2": ("val", b"")})
    process = _start(tmp_path, corpus)
    family: set[psutil.Process] = set()
    # The store and at least one service are there.
    while len(family) < 2:
        assert process.poll() is None
        family.update(_family(process))
        time.sleep(0.05)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)
    assert complaint == "demo interrupted; extracted clips are kept.\n"
    # If Ctrl-C meets Python while it compiles code, such as that of a dataclass, the process ends by this signal,
    # which a shell reports as 130, too.
    assert process.returncode in (130, -signal.SIGINT)
    assert alive(family) == []
