"""`make` says in one line what cannot be installed on a machine, before pip fails with many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.check_platform import MEDIAPIPE, TORCH, Machine, find_machine, find_obstacle
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (Machine("Linux", "aarch64", "2.36"), "the extractor needs, has no build for Linux on aarch64"),
        (Machine("Linux", "x86_64", ""), "musl"),
        (Machine("Linux", "aarch64", ""), "musl"),
        (Machine("Linux", "x86_64", "2.17"), "glibc 2.28 or newer, and this is 2.17"),
        (Machine("Linux", "ppc64le", "2.36"), "no build for Linux on ppc64le"),
        (Machine("Linux", "i686", "2.36", 32), "32 bits"),
        (Machine("Darwin", "x86_64", ""), "torch 2.13.0, which the trainer needs"),
        (Machine("Windows", "ARM64", ""), "mediapipe 0.10.21, which the extractor needs"),
    ],
)  # fmt: skip
def test_a_machine_without_mediapipe_is_named_in_one_line(machine: Machine, named: str) -> None:
    obstacle = find_obstacle(machine)
    assert named in obstacle
    assert "\n" not in obstacle
    assert "README.md" in obstacle


@pytest.mark.parametrize(
    "machine",
    [Machine("Linux", "x86_64", "2.28"), Machine("Linux", "x86_64", "2.41"), Machine("Darwin", "arm64", ""),
     Machine("Windows", "AMD64", "")],
)  # fmt: skip
def test_a_machine_with_all_wheels_is_accepted(machine: Machine) -> None:
    assert find_obstacle(machine) == ""


def test_this_machine_is_known() -> None:
    assert find_machine().system in {"Linux", "Darwin", "Windows"}
    requirements = (ROOT / "pyproject.toml").read_text()
    for package in (MEDIAPIPE, TORCH):
        assert package.replace(" ", "==") in requirements


def test_make_says_it_before_pip_and_makes_no_environment(tmp_path: Path) -> None:
    """A Python that says that it runs on ARM64, as on a Raspberry Pi or a Graviton server."""
    python = tmp_path / "python3.11"
    program = "import platform; platform.machine = lambda: 'aarch64'; import runpy, sys; sys.argv = sys.argv[1:]; "
    program += "runpy.run_path(sys.argv[0], run_name='__main__')"
    python.write_text(
        f'#!/bin/sh\ncase "$1" in *.py) exec "{sys.executable}" -c "{program}" "$@" ;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "demo", f"PYTHON={python}", f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "WLASL": "nowhere"},
    )  # fmt: skip
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "has no build for Linux on aarch64" in lines[0]
    assert "pip install" not in done.stdout
    assert not venv.exists()
