"""One training on two processes, as torchrun starts them, against the same training in one."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.loop import Training
from signet.datasets.snapshot import Dataset, publish_snapshot
from signet.store import DirectoryStore

# Without dropout, whose masks are each rank's own. Three clips in a batch: at times one sequence for two ranks.
CONFIG = TrainConfig(num_epochs=6, hidden_dim=8, batch_size=3, dropout=0.0, optimizer="sgd", lr=0.05, accumulate=2)

# What each process does: the leader trains so many epochs of each training, the other one follows.
_RANK = """
import json, os, signal, sys
import torch
from services.trainer.training import distributed
from services.trainer.config.train_config import TrainConfig
from services.trainer.training.follower import follow
from services.trainer.training.loop import Training
from signet.datasets.snapshot import load_snapshot
from signet.errors import SignetError
from signet.store import StoreSettings, open_store

torch.set_num_threads(1)
store, config, version, dies = open_store(StoreSettings(store=sys.argv[1])), *sys.argv[2:]
try:
    with distributed.process_group() as ranks:
        if dies and not ranks.leads:
            steps = 0

            def die(*_):
                global steps
                steps += 1
                if steps == 40:
                    os.kill(os.getpid(), signal.SIGKILL)

            torch.nn.modules.module.register_module_forward_hook(die)
        if not ranks.leads:
            follow(ranks, store)
        else:
            for stop in (2, 6):
                given = TrainConfig.model_validate_json(config)
                training = Training(load_snapshot(store, "wlasl", version), given, torch.device("cpu"))
                losses = []
                for epoch in training.epochs():
                    losses.append(epoch.train_loss)
                    if epoch.number == stop:
                        break
                weights = torch.cat([parameter.flatten() for parameter in training.model.parameters()]).tolist()
                print(json.dumps([losses, weights, epoch.val.correct]))
except SignetError as error:
    sys.exit(str(error))
"""


def start(rank: int, port: int, *arguments: str) -> "subprocess.Popen[str]":
    torchrun = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-c", _RANK, *arguments],
        env={**os.environ, **{name: str(value) for name, value in torchrun.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(tmp_path: Path, small_dataset: Dataset, dies: str) -> list[tuple[int | None, str, str]]:
    """How two ranks ended: status, output, errors."""
    store = DirectoryStore(tmp_path)
    publish_snapshot(store, small_dataset)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (f"file:{tmp_path}", CONFIG.model_dump_json(), small_dataset.manifest.version, dies)
    ranks = [start(rank, port, *arguments) for rank in (0, 1)]
    try:
        told = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, output, errors) for rank, (output, errors) in zip(ranks, told, strict=True)]


def test_two_processes_train_as_one(tmp_path: Path, small_dataset: Dataset) -> None:
    alone = Training(small_dataset, CONFIG, torch.device("cpu"))
    expected = list(alone.epochs())
    (leader, output, errors), (follower, silence, more_errors) = both(tmp_path, small_dataset, dies="")
    assert (leader, follower) == (0, 0), errors + more_errors
    assert silence == "", "only the leader tells"
    (first, _, _), (losses, weights, correct) = map(json.loads, output.splitlines())
    assert losses == pytest.approx([epoch.train_loss for epoch in expected], rel=1e-4)
    assert first == losses[:2], "one that ends early leaves the followers ready for the next"
    assert correct == expected[-1].val.correct
    told = torch.cat([parameter.flatten() for parameter in alone.model.parameters()])
    torch.testing.assert_close(torch.tensor(weights), told, atol=1e-5, rtol=1e-3)


def test_a_process_that_dies_ends_the_other_with_a_way_on(tmp_path: Path, small_dataset: Dataset) -> None:
    (leader, _, errors), (follower, _, _) = both(tmp_path, small_dataset, dies="yes")
    assert follower == -signal.SIGKILL
    assert leader, "in whatever way gloo lets it end"
    assert "another process of this training has ended" in errors
    assert "--resume" in errors
