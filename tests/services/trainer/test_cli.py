"""The command `signet runs`."""

import json

from typer.testing import CliRunner

from services.trainer.cli import app
from services.trainer.config.train_config import TrainConfig
from signet.store import DirectoryStore, keys


def test_the_table_of_runs_cuts_no_id(directory_store: DirectoryStore) -> None:
    run_id, version = "20261128T010846Z-8f07d1", "20261128T010846Z-8f07d1aa"
    result = {
        "state": "succeeded", "model_name": "signet", "model_version": version, "epochs": 3, "seconds": 1.0,
        "val_clips": 8, "val_correct": 7,
    }  # fmt: skip
    directory_store.put(keys.run(run_id, "config.json"), TrainConfig().model_dump_json().encode())
    directory_store.put(keys.run(run_id, "result.json"), json.dumps(result).encode())
    done = CliRunner().invoke(app, ["runs", "--store", directory_store.url])
    assert done.exit_code == 0
    assert done.output.splitlines()[1].split() == [run_id, "succeeded", "3", "87.5", "%", version]
