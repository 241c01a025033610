"""The command line answers fast, and prints each error as one line."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.cli import COMMANDS
from signet import __version__
from tests.conftest import ROOT

# On an idle machine 0.2 s. Loading torch or MediaPipe would take several.
HELP_SECONDS = 1.5


def _signet(*arguments: str, program: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{program}\nfrom services.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def _without(package: str) -> str:
    """A program in which a package is not installed."""
    return f"import sys; sys.modules[{package!r}] = None"


# Loading one of these takes from half a second to several seconds.
HEAVY = ("torch", "matplotlib", "onnx", "onnxruntime", "mediapipe", "cv2", "minio", "jinja2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--help"), ("runs",), ("runs", "--help"), ("analyze", "--help"), ("features", "--help"),
        ("models", "--help"), ("models", "promote", "--help"),
    ],
)  # fmt: skip
def test_lists_and_help_load_no_heavy_library(arguments: tuple[str, ...], tmp_path: Path) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print('loaded', [m for m in {HEAVY} if m in sys.modules]))"
    (tmp_path / "runs/r1").mkdir(parents=True)
    (tmp_path / "runs/r1/config.json").write_text("{}")
    store = ("--store", f"file:{tmp_path}") if arguments == ("runs",) else ()
    done = _signet(*arguments, *store, program=report)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert arguments != ("runs",) or "r1" in done.stdout


def test_version_prints_the_version_of_the_package() -> None:
    assert _signet("--version").stdout == f"signet {__version__}\n"


def test_help_names_every_command_and_is_fast() -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = _signet("--help")
        seconds.append(time.perf_counter() - began)
    assert done.returncode == 0
    for command in (*COMMANDS, "demo", "up"):
        assert f" {command} " in done.stdout
    assert min(seconds) < HELP_SECONDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_the_help_of_its_service(command: str) -> None:
    done = _signet(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: signet {command}" in done.stdout
    assert {"predict": "--server", "serving": "--server", "fetch": "--clips"}.get(command, "--store") in done.stdout


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [("extract", "pebble", "extractor"), ("train", "torch", "trainer"), ("evaluate", "onnxruntime", "evaluator")],
)
def test_a_missing_package_gives_one_line_that_says_how_to_install_it(
    command: str, package: str, extra: str, tmp_path: Path
) -> None:
    done = _signet(command, "--store", f"file:{tmp_path}", program=_without(package))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"pip install 'signet[{extra}]'" in done.stderr


ALL_HELP = f"""
import sys
from services.cli import app
from signet.terminal.command import run_command
for command in {[[], *([name] for name in (*COMMANDS, "up", "demo")), ["models", "show"], ["models", "import"]]}:
    status = run_command(lambda: app([*command, "--help"], standalone_mode=False))
    assert status == 0, command
"""


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252"])
def test_the_help_of_every_command_is_written_in_an_encoding_without_box_characters(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALL_HELP], cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "300"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"\\u" not in done.stdout
    # Help is not parsed as markup: square brackets in it are shown.
    assert b"NAME[/VERSION]" in done.stdout


def test_a_signet_error_gives_one_line_and_exit_status_one(tmp_path: Path) -> None:
    done = _signet("evaluate", "--store", f"file:{tmp_path}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert "signet train" in done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["train", "--no-such-flag"], ["--nonsense"]])
def test_an_unknown_command_or_flag_is_named_with_exit_status_two(arguments: list[str]) -> None:
    done = _signet(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr
