"""Masked pre-training: its loop, and a run of it from its start to its weights."""

import json
import math
from dataclasses import replace

import pytest
import torch
from prometheus_client import CollectorRegistry

from services.trainer.config.flags import config_from_flags
from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import load_first_member
from services.trainer.runs import messages
from services.trainer.runs.events import MemberEpoch, RunCallbacks
from services.trainer.runs.listing import list_runs
from services.trainer.runs.member_training import RunAborted
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.runs.warm_start import load_source_weights
from services.trainer.training.epoch import EpochResult
from services.trainer.training.masked_prediction import hide_spans_in_batch
from services.trainer.training.pretraining_loop import Pretraining
from services.trainer.training.schedule import one_cycle
from services.trainer.training.validate import NO_SCORE
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidSetting
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import Fill

CPU = torch.device("cpu")
QUICK = TrainConfig(pretrain=True, num_epochs=6, hidden_dim=8, hand_dim=4, batch_size=6)


def files(store: DirectoryStore, run_id: str) -> set[str]:
    return {info.key.removeprefix(f"runs/{run_id}/") for info in store.list(f"runs/{run_id}/")}


def test_the_loss_falls_and_the_head_does_not_change(small_dataset: Dataset) -> None:
    training = Pretraining(small_dataset, QUICK.model_copy(update={"num_epochs": 25}), CPU)
    head = {name: tensor.clone() for name, tensor in training.model.encoders[0].head.state_dict().items()}

    epochs = list(training.epochs())

    assert epochs[-1].val.loss < 0.8 * epochs[0].val.loss
    assert all(epoch.val.clips == 0 and not epoch.best for epoch in epochs)
    assert all(torch.equal(tensor, head[name]) for name, tensor in training.model.encoders[0].head.state_dict().items())


def test_a_restored_pretraining_continues_bit_for_bit(small_dataset: Dataset) -> None:
    whole, begun, continued = (Pretraining(small_dataset, QUICK, CPU) for _ in range(3))
    straight = list(whole.epochs())
    epochs = begun.epochs()
    before = [next(epochs) for _ in range(2)]
    continued.restore(begun.state())

    after = list(continued.epochs())

    assert [epoch.train_loss for epoch in straight] == [epoch.train_loss for epoch in [*before, *after]]
    assert whole.state() == continued.state()


def test_a_run_keeps_weights_and_claims_no_accuracy(directory_store: DirectoryStore, fill: Fill) -> None:
    epochs: list[MemberEpoch] = []
    run_id = new_run_id()
    config = QUICK.model_copy(update={"seeds": 2, "jobs": 2})

    result = run(fill(directory_store), config, run_id, RunCallbacks(on_epoch=epochs.append))

    assert (result.state, result.pretrained, result.model_version, result.val_clips) == ("succeeded", True, "", 0)
    assert result.val_loss is not None
    assert not list(directory_store.list("models/"))
    assert {"members/0-0/weights.safetensors", "members/0-1/weights.safetensors", "result.json"} <= files(
        directory_store, run_id
    )
    assert "encoders.0.hand.0.weight" in load_first_member(
        directory_store.get(keys.run(run_id, "members/0-0/weights.safetensors"))
    )
    lines = directory_store.get(keys.run(run_id, "members/0-0/history.jsonl")).splitlines()
    assert all("val_correct" not in json.loads(line) and json.loads(line)["val_loss"] > 0 for line in lines)
    text = "\n".join(messages.end_messages(result, run_id))
    assert f"signet train --start-from {run_id}" in text
    assert "0.0 %" not in text
    (summary,) = list_runs(directory_store, {})
    assert (summary.state, summary.val_clips) == ("succeeded", 0)


def test_an_aborted_run_can_be_resumed(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    whole, broken = "20261125T000000Z-aaaaaa", "20261125T000001Z-bbbbbb"
    run(directory_store, QUICK, whole, RunCallbacks())
    epochs: list[MemberEpoch] = []
    with pytest.raises(RunAborted):
        run(directory_store, QUICK, broken, RunCallbacks(on_epoch=epochs.append, should_abort=lambda: len(epochs) >= 3))

    resume(directory_store, broken, RunCallbacks())

    one, other = (directory_store.get(keys.run(name, "weights.safetensors")) for name in (whole, broken))
    assert one == other


def test_a_run_that_is_stopped_leaves_its_weights(directory_store: DirectoryStore, fill: Fill) -> None:
    result = run(fill(directory_store), QUICK, "20261125T000000Z-aaaaaa", RunCallbacks(should_stop=lambda: True))

    assert (result.state, result.epochs) == ("stopped", 1)
    assert "weights.safetensors" in files(directory_store, "20261125T000000Z-aaaaaa")
    source = load_source_weights(directory_store, "20261125T000000Z-aaaaaa")
    assert source is not None
    assert "encoders.0.mean" in source.load_tensors()


def test_metrics_hold_the_loss_and_no_accuracy() -> None:
    registry = CollectorRegistry()
    metrics = TrainerMetrics(registry)
    score = replace(NO_SCORE, loss=0.4)

    metrics.record_epoch(MemberEpoch(EpochResult(1, 0.5, score, 0.1, best=False), 1, 0, 0))

    assert registry.get_sample_value("signet_trainer_loss", {"split": "val"}) == 0.4
    assert registry.get_sample_value("signet_trainer_accuracy_ratio", {"split": "val"}) is None
    assert math.isnan(registry.get_sample_value("signet_trainer_blank_ratio") or 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target_accuracy", 0.5),
        ("train_past_target", True),
        ("patience", 3),
        ("publish", "first"),
    ],
)
def test_settings_that_make_no_sense_with_pretraining_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=f"--pretrain with --{name.replace('_', '-')} makes no sense"):
        config_from_flags({"pretrain": True, name: value})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_of_accumulated_batches_is_the_mean_of_theirs(small_dataset: Dataset, accumulate: int) -> None:
    training = Pretraining(small_dataset, QUICK.model_copy(update={"dropout": 0.0}), CPU)
    generator = torch.Generator().manual_seed(0)
    batches = [hide_spans_in_batch(batch, generator) for batch in training._sampler.epoch()][:accumulate]
    losses = [float(training._compute_gradient([batch], 1)) for batch in batches]
    assert float(training._compute_gradient(batches, 1)) == pytest.approx(sum(losses) / accumulate)
    assert float(training._compute_gradient(batches, 3)) == pytest.approx(sum(losses) / accumulate, rel=1e-4)


def test_a_sequence_is_one_clip_and_no_epoch_is_the_best(small_dataset: Dataset) -> None:
    training = Pretraining(small_dataset, QUICK, CPU)
    assert {batch.targets.shape[1] for batch in training._sampler.epoch()} == {1}
    epochs = list(Pretraining(small_dataset, QUICK, CPU).epochs())
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert [epoch.last for epoch in epochs] == [False] * 5 + [True]
    assert not any(epoch.best for epoch in epochs)
    steps = 6 * 3
    assert [epoch.learning_rate for epoch in epochs] == [
        one_cycle(QUICK.lr, step, steps) for step in range(2, steps, 3)
    ]
