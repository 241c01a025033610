"""Result files of the benchmarks, and measurements in a process of their own."""

import json
import multiprocessing
import resource
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def load_results(results: Path) -> dict[str, dict[str, Any]]:
    """The figures of a result file, by row; empty if there is no file yet."""
    return json.loads(results.read_text()) if results.exists() else {}


def save_results(results: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the figures of a result file."""
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(rows, indent=1) + "\n")


def origin() -> dict[str, Any]:
    """The commit of the measured code, and the day of the measurement."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return {"commit": head.stdout.strip(), "day": f"{datetime.now(UTC):%Y-%m-%d}"}


def run_in_own_process(measure: Callable[..., Result], *arguments: object) -> Result:
    """Call `measure` in a new process, so that its memory is that of this measurement alone."""
    # A worker of multiprocessing.Pool would be a daemon, which cannot have workers of its own.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure, *arguments).result()


def peak_memory_gib() -> float:
    """The peak memory of this process, or of one of its child processes, if that is larger."""
    # Linux counts in KiB.
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
