"""A container engine for the test: the one that is there, or one that a script named by ENGINE_UP makes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

# Where a script that makes an engine is looked for if ENGINE_UP does not name one.
_SCRIPT = ROOT.parent / "shared/tools/engine-up.sh"
_STATE = Path("/tmp/signet-engine")  # noqa: S108  (the script's own default)
_START_SECONDS = 600


class NoEngine(Exception):
    """There is no engine, and none can be made; the message says why."""


@contextmanager
def engine(hooks: Path) -> Iterator[bool]:
    """Let DOCKER_HOST name a running engine; one that was started here is stopped afterwards.

    Args:
        hooks: put onto the PATH of an engine that is started here.

    Yields:
        Whether it was started here, and so has the hooks.

    Raises:
        NoEngine: there is none.
    """
    if _answers():
        yield False
        return
    state = Path(os.environ.get("STATE", _STATE))
    socket = f"unix://{state}/docker.sock"
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = socket
    try:
        if _answers():
            yield False
            return
        script = Path(os.environ.get("ENGINE_UP", _SCRIPT))
        if not script.is_file():
            raise NoEngine("no Docker engine answers (`docker info`), and no script to start one is named by ENGINE_UP")
        environment = {**os.environ, "PATH": f"{hooks}:{os.environ['PATH']}", "STATE": str(state)}
        up = subprocess.run(
            ["bash", str(script), "up"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if up.returncode or not _answers():
            last = (up.stderr or up.stdout).strip().splitlines()[-1:]
            raise NoEngine(f"no Docker engine answers, and {script.name} made none: {' '.join(last)}")
        try:
            yield True
        finally:
            subprocess.run(
                ["bash", str(script), "down"], env=environment, capture_output=True, timeout=120, check=False
            )
    finally:
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before


def _answers() -> bool:
    try:
        docker = subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False)
        compose = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return docker.returncode == 0 and compose.returncode == 0
