"""progress.json: who trains a run, and how far it is."""

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from services.trainer.runs.progress import RunOwner, RunProgress, load_progress, resume_hint
from signet.errors import DataLoss
from signet.store import DirectoryStore, keys


def owned(pid: int, host: str, updated: str, began: str = "") -> RunProgress:
    return RunProgress.model_validate(
        {
            "dataset_name": "d", "dataset_version": "v", "corpus_version": "", "seconds": 1, "members": (),
            "owner": {"token": "t", "host": host, "pid": pid, "began": began}, "updated": updated,
        }
    )  # fmt: skip


def test_a_run_is_live_while_its_process_runs_or_may_run() -> None:
    here = socket.gethostname()
    long_ago, ever = "2026-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert owned(other.pid, here, long_ago).is_live()
        assert not owned(other.pid, here, ever, began="1").is_live(), "another process has the number now"
        other.terminate()
        other.wait(10)
        assert not owned(other.pid, here, ever).is_live()
    assert owned(1, "another", ever).is_live()
    assert not owned(1, "another", long_ago).is_live()


def test_a_run_is_not_live_if_its_process_released_it_or_has_the_pid_of_this_process() -> None:
    this = RunOwner.this_process()
    assert this.pid == os.getpid()
    assert this.is_running() is False, "a restarted container has the same host name and the same first pid"
    assert this.released().pid == 0
    assert this.released().is_running() is False
    assert RunOwner.this_process().token != this.token, "two runs of one process have different owners"


def test_a_run_without_a_saved_epoch_begins_again() -> None:
    assert resume_hint("r", None) == "`signet train --resume r` begins it again."
    assert "begins it again" in resume_hint("r", owned(1, "h", "2026-01-01T00:00:00+00:00"))


def away(owner_host: str, seconds_ago: float) -> RunProgress:
    return owned(1, owner_host, (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat())


def test_a_process_on_another_machine_is_taken_for_dead_after_two_silent_minutes() -> None:
    assert away("another", 110).is_live()
    assert not away("another", 130).is_live()


def test_progress_that_cannot_be_read_is_named(directory_store: DirectoryStore) -> None:
    assert load_progress(directory_store, "r") is None
    directory_store.put(keys.run("r", "progress.json"), b'{"schema": "signet.run/1"}')
    with pytest.raises(DataLoss, match=r"runs/r/progress\.json: this is not the progress of a run"):
        load_progress(directory_store, "r")
