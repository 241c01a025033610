"""`signet extract --engine ray` on a real cluster of two nodes, one of which is killed in the middle."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.extractor.engines.ray_cluster import RayWorkers
from signet.errors import InvalidInput, NotReady, Unavailable
from signet.store import DirectoryStore
from tests.services.extractor.conftest import MakeVideo

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install 'signet[extractor,ray]'"
)

CLIPS = 6


@dataclass
class Nodes:
    """The cluster's process."""

    process: subprocess.Popen[str]
    address: str

    def kill_one(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "killed\n"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **ray, "COLUMNS": "200"}


@pytest.fixture
def nodes(environment: dict[str, str]) -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="sr")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "ray_nodes.py"), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address, "the cluster does not start"
    yield Nodes(process, address)
    process.communicate(timeout=180)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def corpus(make_video: MakeVideo, tmp_path: Path) -> Path:
    """Metadata and made videos: one is large, because it has an empty part of 40 MB, and one is no video."""
    folder = tmp_path / "wlasl"
    (folder / "clips").mkdir(parents=True)
    instances = []
    for number in range(CLIPS):
        make_video(f"wlasl/clips/{number}.mp4", frames=10 + number)
        instance = {"video_id": str(number), "split": "train", "signer_id": number, "fps": 25}
        instances.append(instance | {"frame_start": 1, "frame_end": -1})
    with (folder / "clips/0.mp4").open("ab") as large:
        large.write((40 * 1024**2).to_bytes(4, "big") + b"free" + bytes(40 * 1024**2 - 8))
    (folder / "clips/9.mp4").write_bytes(b"<!doctype html><html></html>")
    instances.append(instances[0] | {"video_id": "9"})
    (folder / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": "book", "instances": instances}]))
    return folder


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(corpus: Path, environment: dict[str, str]) -> Start:
    def begin(store: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "services.cli", "extract", "--wlasl", str(corpus), "--store", f"file:{store}"]
        return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=environment)  # fmt: skip

    return begin


def _objects(folder: Path) -> dict[str, bytes]:
    store = DirectoryStore(folder)
    return {info.key: store.get(info.key) for info in store.list("")}


def _wait_for_clips(folder: Path, process: subprocess.Popen[str]) -> None:
    while not list(folder.glob("landmarks/**/*.safetensors")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@needs_ray
def test_no_clip_is_lost_or_stored_twice_when_a_node_is_killed(nodes: Nodes, start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "ray", "--engine", "ray", "--ray-address", nodes.address)
    _wait_for_clips(tmp_path / "ray", process)
    first = {path.name: path.stat().st_ino for path in (tmp_path / "ray").rglob("*.safetensors")}
    nodes.kill_one()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 3, out
    assert "broken 9 (html): 9.mp4: " in out
    assert f"{CLIPS}" in next(line for line in out.splitlines() if "extracted" in line)
    after = {path.name: path.stat().st_ino for path in (tmp_path / "ray").rglob("*.safetensors")}
    assert len(after) == CLIPS
    assert {name: after[name] for name in first} == first, "nothing is stored twice"

    local = start(tmp_path / "local", "--workers", "1")
    out, _ = local.communicate(timeout=300)
    assert local.returncode == 3, out
    assert _objects(tmp_path / "ray") == _objects(tmp_path / "local"), "the manifest included"


@needs_ray
def test_ctrl_c_finishes_the_current_clips_and_the_command_resumes(nodes: Nodes, start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "ray", "--engine", "ray", "--ray-address", nodes.address)
    _wait_for_clips(tmp_path / "ray", process)
    process.send_signal(2)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130, out
    assert "the same command resumes" in out
    again = start(tmp_path / "ray", "--engine", "ray", "--ray-address", nodes.address)
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 3, out
    assert len(list((tmp_path / "ray").rglob("*.safetensors"))) == CLIPS


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotReady, match=r"pip install 'signet\[extractor,ray\]'"):
        RayWorkers("auto", 60.0)


@needs_ray
@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("nowhere", InvalidInput, "write host:port"),
        ("ray://h:1", InvalidInput, "write host:port"),
        ("h:99999", InvalidInput, "write host:port"),
        ("127.0.0.1:1", Unavailable, "nothing answers there"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(address: str, kind: type[Exception], said: str) -> None:
    started = time.monotonic()
    with pytest.raises(kind, match=said):
        RayWorkers(address, 60.0)
    assert time.monotonic() - started < 30
