"""The number of workers follows the memory limit of the container."""

from pathlib import Path

import pytest

from services.extractor.jobs.memory_limit import workers_that_fit


@pytest.mark.parametrize(
    ("limit", "workers"),
    [
        ("max", 16),
        ("9223372036854771712", 16),  # what version 1 writes if there is no limit
        (str(24 * 1024**3), 16),
        (str(5 * 1024**3), 4),
        (str(512 * 1024**2), 1),
        ("not a number", 16),
    ],
)
def test_a_container_gets_no_more_workers_than_fit_into_its_memory(tmp_path: Path, limit: str, workers: int) -> None:
    file = tmp_path / "memory.max"
    file.write_text(f"{limit}\n")
    assert workers_that_fit(16, (tmp_path / "missing", file)) == workers


def test_without_a_limit_there_is_a_worker_for_each_core(tmp_path: Path) -> None:
    assert workers_that_fit(3, (tmp_path / "missing",)) == 3
