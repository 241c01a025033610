"""Worker processes get no secret of the process that starts them."""

from pathlib import Path

import pytest

from services.extractor.jobs.processes import clean_environment
from services.extractor.jobs.workers import WorkerPool

SECRETS = ("SIGNET_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "GITHUB_TOKEN")


def _read_environment() -> bytes:
    return Path("/proc/self/environ").read_bytes()


def test_a_worker_does_not_inherit_the_secret_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "very-secret")
    with WorkerPool(1) as workers:
        ((_, environment),) = workers.each(_read_environment, [("job", ())])
    assert isinstance(environment, bytes)
    assert b"PATH=" in environment
    assert b"very-secret" not in environment


def test_a_worker_keeps_what_its_libraries_need() -> None:
    needed = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "PYTHONPATH": "/code", "TZ": "UTC", "LC_ALL": "C"}
    assert clean_environment(needed | dict.fromkeys(SECRETS, "x")) == needed | {"OPENBLAS_NUM_THREADS": "1"}
    assert clean_environment({"OPENBLAS_NUM_THREADS": "4"}) == {"OPENBLAS_NUM_THREADS": "4"}
