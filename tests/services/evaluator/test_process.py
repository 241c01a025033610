"""The evaluator as a process, and its commands."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.evaluator.cli import app
from services.evaluator.models.cli import app as models_app
from services.evaluator.reports.report_store import list_reports
from services.evaluator.settings import EvaluatorSettings
from services.standalone.cli import app as standalone_app
from signet import landmarks
from signet.datasets.snapshot import Dataset
from signet.errors import DeadlineExceeded, InvalidInput, InvalidSetting, NotFound, SignetError, Unavailable
from signet.registry import ModelCard
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc, extractor_pb2, extractor_pb2_grpc
from tests.servers import stand_in_extractor
from tests.signet.client.test_clip_length import make_video

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

SIGNET = [sys.executable, "-m", "services.cli"]
COMMAND = [sys.executable, "-m", "services.evaluator"]
ROOT = Path(__file__).parents[3]


def environment(**added: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SIGNET_")}
    return {**own, **added}


@dataclass
class Process:
    process: subprocess.Popen[str]
    address: str
    metrics_port: int
    log: list[str]

    def sample(self, series: str) -> float | None:
        """The value of one series on /metrics; None if it is absent."""
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{series} ")), None)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.log += (self.process.stderr or []) if self.process.stderr else []
        return self.process.wait(20)


@contextmanager
def started(world: "World", prefix: Sequence[str] = (), **added: str) -> Iterator[Process]:
    """A real evaluator process on free ports. `prefix` is a command that runs the command after it."""
    added = {"SIGNET_STORE": world.store.url, "SIGNET_THREADS": "1", "SIGNET_REFRESH_SECONDS": "0.1", **added}
    child = subprocess.Popen([*prefix, *COMMAND], env=environment(**added), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    log = []
    for line in child.stderr:
        log.append(line)
        found = re.search(r"listening on (127\.0\.0\.1:\d+), metrics on :(\d+)", line)
        if found:
            break
    else:
        pytest.fail("".join(log))
    try:
        yield Process(child, found.group(1), int(found.group(2)), log)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        child.stderr.close()


@pytest.fixture
def process(world: "World", card: ModelCard) -> Iterator[Process]:
    """One that serves the published model."""
    with started(world) as one:
        yield one


def command(*arguments: str) -> Result:
    apps = {"models": models_app, "predict": standalone_app}
    return CliRunner().invoke(apps.get(arguments[0], app), list(arguments))


def failed(*arguments: str) -> SignetError:
    result = command(*arguments)
    assert isinstance(result.exception, SignetError), result.output
    return result.exception


def test_the_process_serves_the_published_model_and_stops_on_sigterm(
    process: Process, card: ModelCard, sign: Any, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(landmarks.dump(sign("c", "", 0.5 + 3 / 6)))
    result = command("predict", str(clip), "--server", process.address, "--top-k", "3")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.fullmatch(r" *1 +go +[01]\.\d{3} +█+.?", lines[1])
    assert len(lines) == 6
    assert re.fullmatch(r"go: 0\.\d to 0\.\d s into the clip; read as continuous signing: go", lines[4])
    assert lines[5].startswith(f"signet {card.version}; best path: go; blank in ")

    assert process.stop() == 0
    text = "".join(process.log)
    assert f"serving signet/{card.version}: 6 glosses" in text
    assert text.rstrip().endswith("stopped")
    assert "Traceback" not in text


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_served_version_is_evaluated_once_without_a_request(
    world: "World", snapshot: Dataset, card: ModelCard
) -> None:
    def accuracy(version: str) -> str:
        return f'signet_evaluator_report_accuracy{{name="signet",split="val",version="{version}"}}'

    with started(world, SIGNET_AUTO_EVALUATE="true") as first:
        wait_for(lambda: len(list_reports(world.store)) == 1)
        (report,) = list_reports(world.store)
        assert report.provenance.model_version == card.version
        newer = world.publish(snapshot, blank_penalty=0.0)
        wait_for(lambda: len(list_reports(world.store)) == 2)
        wait_for(lambda: first.sample(accuracy(newer.version)) is not None)
        assert first.sample(accuracy(card.version)) == report.top1.value
        assert first.sample("signet_evaluator_store_up") == 1
        assert first.stop() == 0
    with started(world, SIGNET_AUTO_EVALUATE="true") as second:
        assert second.sample(accuracy(card.version)) == report.top1.value, "shown again after a restart"
        time.sleep(0.5)  # several looks
        assert len(list_reports(world.store)) == 2
        assert second.stop() == 0
    assert "Traceback" not in "".join(first.log + second.log)


def test_predict_says_what_is_wrong_and_what_to_do(process: Process, sign: Any, tmp_path: Path) -> None:
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(landmarks.dump(sign("c", "", 0.5)))
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"not looked at: this evaluator has no extractor")
    error = failed("predict", str(video), "--server", process.address)
    assert isinstance(error, Unavailable)
    assert "--extractor" in str(error)
    error = failed("predict", str(clip), "--server", process.address, "--top-k", "50")
    assert isinstance(error, InvalidInput)
    assert "knows 6 glosses" in str(error)
    assert isinstance(failed("predict", str(tmp_path / "none.mp4"), "--server", process.address), InvalidInput)


def test_predict_without_a_server_fails_within_its_timeout(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        error = failed("predict", str(clip), "--server", address, "--timeout", "1")
    assert isinstance(error, Unavailable)
    assert f"{address}: no evaluator answers at this address" in str(error)
    assert time.monotonic() - started < 5


def test_predict_at_a_port_that_is_not_signets_says_what_listens_there(
    process: Process, sign: Any, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(landmarks.dump(sign("c", "", 0.5)))
    error = failed("predict", str(clip), "--server", f"127.0.0.1:{process.metrics_port}", "--timeout", "2")
    assert isinstance(error, Unavailable)
    assert "no evaluator answers at this address (a web server listens there" in str(error)
    error = failed("predict", str(clip), "--server", f"http://{process.address}")
    assert isinstance(error, InvalidSetting)
    assert "Give host:port" in str(error)


def test_predict_at_another_grpc_server_says_so(sign: Any, tmp_path: Path) -> None:
    clip = tmp_path / "clip.safetensors"
    clip.write_bytes(landmarks.dump(sign("c", "", 0.5)))
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        error = failed("predict", str(clip), "--server", f"127.0.0.1:{port}")
    finally:
        server.stop(None)
    assert isinstance(error, Unavailable)
    assert f"127.0.0.1:{port}: the server is not the service that this call is for" in str(error)


class SlowExtractor(extractor_pb2_grpc.ExtractorServicer):
    """An extractor that works until its caller has gone."""

    def __init__(self) -> None:
        self.remaining: list[float] = []
        self.left = threading.Event()

    def ExtractClip(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.remaining.append(context.time_remaining())
        context.add_callback(self.left.set)
        self.left.wait(300)
        return extractor_pb2.ExtractClipResponse()


@contextmanager
def slow_extractor() -> Iterator[tuple[SlowExtractor, str]]:
    servicer = SlowExtractor()
    with stand_in_extractor(servicer, 1) as address:
        try:
            yield servicer, address
        finally:
            servicer.left.set()


@contextmanager
def ctrl_c_allowed() -> Iterator[None]:
    """Shells start background commands with SIGINT ignored, and children inherit this."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_predict_on_a_long_video_names_timeout_and_ends_the_work_of_the_services(
    world: "World", card: ModelCard, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(make_video("mp4"))  # 20 s
    with slow_extractor() as (extractor, address), started(world, SIGNET_EXTRACTOR=address) as evaluator:
        error = failed("predict", str(clip), "--server", evaluator.address, "--timeout", "2")
        assert isinstance(error, DeadlineExceeded)
        assert str(error).startswith(f"{clip}: the extractor at {address}: no answer came within the deadline")
        assert str(error).endswith("The option --timeout sets this time; it was 2 s.")
        assert extractor.left.wait(20)

        # Without --timeout, it is chosen by the length of the video. Ctrl-C ends the work, too.
        extractor.left.clear()
        arguments = [*SIGNET, "predict", str(clip), "--server", evaluator.address]
        with ctrl_c_allowed():
            child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        wait_for(lambda: len(extractor.remaining) == 2)
        assert 150 < extractor.remaining[1] < 60 + 6 * 20 + 2
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=30)
        assert (child.returncode, "Traceback" in output) == (130, False), output
        assert extractor.left.wait(20)
        evaluator.stop()
    log = "".join(evaluator.log)
    assert "Traceback" not in log
    assert "ERROR" not in log


def test_evaluate_prints_the_figures_with_n_and_interval_and_saves_the_report(
    world: "World", card: ModelCard, tmp_path: Path
) -> None:
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    result = command("evaluate", "--store", world.store.url, "--html", str(page), "--json", str(figures))
    assert result.exit_code == 0, result.output
    assert re.search(r"top-1 +86 % +60–96 % +12 of 14", result.output)
    assert re.search(r"top-5 +93 % +69–99 % +13 of 14", result.output)
    assert re.search(r"book +100 % +2 of 2 +█{24}", result.output)
    assert "1 of 14 best paths empty (7 %, 1–31 %)" in result.output
    assert "note: Few clips" in result.output
    report_id = re.search(r"report (\S+) in file:", result.output)
    assert report_id is not None
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert report_id.group(1) in figures.read_text()

    listed = command("reports", "--store", world.store.url).output.splitlines()
    assert re.match(rf"{report_id.group(1)} +{card.version} +val +86 % \(60–96, n=14\)", listed[1])
    again = tmp_path / "again.html"
    shown = command("reports", report_id.group(1), "--store", world.store.url, "--html", str(again)).output
    assert "12 of 14" in shown
    assert again.read_text() == page.read_text()


def test_models_are_listed_newest_first_with_their_aliases(world: "World", snapshot: Dataset, card: ModelCard) -> None:
    newer = world.publish(snapshot)
    damaged = world.publish(snapshot)
    world.store.put(f"models/signet/{damaged.version}/model.json", b"{}")
    lines = command("models", "--store", world.store.url).output.splitlines()
    assert lines[1].startswith(damaged.version)
    assert "latest" in lines[1]
    assert "damaged" in lines[1]
    assert re.match(rf"{newer.version} +2026-01-01 +80 % \(49–94, n=10\) +6 +70 % +1,234 +made/", lines[2])
    assert lines[3].startswith(card.version)


def test_commands_on_an_empty_store_name_the_command_that_fills_it(world: "World") -> None:
    store = ("--store", world.store.url)
    for arguments, kind, words in (
        (("models", *store), NotFound, "signet train"),
        (("reports", *store), NotFound, "signet evaluate"),
        (("reports", "none", *store), NotFound, "signet reports"),
        (("reports", *store, "--html", "x"), InvalidInput, "REPORT_ID"),
        (("evaluate", *store), NotFound, "signet train"),
        (("evaluate", "--store", "ftp://x"), InvalidSetting, "http://host:port/bucket"),
    ):
        error = failed(*arguments)
        assert isinstance(error, kind)
        assert words in str(error)


def test_an_unusable_setting_is_named(monkeypatch: pytest.MonkeyPatch, world: "World") -> None:
    monkeypatch.setenv("SIGNET_THREADS", "many")
    error = failed("models", "--store", world.store.url)
    assert isinstance(error, InvalidSetting)
    assert str(error).startswith("SIGNET_THREADS='many'")


def test_help_names_every_setting() -> None:
    shown = subprocess.run(
        [*COMMAND, "--help"], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in EvaluatorSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown.stdout


def test_a_process_that_cannot_start_says_why_in_one_line() -> None:
    for added in ({"SIGNET_STORE": "ftp://nowhere"}, {"SIGNET_STORE": "http://127.0.0.1:1/signet"}):
        ended = subprocess.run(
            COMMAND, env=environment(**added), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert "ERROR" in ended.stderr


def test_eighty_clips_of_three_minutes_at_once_do_not_fill_the_memory_or_hold_up_a_short_clip(
    world: "World", card: ModelCard, sign: Callable[..., landmarks.Landmarks]
) -> None:
    """80 calls with two frames an hour apart, of 1.5 kB each, took more than 2 GiB."""
    seconds = np.linspace(0, 180, 1_800).astype(np.float32)
    longest = landmarks.dump(replace(sign("long", "", 0.5 + 2 / 6, frames=1_800), timestamps=seconds))
    two_frames = sign("two frames", "", 0.5, frames=2)
    hour = landmarks.dump(replace(two_frames, timestamps=np.array([0, 3_600], np.float32)))
    short = landmarks.dump(sign("short", "", 0.5 + 2 / 6, frames=40))
    with started(world) as evaluator, grpc.insecure_channel(evaluator.address) as channel:
        stub = evaluator_pb2_grpc.RecognizerStub(channel)
        attack = [
            stub.Recognize.future(evaluator_pb2.RecognizeRequest(landmarks=clip), timeout=60)
            for clip in [longest] * 80 + [hour] * 80
        ]
        answer = stub.Recognize(evaluator_pb2.RecognizeRequest(landmarks=short), timeout=30)
        assert answer.predictions[0].gloss == "drink"
        for call in attack:
            call.cancel()
        busy = [call for call in attack[:80] if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert busy
        assert all("Retry in 5 s" in call.details() for call in busy)
        assert dict(busy[0].trailing_metadata())["grpc-retry-pushback-ms"] == "5000"
        assert {call.code().name for call in attack[80:]} <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "CANCELLED"}
        status = Path(f"/proc/{evaluator.process.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) < 600_000  # type: ignore[union-attr]
        assert evaluator.stop() == 0
    assert "Traceback" not in "".join(evaluator.log)
