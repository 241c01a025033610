"""Pre-training: what is hidden, what is asked for, and a run of it from its start to its weights."""

import json
import math
from dataclasses import replace

import pytest
import torch
from prometheus_client import CollectorRegistry

from services.trainer.config.flags import config_from_flags
from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Batch, Clips
from services.trainer.features.phonology import Features
from services.trainer.model.build import load_first_member, new_model
from services.trainer.model.masked import MaskedModel
from services.trainer.runs import messages
from services.trainer.runs.events import MemberEpoch, RunCallbacks
from services.trainer.runs.listing import list_runs
from services.trainer.runs.members import Abandoned
from services.trainer.runs.metrics import TrainerMetrics
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.runs.warm_start import load_source_weights
from services.trainer.training.epoch import Epoch
from services.trainer.training.masked_prediction import (
    HIDDEN_SHARE,
    found_features,
    hidden_frames,
    hide_spans,
    hide_spans_in_batch,
    huber_sum,
    target_mask,
)
from services.trainer.training.pretraining_loop import Pretraining
from services.trainer.training.validate import NO_SCORE
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidSetting
from signet.store import DirectoryStore, keys
from tests.services.trainer.conftest import Fill

CPU = torch.device("cpu")
QUICK = TrainConfig(pretrain=True, num_epochs=6, hidden_dim=8, hand_dim=4, batch_size=6)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measured(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    return Features()(*clips.padded(), clips.lengths), clips.lengths


def model() -> MaskedModel:
    made = new_model(QUICK, 3)
    assert isinstance(made, MaskedModel)
    return made.eval()


def files(store: DirectoryStore, run_id: str) -> set[str]:
    return {info.key.removeprefix(f"runs/{run_id}/") for info in store.list(f"runs/{run_id}/")}


def test_about_a_third_of_the_frames_is_hidden_and_never_a_whole_clip() -> None:
    lengths = torch.randint(1, 60, (4000,), generator=drawn())

    hidden = hide_spans(lengths, 60, drawn())

    inside = torch.arange(60)[None, :] < lengths[:, None]
    assert not (hidden & ~inside).any()
    assert (hidden.sum(dim=1) < lengths).all()
    assert float(hidden.sum() / inside.sum()) == pytest.approx(HIDDEN_SHARE, abs=0.02)
    assert torch.equal(hidden, hide_spans(lengths, 60, drawn()))


def test_the_model_never_sees_what_is_hidden(small_dataset: Dataset) -> None:
    features, lengths = measured(small_dataset)
    hidden = hide_spans(lengths, features.shape[1], drawn())
    changed = torch.where(hidden[..., None], features + 0.1, features)
    masked = model()

    before, after = (masked.residuals(x, lengths, hidden) for x in (features, changed))

    # Only the target moved; what was told of each frame did not.
    assert torch.allclose(before - after, changed - features, atol=1e-5)
    assert not torch.allclose(masked.encoders[0].states(features, lengths), masked.encoders[0].states(changed, lengths))


def test_features_of_an_absent_hand_are_not_asked_for(small_dataset: Dataset) -> None:
    features, _ = measured(small_dataset)
    kind = Features()

    there = found_features(features, kind)

    # The clips' left hand, which follows and comes first, is never found.
    assert not there[..., : kind.hand_size].any()
    found = features[..., 2 * kind.hand_size - 1] > 0
    assert torch.equal(there[..., kind.hand_size : 2 * kind.hand_size], found[..., None].expand(-1, -1, kind.hand_size))
    assert not there[..., 2 * kind.hand_size : -1].any()
    assert there[..., -1].all()


def test_the_loss_does_not_depend_on_the_labels_and_that_of_parts_adds_up(small_dataset: Dataset) -> None:
    features, lengths = measured(small_dataset)
    inside = torch.arange(features.shape[1])[None, :] < lengths[:, None]
    count = len(lengths)
    labels = [torch.ones(count, 1, dtype=torch.long), torch.full((count, 1), 3)]
    masked = model()

    def loss(part: Batch) -> torch.Tensor:
        residuals = masked.residuals(part.features, part.lengths, hidden_frames(part))
        return huber_sum(residuals, target_mask(part, masked.features))

    losses = []
    for targets in labels:
        whole = Batch(features, lengths, targets, torch.ones(count, dtype=torch.long), inside * targets, inside)
        batch = hide_spans_in_batch(whole, drawn())
        losses.append(loss(batch))
        assert torch.allclose(torch.stack([loss(part) for part in batch.split(3)]).sum(), losses[-1], rtol=1e-4)

    assert torch.equal(*losses)


def test_the_loss_falls_and_the_head_is_left_alone(small_dataset: Dataset) -> None:
    training = Pretraining(small_dataset, QUICK.model_copy(update={"num_epochs": 25}), CPU)
    head = {name: tensor.clone() for name, tensor in training.model.encoders[0].head.state_dict().items()}

    epochs = list(training.epochs())

    assert epochs[-1].val.loss < 0.8 * epochs[0].val.loss
    assert all(epoch.val.clips == 0 and not epoch.best for epoch in epochs)
    assert all(torch.equal(tensor, head[name]) for name, tensor in training.model.encoders[0].head.state_dict().items())


def test_it_goes_on_bit_for_bit(small_dataset: Dataset) -> None:
    whole, begun, continued = (Pretraining(small_dataset, QUICK, CPU) for _ in range(3))
    straight = list(whole.epochs())
    epochs = begun.epochs()
    before = [next(epochs) for _ in range(2)]
    continued.restore(begun.state())

    after = list(continued.epochs())

    assert [epoch.train_loss for epoch in straight] == [epoch.train_loss for epoch in [*before, *after]]
    assert whole.state() == continued.state()


def test_a_run_keeps_weights_and_claims_no_accuracy(directory_store: DirectoryStore, fill: Fill) -> None:
    heard: list[MemberEpoch] = []
    run_id = new_run_id()
    config = QUICK.model_copy(update={"seeds": 2, "jobs": 2})

    result = run(fill(directory_store), config, run_id, RunCallbacks(on_epoch=heard.append))

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


def test_a_run_that_was_given_up_goes_on(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    whole, broken = "20261125T000000Z-aaaaaa", "20261125T000001Z-bbbbbb"
    run(directory_store, QUICK, whole, RunCallbacks())
    heard: list[MemberEpoch] = []
    with pytest.raises(Abandoned):
        run(directory_store, QUICK, broken, RunCallbacks(on_epoch=heard.append, should_abandon=lambda: len(heard) >= 3))

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

    metrics.record_epoch(MemberEpoch(Epoch(1, 0.5, score, 0.1, best=False), 1, 0, 0))

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
def test_what_makes_no_sense_with_it_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=f"--pretrain with --{name.replace('_', '-')} makes no sense"):
        config_from_flags({"pretrain": True, name: value})
