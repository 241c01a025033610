"""What the store and Prometheus know of runs."""

import json
import logging
import math
import os
import socket

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import MemberEpoch, RunStarted
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.queue import find_latest_unfinished_run, find_succeeded_runs, list_runs
from services.trainer.runs.result import GlossResult, Result
from services.trainer.training.epoch import Epoch
from services.trainer.training.validate import NOTHING, Score
from signet.errors import NotFound, NotReady
from signet.store import DirectoryStore, ObjectStore, keys

STARTED = RunStarted("cuda", "H100", 2**36, 55_461, "v1", 20, 157, 40, 300)


def keep(store: ObjectStore, run_id: str, state: str, corpus_version: str = "") -> None:
    """As a run that has ended leaves it."""
    result = Result.model_validate(
        {
            "state": state, "model_name": "signet", "model_version": run_id, "epochs": 3, "val_clips": 0,
            "val_correct": 0, "val_greedy_correct": 0, "blank_ratio": 0, "collapsed": False, "goal": 0.5,
            "goal_met": False, "seconds": 1, "corpus_version": corpus_version,
            "glosses": [GlossResult(gloss="book", correct=0, clips=1)],
        }
    )  # fmt: skip
    store.put(keys.run(run_id, "config.json"), TrainConfig(corpus=f"of-{run_id}").model_dump_json().encode())
    store.put(keys.run(run_id, "result.json"), result.model_dump_json().encode())


def test_runs_that_succeeded_are_found_with_what_they_trained_on(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    keep(directory_store, "r1", "succeeded", "7")
    keep(directory_store, "r2", "stopped", "7")
    keep(directory_store, "r3", "succeeded")
    for run_id, config in (("damaged", b"{"), ("foreign", b'{"corpus": "x", "unheard_of": 1}')):
        keep(directory_store, run_id, "succeeded", "8")
        directory_store.put(keys.run(run_id, "config.json"), config)
    keep(directory_store, "half", "succeeded", "8")
    directory_store.put(keys.run("half", "result.json"), b"")
    directory_store.put(keys.run("interrupted", "config.json"), TrainConfig().model_dump_json().encode())
    with caplog.at_level(logging.WARNING):
        found = [(config.corpus, result.corpus_version) for config, result in find_succeeded_runs(directory_store)]
    assert found == [("of-r1", "7"), ("of-r3", "")]
    assert len(caplog.records) == 3
    for run_id in ("damaged", "foreign", "half"):
        assert f"/runs/{run_id}/" in caplog.text


def open_run(store: ObjectStore, run_id: str, pid: int = 0, failure: str = "") -> None:
    """As a run without a result leaves it."""
    store.put(keys.run(run_id, "config.json"), TrainConfig().model_dump_json().encode())
    progress = {
        "dataset_name": "d", "dataset_version": "v", "corpus_version": "", "seconds": 1, "failure": failure,
        "owner": {"token": "t", "host": socket.gethostname(), "pid": pid}, "updated": "2026-01-01T00:00:00+00:00",
        "members": [{"fold": 0, "seed": 0, "epochs": 9, "done": True}, {"fold": 0, "seed": 1, "epochs": 4}],
    }  # fmt: skip
    store.put(keys.run(run_id, "progress.json"), json.dumps(progress).encode())


def test_runs_without_a_result_are_told_apart(directory_store: DirectoryStore) -> None:
    open_run(directory_store, "r1")
    open_run(directory_store, "r2", failure="the loss is not finite")
    open_run(directory_store, "r3", pid=os.getppid())
    directory_store.put(keys.run("r0", "config.json"), TrainConfig().model_dump_json().encode())
    found = list_runs(directory_store, {})
    assert [(one.run_id, one.state, one.epochs, f"{one.members_done}/{one.members}") for one in found] == [
        ("r3", "running", 9, "1/2"),
        ("r2", "failed", 9, "1/2"),
        ("r1", "interrupted", 9, "1/2"),
        ("r0", "interrupted", 0, "0/1"),
    ]


def test_the_latest_run_that_can_go_on_is_the_newest_without_a_result(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="no run was interrupted"):
        find_latest_unfinished_run(directory_store)
    open_run(directory_store, "r1")
    keep(directory_store, "r2", "succeeded")
    directory_store.put(keys.run("r3", "config.json"), b"{")
    assert find_latest_unfinished_run(directory_store) == "r1"
    open_run(directory_store, "r4", pid=os.getppid())
    with pytest.raises(NotReady, match=r"run r4 .* --resume r4"):
        find_latest_unfinished_run(directory_store)


def score(correct: int, blank_ratio: float) -> Score:
    return Score(1.5, 40, correct, 40, 10, 4, blank_ratio, {1: (correct, 40)}, frozenset({1}))


def first(epoch: Epoch) -> MemberEpoch:
    """An epoch of a run's only member."""
    return MemberEpoch(epoch, member=1, fold=0, seed=0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TrainerMetrics:
    return TrainerMetrics(registry)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    found: float | None = registry.get_sample_value(f"signet_trainer_{name}", labels)
    return found


def test_before_any_run_all_that_is_counted_is_zero(registry: CollectorRegistry, metrics: TrainerMetrics) -> None:
    for state in ("succeeded", "stopped", "failed", "interrupted"):
        assert value(registry, "runs_total", state=state) == 0
    for name in (
        "batches_total", "throttled_seconds_total", "throttling", "nonfinite_losses_total", "out_of_memory_total",
        "running", "queued_runs", "blank_epochs",
    ):  # fmt: skip
        assert value(registry, name) == 0, name
    assert metrics


def test_a_run_s_values_are_shown_under_its_name_and_go_when_the_next_begins(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    def shown() -> list[dict[str, str]]:
        return [
            sample.labels for family in registry.collect() for sample in family.samples if "run_info" in sample.name
        ]

    metrics.started("r1", "signet", STARTED)
    metrics.epoch(first(Epoch(10, 0.5, score(30, 0.5), 0.1, best=True, train=score(39, 0.5))))
    metrics.epoch(first(Epoch(11, 0.4, score(32, 0.6), 0.1, best=True)))
    metrics.ended("succeeded")
    assert shown() == [{"run_id": "r1", "model_name": "signet", "dataset_version": "v1", "device": "cuda"}]
    assert value(registry, "accuracy_ratio", split="val") == 0.8
    assert value(registry, "accuracy_ratio", split="train") == 39 / 40, "of the last epoch that measured it"
    assert value(registry, "loss", split="train") == 0.4
    assert value(registry, "blank_ratio") == 0.6
    assert value(registry, "exact_greedy_gap_ratio") == 0.55

    metrics.started("r2", "other", STARTED)
    assert [one["run_id"] for one in shown()] == ["r2"]
    assert value(registry, "epoch") == 0
    for split in ("train", "val"):
        assert value(registry, "accuracy_ratio", split=split) is None
        assert value(registry, "loss", split=split) is None
    assert math.isnan(value(registry, "blank_ratio") or 0)
    metrics.epoch(first(Epoch(1, 0.5, NOTHING, 0.1, best=True)))
    assert value(registry, "loss", split="train") == 0.5
    assert value(registry, "loss", split="val") is None


def test_epochs_in_which_all_is_blank_are_counted_until_one_is_not(
    registry: CollectorRegistry, metrics: TrainerMetrics
) -> None:
    metrics.started("r1", "signet", STARTED)
    counts = []
    for number, ratio in enumerate((0.5, 0.98, 1.0, 0.97, 0.99), 1):
        metrics.epoch(first(Epoch(number, 0.5, score(30, ratio), 0.1, best=True)))
        counts.append(value(registry, "blank_epochs"))
    assert counts == [0, 1, 2, 0, 1]
    metrics.started("r2", "signet", STARTED)
    assert value(registry, "blank_epochs") == 0


def test_what_happens_within_an_epoch_is_counted(registry: CollectorRegistry, metrics: TrainerMetrics) -> None:
    metrics.on_batch()
    metrics.on_memory_split()
    metrics.on_nonfinite_loss()
    metrics.on_throttling(True)
    metrics.on_throttled_seconds(2.5)
    assert value(registry, "throttling") == 1
    metrics.on_throttling(False)
    assert value(registry, "throttling") == 0
    assert value(registry, "throttled_seconds_total") == 2.5
    for name in ("batches_total", "out_of_memory_total", "nonfinite_losses_total"):
        assert value(registry, name) == 1, name
