"""predict, transcribe and live as a person calls them, with nothing set up: real clips and the bundled model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from signet.pretrained import read_bundled_card
from signet.transcripts import Transcript
from tests.conftest import ROOT, RunSignet
from tests.services.standalone.videos import write_still

SIGNET = (sys.executable, "-m", "services.cli")


@pytest.fixture(autouse=True)
def _nothing_set_up(monkeypatch: pytest.MonkeyPatch, run_signet: RunSignet) -> None:
    for name in ("SIGNET_STORE", "SIGNET_EVALUATOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A video in which nobody is."""
    path = tmp_path / "still.mp4"
    write_still(path)
    return path


@pytest.mark.clips
def test_predict_needs_nothing_but_a_clip(val_clips: dict[str, Path], run_signet: RunSignet) -> None:
    chosen = dict(list(val_clips.items())[:4])
    status, output, error = run_signet(["predict", *map(str, chosen.values()), "--top-k", "3"])
    assert (status, error) == (0, "")
    answers = output.split(str(next(iter(chosen.values())).parent))[1:]
    right = sum(f"1  {gloss}" in answer for gloss, answer in zip(chosen, answers, strict=True))
    assert right >= 2
    assert f"asl100 {read_bundled_card().version}" in output


def test_a_video_without_signing_is_named_as_such(still: Path, run_signet: RunSignet) -> None:
    status, output, _ = run_signet(["predict", str(still)])
    assert status == 0
    assert output.startswith("nothing signed: no hand was found")


def test_clips_that_cannot_be_used_are_named_and_the_others_go_on(
    still: Path, tmp_path: Path, run_signet: RunSignet
) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<!DOCTYPE html><html></html>")
    status, output, error = run_signet(["predict", str(page), str(tmp_path / "none.mp4"), str(still)])
    assert status == 1
    assert "nothing signed" in output
    first, second = error.splitlines()
    assert first.startswith("error: page.mp4: ")
    assert second.startswith("error: ")
    assert "none.mp4: cannot be read (No such file or directory)" in second


def test_a_store_without_a_model_gets_a_note(still: Path, tmp_path: Path, run_signet: RunSignet) -> None:
    (tmp_path / "store/landmarks").mkdir(parents=True)
    status, output, error = run_signet(["predict", str(still), "--store", f"file:{tmp_path}/store"])
    assert status == 0
    assert "asl100" in output
    assert error.startswith("note: ")
    assert "The model that comes with Signet is used." in error
    status, _, error = run_signet(["predict", str(still), "--store", f"file:{tmp_path}/store", "--model-name", "own"])
    assert status == 1
    assert "own" in error


@pytest.mark.clips
def test_transcribe_writes_all_formats(talk: Path, tmp_path: Path, run_signet: RunSignet) -> None:
    pytest.importorskip("pympi")
    files = [tmp_path / f"talk.{kind}" for kind in ("vtt", "srt", "eaf", "json")]
    options = [word for path in files for word in (f"--{path.suffix[1:]}", str(path))]
    status, output, error = run_signet(["transcribe", str(talk), "--threshold", "0.2", *options])
    assert (status, error) == (0, "")
    transcript = Transcript.model_validate_json((tmp_path / "talk.json").read_bytes())
    assert len(transcript.signs) >= 3
    assert transcript.media.name == "my talk.mp4"
    starts = [sign.start for sign in transcript.signs]
    assert starts == sorted(starts)
    assert all(0 <= sign.start <= sign.end <= transcript.media.duration + 0.1 for sign in transcript.signs)
    assert all(sign.probability >= 0.2 for sign in transcript.signs)
    for path in files:
        assert f"{path}: {len(transcript.signs)} signs" in output
        assert transcript.signs[0].gloss in path.read_text()


@pytest.mark.clips
def test_transcribe_goes_on_after_sigkill_with_the_same_result(
    talk: Path, tmp_path: Path, run_signet: RunSignet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNET_CACHE", str(tmp_path / "cache"))
    program = (
        "import services.standalone.video_parts as parts; parts.PART_SECONDS = 2.0\n"
        "from services.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "transcribe", str(talk), "--workers", "1", "--threshold", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = subprocess.run([*command, "--json", "a.json"], cwd=tmp_path, env=environment, check=True)
    assert whole.returncode == 0
    assert list((tmp_path / "cache/transcripts").iterdir()) == []
    killed = subprocess.Popen([*command, "--json", "b.json"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cache/transcripts").glob("*/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "b.json").exists()
    resumed = subprocess.run(
        [*command, "--json", "b.json"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert "going on: " in resumed.stderr
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


def test_transcribe_of_a_video_without_signing_says_so(still: Path, run_signet: RunSignet) -> None:
    status, output, error = run_signet(["transcribe", str(still)])
    assert (status, error) == (0, "")
    assert output.startswith("no sign of the 100 that asl100 knows was found")


def test_transcribe_names_a_file_that_is_no_video_and_writes_nothing(tmp_path: Path, run_signet: RunSignet) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<!DOCTYPE html><html></html>")
    status, _, error = run_signet(["transcribe", str(page), "--vtt", str(tmp_path / "a.vtt")])
    assert status == 1
    assert error.startswith("error: page.mp4: ")
    assert not (tmp_path / "a.vtt").exists()


@pytest.mark.clips
def test_live_shows_the_signs_of_a_video_in_its_time(talk: Path, run_signet: RunSignet) -> None:
    began = time.monotonic()
    status, output, error = run_signet(["live", "--video", str(talk), "--threshold", "0.1"])
    with av.open(str(talk)) as file:
        seconds = file.duration / av.time_base
        frames = sum(1 for _ in file.decode(video=0))
    assert (status, error) == (0, "")
    assert time.monotonic() - began >= seconds - 0.5
    *signs, summary = output.splitlines()
    assert len(signs) >= 2
    assert all(" to " in line for line in signs)
    assert f"{len(signs)} signs;" in summary
    assert f"{frames} frames came" in summary
    assert "dropped; asl100" in summary


def test_live_names_a_camera_that_is_missing(run_signet: RunSignet) -> None:
    status, _, error = run_signet(["live", "--camera", "77"])
    assert status == 1
    assert error.startswith("error: camera 77 cannot be opened. Check that it is connected")


def test_live_names_a_file_that_is_no_video(tmp_path: Path, run_signet: RunSignet) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<!DOCTYPE html><html></html>")
    status, _, error = run_signet(["live", "--video", str(page)])
    assert status == 1
    assert error.startswith("error: page.mp4: ")


@pytest.mark.clips
def test_ctrl_c_ends_live_with_a_summary(talk: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    live = subprocess.Popen(
        [*SIGNET, "live", "--video", str(talk), "--threshold", "0"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert live.stdout is not None
    first = live.stdout.readline()
    live.send_signal(signal.SIGINT)
    output, error = live.communicate(timeout=60)
    assert (live.returncode, error) == (0, "")
    assert " to " in first
    assert "frames came" in output.splitlines()[-1]
