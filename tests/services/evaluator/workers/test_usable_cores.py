"""The number of cores: that of the process, and no more than its container may use."""

import os
from pathlib import Path

import pytest

from services.evaluator.workers.usable_cores import count_usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", CORES),
        ("100000 100000\n", 1),
        ("150000 100000\n", min(2, CORES)),
        ("5000 100000\n", 1),
        ("6400000 100000\n", CORES),
        ("nonsense", CORES),
    ],
)
def test_a_container_limits_the_cores(tmp_path: Path, limit: str, expected: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    assert count_usable_cores(file) == expected


def test_without_a_container_all_cores_of_the_process_are_usable(tmp_path: Path) -> None:
    assert count_usable_cores(tmp_path / "none") == CORES
