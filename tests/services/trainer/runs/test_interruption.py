"""`signet train` is killed at random moments and resumed: the result is that of an uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks, RunStarted
from services.trainer.runs.progress import load_progress
from services.trainer.runs.run import resume, run
from signet import heldout
from signet.store import DirectoryStore, keys
from tests.conftest import ROOT, alive
from tests.services.trainer.conftest import Fill

SEED = 20261124
CONFIG = {"num_epochs": 120, "hidden_dim": 4, "hand_dim": 4, "batch_size": 9, "publish": "none"}
FLAGS = [text for name, value in CONFIG.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def signet_train(store: DirectoryStore, log: Path, *flags: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli", "train", "--store", store.url, *flags],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
        )


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while not what():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def runs(store: DirectoryStore) -> list[str]:
    return [info.key.split("/")[1] for info in store.list("runs/") if info.key.endswith("config.json")]


def saved_epochs(store: DirectoryStore, run_id: str) -> int:
    progress = load_progress(store, run_id)
    return progress.epochs if progress else 0


def epochs(store: DirectoryStore, run_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in store.get(keys.run(run_id, "history.jsonl")).splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_training_that_is_killed_twice_has_the_result_of_an_uninterrupted_one(
    directory_store: DirectoryStore, fill: Fill, tmp_path: Path
) -> None:
    fill(directory_store)
    dice, log = random.Random(SEED), tmp_path / "log"  # noqa: S311

    # Somewhere before its first state, perhaps before its first epoch.
    process = signet_train(directory_store, log, *FLAGS)
    wait_for(lambda: bool(runs(directory_store)), process, log)
    time.sleep(dice.uniform(0, 1.5))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    (run_id,) = runs(directory_store)

    # Somewhere after a state, perhaps within the writing of the next one.
    before = saved_epochs(directory_store, run_id)
    process = signet_train(directory_store, log, "--resume", "latest")
    wait_for(lambda: saved_epochs(directory_store, run_id) > before, process, log)
    time.sleep(dice.uniform(0, 1.0))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not before or f"resumed     after epoch {before}" in log.read_text()
    before = saved_epochs(directory_store, run_id)
    assert 0 < before < int(str(CONFIG["num_epochs"])), "the dice have let it come to its end: take more epochs"

    started: list[RunStarted] = []
    resume(directory_store, run_id, RunCallbacks(on_start=started.append), {"device": "cpu"})
    assert started[0].epochs_before == before

    straight = run(directory_store, TrainConfig.model_validate(CONFIG), "straight", RunCallbacks())
    weights = (directory_store.get(keys.run(name, "weights.safetensors")) for name in (run_id, "straight"))
    assert len(set(weights)) == 1, "to the last bit"
    history = epochs(directory_store, run_id)
    assert [line["epoch"] for line in history] == list(range(1, straight.epochs + 1)), "no gap, nothing twice"
    assert history == epochs(directory_store, "straight")
    mine, theirs = (heldout.read_predictions(directory_store, name).members[0] for name in (run_id, "straight"))
    assert (mine.scores == theirs.scores).all()
    assert not list(directory_store.list(f"runs/{run_id}/state"))


def test_the_workers_of_a_killed_run_end_and_the_run_resumes(
    directory_store: DirectoryStore, fill: Fill, tmp_path: Path
) -> None:
    fill(directory_store)
    log = tmp_path / "log"
    process = signet_train(directory_store, log, "--seeds", "2", "--jobs", "2", *FLAGS)
    found: list[str] = []

    def both_are_kept() -> bool:
        found[:] = runs(directory_store)
        progress = load_progress(directory_store, found[0]) if found else None
        return progress is not None and all(member.epochs for member in progress.members)

    wait_for(both_are_kept, process, log)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    psutil.wait_procs(workers, timeout=30)
    assert not alive(workers)
    (run_id,) = found
    resume(directory_store, run_id, RunCallbacks(), {"jobs": 1})
    run(directory_store, TrainConfig.model_validate(CONFIG | {"seed": 1}), "alone", RunCallbacks())
    assert directory_store.get(keys.run(run_id, "members/0-1/weights.safetensors")) == directory_store.get(
        keys.run("alone", "weights.safetensors")
    )
