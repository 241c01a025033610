"""Training without being asked, through the process as a container starts it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.auto import AutoTraining
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.listing import list_runs
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.progress import RunOwner, RunProgress
from services.trainer.runs.queue import QueuedRun, RunFailure, TrainingQueue
from signet import registry
from signet.datasets.corpus import Shard, finish_extraction, read_manifest
from signet.errors import NotFound
from signet.landmarks import dump
from signet.registry import LATEST
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import Fill, moving_clip


@contextmanager
def following(store: DirectoryStore, log: Path, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        "SIGNET_STORE": store.url, "SIGNET_AUTO_TRAIN": "true", "SIGNET_POLL_SECONDS": "0.1",
        "SIGNET_TRAIN__NUM_EPOCHS": "3", "SIGNET_TRAIN__HIDDEN_DIM": "8", **settings,
    }  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer"], env={**os.environ, **environment}, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) in {0, -signal.SIGKILL}


def wait_for(what: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 90
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def complete(store: DirectoryStore) -> None:
    """As the extractor does when an extraction has ended."""
    finish_extraction(store, "wlasl", "test", Shard(), "all")


def published(store: DirectoryStore) -> list[str]:
    return registry.versions(store, "signet")


def test_a_complete_corpus_is_trained_on_once_and_again_when_it_grows(
    directory_store: DirectoryStore, fill: Fill, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    fill(directory_store)
    with following(directory_store, log):
        wait_for(lambda: "waiting for corpus 'wlasl' to be extracted" in log.read_text(), log)
        assert not list(directory_store.list("runs/")), "clips alone are no complete corpus"
        complete(directory_store)
        wait_for(lambda: "published signet/" in log.read_text(), log)
        wait_for(lambda: [one.state for one in list_runs(directory_store, {})] == ["succeeded"], log)
        complete(directory_store)  # extracted again, nothing new
        time.sleep(1)
        assert len(published(directory_store)) == 1

        directory_store.create(keys.clip("wlasl", "late"), dump(moving_clip("late", "book", "train", 77)))
        complete(directory_store)
        wait_for(lambda: len(published(directory_store)) == 2, log)
        wait_for(lambda: [one.state for one in list_runs(directory_store, {})] == ["succeeded"] * 2, log)
    text = log.read_text()
    assert text.count("is new: run") == 2
    for line in ("parameters ", "18 train and 6 val clips", "epoch 1/3", "published   models/signet/"):
        assert line in text, "whoever reads the log sees the training"
    assert "Traceback" not in text

    with following(directory_store, log):
        wait_for(lambda: "was trained on already" in log.read_text(), log)
    assert len(published(directory_store)) == 2
    with following(directory_store, log, SIGNET_TRAIN__NUM_EPOCHS="4"):
        wait_for(lambda: log.read_text().count("is new: run") == 3, log)  # told otherwise, so it trains anew


def test_a_run_that_was_killed_publishes_nothing_and_goes_on_with_the_next_process(
    directory_store: DirectoryStore, fill: Fill, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    fill(directory_store)
    complete(directory_store)

    def saved_epochs() -> int:
        return sum(run.epochs for run in list_runs(directory_store, {}))

    long = {"SIGNET_TRAIN__NUM_EPOCHS": "100000"}
    with following(directory_store, log, **long) as process:
        wait_for(lambda: saved_epochs() > 0, log)
        process.kill()
        process.wait(30)
    after_kill = saved_epochs()
    with following(directory_store, log, **long):
        wait_for(lambda: saved_epochs() > after_kill, log)
        started = time.monotonic()
    assert time.monotonic() - started < 10, "a stop request ends the run at once"
    assert f"resumed     after epoch {after_kill}" in log.read_text()
    after_stop = saved_epochs()
    with following(directory_store, log, **long):
        wait_for(lambda: f"resumed     after epoch {after_stop}" in log.read_text(), log)
    with pytest.raises(NotFound):
        registry.resolve(directory_store, "signet", LATEST)
    assert [one.state for one in list_runs(directory_store, {})] == ["interrupted"], "one run, and no second"
    text = log.read_text()
    assert (text.count("is new: run"), text.count("was interrupted and is resumed")) == (1, 2)
    assert "Traceback" not in text


def test_a_run_that_another_process_seems_to_train_is_waited_for(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    complete(directory_store)
    corpus = read_manifest(directory_store, "wlasl")
    assert corpus is not None
    directory_store.put(keys.run("r", "config.json"), TrainConfig().model_dump_json().encode())
    progress = {
        "dataset_name": "d", "dataset_version": "v", "corpus_version": corpus.version, "seconds": 1, "members": (),
        "owner": {"token": "t", "host": "another", "pid": 1}, "updated": "2999-01-01T00:00:00+00:00",
    }  # fmt: skip
    directory_store.put(keys.run("r", "progress.json"), json.dumps(progress).encode())
    runs = TrainingQueue(directory_store, TrainerMetrics(CollectorRegistry()))
    assert asyncio.run(AutoTraining(directory_store, runs, TrainConfig(), seconds=1)._poll())
    assert "process 1 on another seems to train run r: waiting" in caplog.text
    runs.close()


@pytest.mark.parametrize("year", [2001, 2999], ids=["clock behind", "clock ahead"])
def test_a_process_of_another_machine_is_dead_after_two_minutes_of_the_clock_here(
    directory_store: DirectoryStore, year: int
) -> None:
    now, runs = [0.0], TrainingQueue(directory_store, TrainerMetrics(CollectorRegistry()))
    auto = AutoTraining(directory_store, runs, TrainConfig(), seconds=1, clock=lambda: now[0])

    def seems_live(at: float, second: int) -> bool:
        now[0] = at
        owner = RunOwner(token="t", host="another", pid=1)  # noqa: S106  (a token of ownership)
        return auto._seems_live(
            "r",
            RunProgress(
                dataset_name="d", dataset_version="v", corpus_version="c", owner=owner, seconds=1, members=(),
                updated=f"{year}-01-01T00:00:{second:02}+00:00",
            ),
        )  # fmt: skip

    assert [seems_live(at, second) for at, second in [(0, 1), (119, 1), (119.5, 2), (239, 2)]] == [True] * 4
    assert not seems_live(240, 2)
    runs.close()


def test_a_corpus_that_cannot_be_trained_on_is_not_tried_for_ever(
    directory_store: DirectoryStore, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    complete(directory_store)  # of nothing
    with following(directory_store, log):
        wait_for(lambda: "runs on these clips failed" in log.read_text(), log)
        time.sleep(1)
    assert log.read_text().count("is new: run") == 3
    assert "none of them is a labelled training clip" in log.read_text()


def test_a_store_that_was_away_is_no_fault_of_the_clips(directory_store: DirectoryStore) -> None:
    runs = TrainingQueue(directory_store, TrainerMetrics(CollectorRegistry()))
    auto = AutoTraining(directory_store, runs, TrainConfig(), seconds=1)

    def failed(code: str) -> QueuedRun:
        return QueuedRun("r", TrainConfig(), events=[RunFailure("no", code=code)])

    assert not any(auto._is_settled_by(failed("UNAVAILABLE"), "v1") for _ in range(10))
    assert [auto._is_settled_by(failed("INTERNAL"), "v1") for _ in range(3)] == [False, False, True]
    runs.close()
