"""The runs of a store are listed, and an unfinished run is found."""

import json
import logging
import os
import socket

import pytest

from services.trainer.config.train_config import TrainConfig
from services.trainer.converters import summary_to_message
from services.trainer.runs.listing import (
    config_to_resume,
    find_latest_run,
    find_latest_unfinished_run,
    find_succeeded_runs,
    find_unfinished_runs,
    list_runs,
)
from services.trainer.runs.result import GlossResult, Result
from signet.errors import InvalidInput, NotFound, NotReady
from signet.store import DirectoryStore, ObjectStore, keys


def keep(store: ObjectStore, run_id: str, state: str, corpus_version: str = "") -> None:
    """Write the files of a run that has ended."""
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
    """Write the files of a run without a result."""
    store.put(keys.run(run_id, "config.json"), TrainConfig().model_dump_json().encode())
    progress = {
        "dataset_name": "d", "dataset_version": "v", "corpus_version": "", "seconds": 1, "failure": failure,
        "owner": {"token": "t", "host": socket.gethostname(), "pid": pid}, "updated": "2026-01-01T00:00:00+00:00",
        "members": [{"fold": 0, "seed": 0, "epochs": 9, "done": True}, {"fold": 0, "seed": 1, "epochs": 4}],
    }  # fmt: skip
    store.put(keys.run(run_id, "progress.json"), json.dumps(progress).encode())


def test_runs_without_a_result_are_running_failed_or_interrupted(directory_store: DirectoryStore) -> None:
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


def test_the_latest_run_to_resume_is_the_newest_without_a_result(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="no run was interrupted"):
        find_latest_unfinished_run(directory_store)
    open_run(directory_store, "r1")
    keep(directory_store, "r2", "succeeded")
    directory_store.put(keys.run("r3", "config.json"), b"{")
    assert find_latest_unfinished_run(directory_store) == "r1"
    open_run(directory_store, "r4", pid=os.getppid())
    with pytest.raises(NotReady, match=r"run r4 .* --resume r4"):
        find_latest_unfinished_run(directory_store)


def test_the_latest_run_is_the_last_by_name_in_whatever_state(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="signet train"):
        find_latest_run(directory_store)
    keep(directory_store, "r2", "succeeded")
    open_run(directory_store, "r3")
    keep(directory_store, "r1", "succeeded")
    directory_store.put(keys.run("r4", "history.jsonl"), b"")
    assert find_latest_run(directory_store) == "r3", "r4 has no configuration"


def test_the_runs_of_this_process_have_the_states_that_it_knows(directory_store: DirectoryStore) -> None:
    open_run(directory_store, "r1")
    keep(directory_store, "r2", "succeeded")
    found = list_runs(directory_store, {"r1": "running", "r3": "queued"})
    assert [(run.run_id, run.state, run.epochs) for run in found] == [
        ("r3", "queued", 0),
        ("r2", "succeeded", 3),
        ("r1", "running", 9),
    ]


def test_files_without_a_configuration_are_not_a_run_to_resume(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    directory_store.put(keys.run("r1", "curves.svg"), b"")
    with caplog.at_level(logging.WARNING):
        assert not list(find_unfinished_runs(directory_store))
    assert not caplog.records


def test_a_resumed_run_may_only_change_where_it_trains(directory_store: DirectoryStore) -> None:
    config = TrainConfig(seed=3, lr=0.01, start_from="signet@1", head="linear")
    directory_store.create(keys.run("r", "config.json"), config.model_dump_json().encode())
    changes = {"device": "cpu", "jobs": 2, "max_gpu_temperature": 80.0}
    assert config_to_resume(directory_store, "r", {**changes, "seed": 3}) == config.model_copy(update=changes)
    with pytest.raises(InvalidInput, match="cannot be resumed with head attention instead of linear, lr"):
        config_to_resume(directory_store, "r", {"lr": 0.1, "head": "attention", "jobs": 2})
    with pytest.raises(InvalidInput, match="run r cannot be resumed: jobs 0: "):
        config_to_resume(directory_store, "r", {"jobs": 0})


def test_an_unfinished_run_that_this_version_cannot_resume_is_named_and_skipped(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Its settings were removed, or may not be combined any more."""
    for run_id, values in (
        ("20260101-supplement", {"supplement": "hands"}),
        ("20260102-folds", {"folds": 2, "pretrain": True}),
        ("20260103-start", {"folds": 2, "start_from": "signet@1"}),
        ("20260100-fine", {}),
    ):
        config = TrainConfig().model_dump() | values
        directory_store.create(keys.run(run_id, "config.json"), json.dumps(config).encode())
    with caplog.at_level(logging.WARNING):
        assert [run_id for run_id, _, _ in find_unfinished_runs(directory_store)] == ["20260100-fine"]
    assert "run 20260102-folds is skipped: run 20260102-folds cannot be resumed: --pretrain with --folds" in caplog.text
    assert "started with supplement hands" in caplog.text
    assert find_latest_unfinished_run(directory_store) == "20260100-fine"
    assert {summary.run_id for summary in list_runs(directory_store, {})} >= {"20260102-folds", "20260101-supplement"}
    with pytest.raises(InvalidInput, match="cannot be resumed: --folds with --start-from"):
        config_to_resume(directory_store, "20260103-start", {})


def test_stray_objects_below_runs_are_skipped_and_logged_once(
    directory_store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A README, a folder whose name is no run's, and runs whose files hold something else."""
    keep(directory_store, "r1", "succeeded", "7")
    open_run(directory_store, "r2")
    for name in ("README", ".git/config.json", "a b/result.json"):
        directory_store.put(f"{keys.runs()}{name}", b"{}")
    directory_store.put(keys.run("damaged-result", "result.json"), b"{")
    directory_store.put(keys.run("damaged-progress", "progress.json"), b"\xff")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert {run.run_id for run in list_runs(directory_store, {})} == {"r1", "r2"}
            assert len(list(find_succeeded_runs(directory_store))) == 1
            assert [run_id for run_id, _, _ in find_unfinished_runs(directory_store)] == ["r2"]
            assert find_latest_run(directory_store) == "r2"
            assert find_latest_unfinished_run(directory_store) == "r2"
    assert len(caplog.records) == 5
    live = {run.run_id: run.state for run in list_runs(directory_store, {"damaged-progress": "running"})}
    assert live == {"r1": "succeeded", "r2": "interrupted", "damaged-progress": "running"}


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("result.json", {"epochs": 2**40}),
        ("result.json", {"val_correct": 10**400, "val_clips": 1}),
        ("result.json", {"val_clips": -1}),
        ("progress.json", {"updated": "yesterday"}),
        ("progress.json", {"updated": "2026-01-01T00:00:00"}),
        ("progress.json", {"owner": {"token": "t", "host": socket.gethostname(), "pid": 2**80}}),
        ("progress.json", {"members": [{"fold": 0, "seed": 0, "epochs": 2**40}]}),
    ],
)
def test_a_run_with_impossible_numbers_is_skipped(
    directory_store: DirectoryStore, file: str, change: dict[str, object]
) -> None:
    keep(directory_store, "r1", "succeeded")
    open_run(directory_store, "r2")
    forged = keys.run("r1" if file == "result.json" else "r2", file)
    directory_store.put(forged, json.dumps(json.loads(directory_store.get(forged)) | change).encode())
    listed = [summary_to_message(run).run_id for run in list_runs(directory_store, {})]
    assert listed == (["r2"] if file == "result.json" else ["r1"])
