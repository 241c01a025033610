"""The NVML stand-in, compiled, and a process that finds it as its driver."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def compile_stand_in(folder: Path, *flags: str) -> Path:
    """Put the stand-in's library into this folder, which then serves as LD_LIBRARY_PATH; its source names the flags."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for the NVML stand-in: apt-get install gcc")
    source = Path(__file__).with_name("nvml_stand_in.c")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", target, source], check=True)
    return folder


class Conversation:
    """A Python process that answers each line it is sent with some lines and an empty one."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def ask(self, line: str = "") -> str:
        """The process's answer, without the empty line that ends it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = []
        while (said := self._process.stdout.readline()) != "\n":
            assert said, f"the process ended:\n{self._log.read_text()}"
            answer.append(said)
        return "".join(answer)

    @property
    def log(self) -> list[str]:
        """What it logged so far."""
        return self._log.read_text().splitlines()


@contextmanager
def conversation(script: str, log: Path, libraries: Path, **environment: str) -> Iterator[Conversation]:
    """A process with this script that finds its libraries there; what it logs goes to the file `log`."""
    with (
        log.open("w") as target,
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=target,
            text=True,
        ) as process,
    ):
        yield Conversation(process, log)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
