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
from services.trainer.training.distributed import Ranks
from services.trainer.training.loop import Training
from services.trainer.training.pretraining_loop import Pretraining
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
from services.trainer.training.pretraining_loop import Pretraining
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
                loop = Pretraining if given.pretrain else Training
                training = loop(load_snapshot(store, "wlasl", version), given, torch.device("cpu"))
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


def both(
    tmp_path: Path, small_dataset: Dataset, dies: str, config: TrainConfig = CONFIG
) -> list[tuple[int | None, str, str]]:
    """How two ranks ended: status, output, errors."""
    store = DirectoryStore(tmp_path)
    publish_snapshot(store, small_dataset)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (f"file:{tmp_path}", config.model_dump_json(), small_dataset.manifest.version, dies)
    ranks = [start(rank, port, *arguments) for rank in (0, 1)]
    try:
        outputs = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, output, errors) for rank, (output, errors) in zip(ranks, outputs, strict=True)]


@pytest.mark.parametrize("pretrain", [False, True])
def test_two_processes_train_as_one(tmp_path: Path, small_dataset: Dataset, pretrain: bool) -> None:
    config = CONFIG.model_copy(update={"pretrain": pretrain})
    loop = Pretraining if pretrain else Training
    alone = loop(small_dataset, config, torch.device("cpu"))
    expected = list(alone.epochs())
    (leader, output, errors), (follower, silence, more_errors) = both(tmp_path, small_dataset, "", config)
    assert (leader, follower) == (0, 0), errors + more_errors
    assert silence == "", "only the leader writes to the console"
    (first, _, _), (losses, weights, correct) = map(json.loads, output.splitlines())
    assert losses == pytest.approx([epoch.train_loss for epoch in expected], rel=1e-4)
    assert first == losses[:2], "a training that ends early leaves the followers ready for the next"
    assert correct == expected[-1].val.correct
    own = torch.cat([parameter.flatten() for parameter in alone.model.parameters()])
    torch.testing.assert_close(torch.tensor(weights), own, atol=1e-5, rtol=1e-3)


def test_the_shares_of_all_processes_are_the_batch(small_dataset: Dataset) -> None:
    batch = next(Training(small_dataset, CONFIG, torch.device("cpu"))._sampler.epoch())
    assert Ranks().share(batch) is batch
    for size in (2, 3, len(batch)):
        shares = [Ranks(rank, size).share(batch) for rank in range(size)]
        assert torch.equal(torch.cat([share.targets for share in shares if share is not None]), batch.targets)
    assert Ranks(len(batch), len(batch) + 1).share(batch) is None


def test_each_follower_has_dropout_masks_of_its_own_in_each_epoch() -> None:
    drawn = set()
    for rank in (0, 1, 2):
        for epoch in (0, 1):
            torch.manual_seed(9)
            Ranks(rank, 3).seed_own_dropout(5, epoch)
            drawn.add(float(torch.rand(1)))
    assert len(drawn) == 1 + 4, "the leader's stay as they are"


def test_a_process_that_dies_ends_the_other_with_a_way_on(tmp_path: Path, small_dataset: Dataset) -> None:
    (leader, _, errors), (follower, _, _) = both(tmp_path, small_dataset, dies="yes")
    assert follower == -signal.SIGKILL
    assert leader, "in whatever way gloo lets it end"
    assert "another process of this training has ended" in errors
    assert "--resume" in errors
