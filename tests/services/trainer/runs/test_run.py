"""A run from landmarks to a published model, and what it says."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.build import new_model, serialise_weights
from services.trainer.runs import messages
from services.trainer.runs.checkpoints import Checkpoints
from services.trainer.runs.events import MemberEpoch, RunCallbacks, RunStarted
from services.trainer.runs.member_training import RunAborted
from services.trainer.runs.result import Result
from services.trainer.runs.run import new_run_id, resume, run
from services.trainer.training.epoch import EpochResult
from services.trainer.training.loop import Training
from signet import heldout, registry
from signet.datasets.snapshot import Dataset
from signet.errors import InvalidInput, NotFound, NotReady, SignetError
from signet.store import DirectoryStore, ObjectStore, keys
from tests.services.trainer.conftest import Fill

SHORT = TrainConfig(num_epochs=40, hidden_dim=16, batch_size=8)
QUICK = TrainConfig(num_epochs=5, hidden_dim=4, batch_size=8)


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump() | values)


class Watcher:
    """Keeps the events of a run, and stops or aborts it after some epochs."""

    def __init__(self, stop_after: int = 10**6, abort_after: int = 10**6) -> None:
        self.started: list[RunStarted] = []
        self.received: list[MemberEpoch] = []
        self._stop_after = stop_after
        self._abort_after = abort_after

    @property
    def epochs(self) -> list[EpochResult]:
        return [event.epoch for event in self.received]

    def callbacks(self) -> RunCallbacks:
        return RunCallbacks(
            self.started.append,
            self.received.append,
            should_stop=lambda: len(self.received) + 1 >= self._stop_after,
            should_abort=lambda: len(self.received) >= self._abort_after,
        )

    def run(self, store: ObjectStore, config: TrainConfig, run_id: str = "") -> Result:
        return run(store, config, run_id or new_run_id(), self.callbacks(), "7")

    def resume(self, store: ObjectStore, run_id: str, changes: Mapping[str, Any] | None = None) -> Result:
        return resume(store, run_id, self.callbacks(), changes)


def files(store: ObjectStore, run_id: str) -> set[str]:
    prefix = f"runs/{run_id}/"
    return {info.key.removeprefix(prefix) for info in store.list(prefix)}


def history(store: ObjectStore, run_id: str, member: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.get(keys.run(run_id, f"{member}history.jsonl")).splitlines()]


def test_a_run_trains_until_its_target_and_publishes(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher, run_id = Watcher(), new_run_id()
    config = changed(SHORT, target_accuracy=0.8, num_epochs=100)
    result = watcher.run(fill(directory_store), config, run_id)

    assert (watcher.started[0].train_clips, watcher.started[0].val_clips) == (18, 6)
    assert result.val_correct >= 5, "three movements that an eye tells apart at once"
    assert (result.state, result.goal_met) == ("succeeded", True)
    assert config.start * 100 < result.epochs < 100, "not before CTC has spoken"
    card = registry.read_card(directory_store, "signet", registry.resolve(directory_store, "signet", "latest"))
    assert card.version == result.model_version
    assert card.vocabulary == ("book", "drink", "who")
    assert card.selected_on == "val", "val had a say in when to stop"
    assert card.decoder == config.decoder, "what serves it decodes as it was measured"
    assert not card.sampling_difference, "and samples clips as it was taught"
    for file in ("model.safetensors", "model.onnx"):
        registry.read_file(directory_store, card, file)
    lines = history(directory_store, run_id)
    assert [entry["epoch"] for entry in lines] == list(range(1, result.epochs + 1))
    judged = {entry["epoch"]: entry["train_clips"] for entry in lines if "train_correct" in entry}
    assert judged == dict.fromkeys({*range(10, result.epochs, 10), result.epochs}, 18)
    assert watcher.epochs[-1].train is not None
    assert watcher.epochs[-1].train.correct >= 15, "what it saw a hundred times"
    assert result.corpus_version == "7"
    assert Result.model_validate_json(directory_store.get(keys.run(run_id, "result.json"))) == result
    assert directory_store.get(keys.run(run_id, "curves.svg")).startswith(b"<?xml")
    assert files(directory_store, run_id) == {
        "config.json", "curves.svg", "heldout.safetensors", "history.jsonl", "progress.json", "result.json",
        "weights.safetensors",
    }  # fmt: skip
    said = heldout.read_predictions(directory_store, run_id)
    assert (said.protocol, said.folds, said.seeds, said.selected_on) == ("official", 0, (0,), "val")
    (member,) = said.members
    assert sum(member.scores.argmax(axis=1) + 1 == member.labels) == result.val_correct
    truths = [(said.vocabulary[label - 1],) for label in member.labels]
    assert sum(path == truth for path, truth in zip(member.greedy, truths, strict=True)) == result.val_greedy_correct


def test_seeds_are_members_of_one_published_ensemble(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher, run_id = Watcher(), new_run_id()
    result = watcher.run(fill(directory_store), changed(QUICK, seeds=2, seed=4), run_id)
    assert [(event.member, event.seed, event.epoch.number) for event in watcher.received] == [
        (member, seed, epoch) for member, seed in ((1, 4), (2, 5)) for epoch in range(1, 6)
    ]
    assert [(member.seed, member.epochs, member.clips) for member in result.members] == [(4, 5, 6), (5, 5, 6)]
    assert result.ensemble is not None
    assert (result.val_correct, result.val_empty) == (result.ensemble.correct, result.ensemble.empty)
    card = registry.read_card(directory_store, "signet", result.model_version)
    assert card.parameters == 2 * watcher.started[0].parameters
    assert card.metrics.val_correct == result.val_correct
    assert card.config["seeds"] == 2
    assert {f"members/0-{seed}/{name}" for seed in (4, 5) for name in ("history.jsonl", "weights.safetensors")} < files(
        directory_store, run_id
    )
    assert [len(history(directory_store, run_id, f"members/0-{seed}/")) for seed in (4, 5)] == [5, 5]
    said = heldout.read_predictions(directory_store, run_id)
    assert said.seeds == (4, 5)
    # Each seed is what it would have been alone.
    alone = Watcher().run(directory_store, changed(QUICK, seed=5, publish="none"))
    assert alone.members[0].model_dump() == result.members[1].model_dump()


@pytest.mark.parametrize(("publish", "members"), [("first", 1), ("none", 0)])
def test_the_first_of_several_seeds_can_be_published_alone_or_no_model(
    directory_store: DirectoryStore, fill: Fill, publish: str, members: int
) -> None:
    watcher = Watcher()
    result = watcher.run(fill(directory_store), changed(QUICK, num_epochs=2, seeds=2, publish=publish))
    assert len(registry.versions(directory_store, "signet")) == members
    assert bool(result.model_version) == bool(members)
    if members:
        assert result.val_correct == result.members[0].correct
        assert registry.read_card(directory_store, "signet", result.model_version).parameters == (
            watcher.started[0].parameters
        )


def test_folds_evaluate_every_clip_once_and_publish_nothing(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher, run_id = Watcher(), new_run_id()
    result = watcher.run(fill(directory_store), changed(QUICK, folds=2, seeds=2, num_epochs=2), run_id)
    assert (watcher.started[0].members, watcher.started[0].val_clips) == (4, 24)
    assert [(event.fold, event.seed) for event in watcher.received[::2]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert not list(directory_store.list("models/"))
    assert (result.val_clips, result.folds, result.model_version) == (24, 2, "")
    assert [tally.clips for tally in result.seeds.values()] == [24, 24]
    assert result.val_correct == round(sum(tally.correct for tally in result.seeds.values()) / 2)
    assert result.ensemble is not None
    assert result.ensemble.clips == 24
    assert sum(gloss.clips for gloss in result.glosses) == 48, "24 clips, by two seeds"
    said = heldout.read_predictions(directory_store, run_id)
    assert (said.protocol, said.folds, len(said.members)) == ("cross-validation", 2, 4)
    for seed in (0, 1):
        held = [clip for member in said.members if member.seed == seed for clip in member.clip_ids]
        assert len(set(held)) == len(held) == 24
    text = "\n".join(messages.end_messages(result, run_id))
    for part in (
        "nothing: a cross-validation measures a configuration",
        f"signet evaluate --run {run_id}",
        "(n = 24)",
        " ± ",
    ):
        assert part in text


def test_a_gloss_whose_signers_are_all_held_out_is_named(
    directory_store: DirectoryStore, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    fill(directory_store)
    # The only signer of "who" is now one who signs nothing else.
    for info in list(directory_store.list("landmarks/v1/wlasl/who-")):
        if not info.key.endswith(("-0.safetensors", "-4.safetensors")):
            directory_store.delete(info.key)
    result = Watcher().run(directory_store, changed(QUICK, folds=3, num_epochs=1))
    assert "has no training clips of who in this fold" in caplog.text
    assert result.state == "succeeded"


def test_equal_seeds_train_equal_models(small_dataset: Dataset) -> None:
    def weights(seed: int) -> torch.Tensor:
        training = Training(small_dataset, changed(SHORT, num_epochs=2, seed=seed), torch.device("cpu"))
        list(training.epochs())
        return torch.cat([parameter.flatten() for parameter in training.model.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_an_aborted_run_keeps_its_last_epoch_publishes_nothing_and_can_be_resumed(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    run_id = new_run_id()
    with pytest.raises(RunAborted, match=run_id):
        Watcher(abort_after=3).run(fill(directory_store), QUICK, run_id)
    assert files(directory_store, run_id) == {
        "config.json", "progress.json", "history.jsonl", "state-000003.safetensors",
    }  # fmt: skip
    assert not list(directory_store.list("models/"))

    watcher = Watcher()
    result = watcher.resume(directory_store, run_id)
    assert (watcher.started[0].epochs_before, [epoch.number for epoch in watcher.epochs]) == (3, [4, 5])
    assert (result.epochs, result.corpus_version) == (5, "7")
    straight = new_run_id()
    Watcher().run(directory_store, QUICK, straight)
    assert directory_store.get(keys.run(run_id, "weights.safetensors")) == directory_store.get(
        keys.run(straight, "weights.safetensors")
    )
    assert without_time(history(directory_store, run_id)) == without_time(history(directory_store, straight))


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_run_that_was_killed_before_its_first_state_begins_again(directory_store: DirectoryStore, fill: Fill) -> None:
    fill(directory_store)
    directory_store.put(keys.run("r", "config.json"), QUICK.model_dump_json().encode())
    watcher = Watcher()
    assert resume(directory_store, "r", watcher.callbacks(), corpus_version="8").corpus_version == "8"
    assert (watcher.started[0].epochs_before, len(watcher.epochs)) == (0, 5)


def test_members_that_are_trained_are_not_trained_again(directory_store: DirectoryStore, fill: Fill) -> None:
    run_id = new_run_id()
    config = changed(QUICK, seeds=3, num_epochs=3)
    with pytest.raises(RunAborted):
        Watcher(abort_after=4).run(fill(directory_store), config, run_id)
    watcher = Watcher()
    result = watcher.resume(directory_store, run_id)
    assert (watcher.started[0].members_before, watcher.started[0].epochs_before) == (1, 4)
    epochs = [(event.member, event.epoch.number) for event in watcher.received]
    assert epochs == [(2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]
    straight = Watcher().run(directory_store, config)
    assert result.members == straight.members
    assert result.ensemble == straight.ensemble


def test_a_run_whose_clips_were_sampled_differently_cannot_be_resumed(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    run_id = new_run_id()
    with pytest.raises(RunAborted):
        Watcher(abort_after=1).run(fill(directory_store), QUICK, run_id)
    begun = json.loads(directory_store.get(keys.run(run_id, "progress.json")))
    key = keys.dataset_manifest(begun["dataset_name"], begun["dataset_version"])
    manifest = json.loads(directory_store.get(key))
    del manifest["smoothing_seconds"]
    directory_store.put(key, json.dumps(manifest).encode())
    before = files(directory_store, run_id)
    with pytest.raises(
        NotReady, match=f"run {run_id} cannot be resumed: .* smoothed over 0 s .* version of Signet that started"
    ):
        Watcher().resume(directory_store, run_id)
    assert files(directory_store, run_id) == before, "it may be finished elsewhere"


def test_a_run_with_members_of_another_model_layout_cannot_be_resumed(
    directory_store: DirectoryStore, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, config = new_run_id(), changed(QUICK, seeds=2)
    with pytest.raises(RunAborted):
        Watcher(abort_after=7).run(fill(directory_store), config, run_id)
    other = serialise_weights(new_model(changed(config, branches=config.branches + 1), 3))
    monkeypatch.setattr(Checkpoints, "load_weights", lambda *_: other)
    watcher = Watcher()

    with pytest.raises(NotReady, match="seed 0 was trained by another version of Signet"):
        watcher.resume(directory_store, run_id)

    assert not watcher.received, "before anything else is trained"


def test_a_stopped_run_publishes_the_members_that_are_done_if_there_are_any(
    directory_store: DirectoryStore, fill: Fill
) -> None:
    fill(directory_store)
    early = Watcher(stop_after=2).run(directory_store, changed(QUICK, seeds=2, num_epochs=3))
    assert (early.state, [(one.seed, one.epochs, one.complete) for one in early.members]) == (
        "stopped", [(0, 2, False)],
    )  # fmt: skip
    late = Watcher(stop_after=5).run(directory_store, changed(QUICK, seeds=3, num_epochs=3))
    assert (late.state, [(one.seed, one.epochs, one.complete) for one in late.members]) == (
        "stopped", [(0, 3, True)],
    )  # fmt: skip
    assert late.model_version


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.5}, "lr 0.5 instead of 0.008"),
        ({"num_epochs": 9, "device": "cpu"}, "num_epochs 9 instead of 5"),
        ({"device": "tpu"}, "device tpu"),
    ],
)
def test_a_resumed_run_may_only_change_where_it_trains(
    directory_store: DirectoryStore, fill: Fill, changes: dict[str, object], named: str
) -> None:
    run_id = new_run_id()
    with pytest.raises(RunAborted):
        Watcher(abort_after=1).run(fill(directory_store), QUICK, run_id)
    with pytest.raises(InvalidInput, match=named):
        Watcher().resume(directory_store, run_id, changes)
    assert Watcher().resume(directory_store, run_id, {"device": "cpu", "lr": 0.008}).state == "succeeded"
    with pytest.raises(NotReady, match="has ended"):
        Watcher().resume(directory_store, run_id)


def test_a_run_that_does_not_exist_cannot_be_resumed(directory_store: DirectoryStore) -> None:
    with pytest.raises(NotFound, match="no run 'nope'"):
        Watcher().resume(directory_store, "nope")


def test_a_run_killed_after_it_published_does_not_publish_again(directory_store: DirectoryStore, fill: Fill) -> None:
    run_id = new_run_id()
    first = Watcher().run(fill(directory_store), changed(QUICK, num_epochs=2), run_id)
    directory_store.delete(keys.run(run_id, "result.json"))
    directory_store.delete(keys.alias("signet", "latest"))
    again = Watcher().resume(directory_store, run_id)
    assert again.model_version == first.model_version
    assert registry.versions(directory_store, "signet") == [first.model_version]
    assert registry.resolve(directory_store, "signet", "latest") == first.model_version


def test_a_failed_run_records_its_failure_in_the_store(directory_store: DirectoryStore, fill: Fill) -> None:
    run_id = new_run_id()
    with pytest.raises(SignetError, match="--lr"):
        Watcher().run(
            fill(directory_store), changed(QUICK, lr=10.0, optimizer="sgd", gradient_norm=0, weight_decay=1e30), run_id
        )
    progress = json.loads(directory_store.get(keys.run(run_id, "progress.json")))
    assert "--lr" in progress["failure"]
    assert progress["owner"]["pid"] == 0


def test_an_unusable_model_name_is_refused_before_training(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher = Watcher()
    with pytest.raises(InvalidInput, match=r"\.\./x"):
        watcher.run(fill(directory_store), SHORT.model_copy(update={"model_name": "../x"}))
    assert not watcher.epochs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_run_on_a_gpu_trains_as_on_a_cpu(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher = Watcher()
    result = watcher.run(fill(directory_store), changed(SHORT, device="cuda"))
    assert watcher.started[0].gpu_name
    assert result.val_correct >= 5
    assert math.isfinite(watcher.epochs[-1].train_loss)


def test_a_run_that_used_a_removed_feature_does_not_continue(directory_store: DirectoryStore) -> None:
    config = QUICK.model_dump() | {"keep_best": 2, "schedule": "one-cycle"}
    directory_store.create(keys.run("r", "config.json"), json.dumps(config).encode())
    with pytest.raises(InvalidInput, match=r"started with keep_best 2, which this version of Signet no longer has"):
        resume(directory_store, "r", RunCallbacks())
