"""The stack under test: an engine, images, a few clips, stand-in GPUs; brought up once, taken down at the end."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.child_processes import free_ports
from tests.conftest import ROOT
from tests.signet.nvml import compile_stand_in
from tests.stack.engine import NoEngine, engine
from tests.stack.stack import Ports, Stack, docker, pip_wheels, small_corpus

PROJECT = "signet-stack-test"


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A directory that containers, as users of their own, can read."""
    with tempfile.TemporaryDirectory(prefix="signet-stack-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def gpu_hook(ground: Path) -> Iterator[bool]:
    """An engine; whether it takes GPU reservations, which it does if it finds NVIDIA's hook as it starts."""
    hooks = ground / "hooks"
    hooks.mkdir()
    hook = hooks / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    try:
        with engine(hooks) as ours:
            yield ours
    except NoEngine as error:
        pytest.skip(f"stack test: {error}")


@pytest.fixture(scope="session")
def pip_conf(ground: Path) -> Iterator[Path]:
    """What pip is told in a build: where torch's CPU build is, if this machine has it."""
    conf = ground / "pip.conf"
    wheels = pip_wheels()
    if wheels is None:
        conf.write_text("")
        yield conf
        return
    (port,) = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(wheels.parent), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    conf.write_text(f"[global]\nfind-links = http://127.0.0.1:{port}/{wheels.name}/\n")
    yield conf
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def clips(wlasl: Path, ground: Path) -> Path:
    """The few clips that the stack is given."""
    return small_corpus(wlasl, ground / "wlasl")


@pytest.fixture(scope="session")
def video(clips: Path) -> bytes:
    """One clip to ask about."""
    return min((clips / "clips").glob("[0-9]*.mp4")).read_bytes()


@pytest.fixture(scope="session")
def stack(gpu_hook: bool, ground: Path, clips: Path, pip_conf: Path) -> Iterator[Stack]:
    """The project with its images built, not yet up; what is left of it at the end is removed."""
    stand_in = ground / "stand-in"
    stand_in.mkdir()
    compile_stand_in(stand_in)
    got = subprocess.run(
        [str(ROOT / "deploy/prometheus/get-prometheus")], capture_output=True, text=True, timeout=300, check=False
    )
    if got.returncode:
        pytest.skip(f"stack test: {got.stderr.strip().splitlines()[-1]}")
    programs = ground / "prometheus"
    programs.mkdir()
    for name in ("prometheus", "promtool"):
        shutil.copy(Path(got.stdout.strip()) / name, programs / name)
    shutil.copy(Path(__file__).with_name("prometheus.Dockerfile"), programs)

    ports = Ports(*free_ports(4))
    environment = {
        "WLASL_DIR": str(clips),
        "SIGNET_MAX_GLOSSES": "3",
        "SIGNET_NUM_EPOCHS": "200",
        "SIGNET_PORT": str(ports.recognizer),
        "STORE_CONSOLE_PORT": str(ports.console),
        "S3_PORT": str(ports.store),
        "PROMETHEUS_PORT": str(ports.prometheus),
        "STAND_IN": str(stand_in),
        "PROMETHEUS_PROGRAMS": str(programs),
        "PIP_CONF": str(pip_conf),
        "SIGNET_REVISION": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip(),
    }
    made = Stack(PROJECT, environment, ports)
    made.down("--volumes", "--remove-orphans")  # of a test that was killed
    started = time.monotonic()
    made.compose("build", "--quiet", timeout=1500)
    print(f"\nimages built in {time.monotonic() - started:.0f} s")
    yield made
    made.down("--volumes", "--remove-orphans", "--timeout", "5")
    docker("volume", "prune", "--force", "--filter", f"label=com.docker.compose.project={PROJECT}")
