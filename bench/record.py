"""What every figure is kept with, and how it is measured apart from all others."""

import json
import multiprocessing
import resource
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


def kept(results: Path) -> dict[str, dict[str, Any]]:
    """The figures of a file by their rows; none where there is no file yet."""
    return json.loads(results.read_text()) if results.exists() else {}


def keep(results: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write a file's figures."""
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(rows, indent=1) + "\n")


def origin() -> dict[str, Any]:
    """Of which code a figure is, and when it was measured."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return {"commit": head.stdout.strip(), "day": f"{datetime.now(UTC):%Y-%m-%d}"}


def alone(measure: Callable[..., Found], *arguments: object) -> Found:
    """What it returns in a process that has held nothing else."""
    # Not a pool's worker, which is a daemon, and may have no workers of its own.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure, *arguments).result()


def resident_gib() -> float:
    """The most that this process has held in memory, or one that it has started, if that held more."""
    # Linux counts in KiB.
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
