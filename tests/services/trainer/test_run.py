"""A run from landmarks to a published model, and what it says."""

import json
import math

import pytest
import torch

from services.trainer import narration
from services.trainer.config import TrainConfig
from services.trainer.evaluate import Score
from services.trainer.run import Abandoned, GlossResult, Result, Started, new_run_id, run, target_met
from services.trainer.training import Epoch, Training, find_device
from signet import layout, registry
from signet.dataset import Dataset
from signet.errors import InvalidInput, NotReady, SignetError
from signet.store import DirectoryStore, ObjectStore
from tests.services.trainer.conftest import Fill

SHORT = TrainConfig(num_epochs=40, hidden_dim=16, batch_size=8)


class Watcher:
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.started: list[Started] = []
        self.epochs: list[Epoch] = []

    def run(self, store: ObjectStore, config: TrainConfig, run_id: str = "") -> Result:
        return run(
            store,
            config,
            run_id or new_run_id(),
            on_start=self.started.append,
            on_epoch=self.epochs.append,
            stopped=lambda: False,
            corpus_version="7",
        )


def test_a_run_learns_until_its_target_and_publishes(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher, run_id = Watcher(), new_run_id()
    config = SHORT.model_copy(update={"target_accuracy": 0.8, "num_epochs": 100})
    result = watcher.run(fill(directory_store), config, run_id)

    assert (watcher.started[0].train_clips, watcher.started[0].val_clips) == (18, 6)
    assert result.val_correct >= 5, "three movements that an eye tells apart at once"
    assert (result.state, result.goal_met) == ("succeeded", True)
    assert 40 < result.epochs < 100, "not before the flat start has ended"
    card = registry.read_card(directory_store, "signet", registry.resolve(directory_store, "signet", "latest"))
    assert card.version == result.model_version
    assert card.vocabulary == ("book", "drink", "who")
    assert card.selected_on == "val", "val had a say in when to stop"
    for file in ("model.safetensors", "model.onnx"):
        registry.read_file(directory_store, card, file)
    history = [json.loads(line) for line in directory_store.get(layout.run(run_id, "history.jsonl")).splitlines()]
    assert [entry["epoch"] for entry in history] == list(range(1, result.epochs + 1))
    judged = {entry["epoch"]: entry["train_clips"] for entry in history if "train_correct" in entry}
    assert judged == dict.fromkeys({*range(10, result.epochs, 10), result.epochs}, 18)
    assert watcher.epochs[-1].train is not None
    assert watcher.epochs[-1].train.correct >= 15, "what it saw a hundred times"
    assert result.corpus_version == "7"
    assert Result.model_validate_json(directory_store.get(layout.run(run_id, "result.json"))) == result
    assert directory_store.get(layout.run(run_id, "curves.svg")).startswith(b"<?xml")


def test_equal_seeds_train_equal_models(small_dataset: Dataset) -> None:
    def weights(seed: int) -> torch.Tensor:
        training = Training(
            small_dataset, SHORT.model_copy(update={"num_epochs": 2, "seed": seed}), torch.device("cpu")
        )
        list(training.epochs())
        return torch.cat([parameter.flatten() for parameter in training.model.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize(
    ("update", "epoch", "correct", "met"),
    [
        ({}, 60, 3, True),
        ({}, 60, 2, False),
        ({}, 24, 3, False),
        ({"train_past_target": True}, 60, 3, False),
        ({"target_accuracy": None}, 60, 4, False),
    ],
)
def test_a_target_is_met_after_the_flat_start_by_enough_clips_unless_told_otherwise(
    update: dict[str, object], epoch: int, correct: int, met: bool
) -> None:
    config = SHORT.model_copy(update={"target_accuracy": 0.75, "num_epochs": 60, **update})
    score = Score(1.0, 4, correct, 4, 4, 0, 0.5, {1: (correct, 4)}, frozenset({1}))
    assert target_met(Epoch(epoch, 1.0, score, 0.1, best=True), config) is met


def test_a_learning_rate_out_of_all_bounds_is_named(small_dataset: Dataset) -> None:
    config = SHORT.model_copy(update={"lr": 1e30, "optimizer": "sgd"})
    with pytest.raises(SignetError, match="--lr"):
        list(Training(small_dataset, config, torch.device("cpu")).epochs())


def test_a_run_that_is_given_up_leaves_no_result_and_no_model(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher, run_id = Watcher(), new_run_id()
    with pytest.raises(Abandoned, match=run_id):
        run(
            fill(directory_store),
            SHORT,
            run_id,
            on_start=watcher.started.append,
            on_epoch=watcher.epochs.append,
            stopped=lambda: False,
            abandoned=lambda: len(watcher.epochs) == 2,
        )
    assert len(watcher.epochs) == 2
    assert [info.key for info in directory_store.list(f"runs/{run_id}/")] == [layout.run(run_id, "config.json")]
    assert not list(directory_store.list("models/"))


def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(NotReady, match="--device cpu"):
        find_device("cuda:99")
    assert find_device("auto").type in {"cpu", "cuda"}


def test_an_unusable_model_name_is_refused_before_training(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher = Watcher()
    with pytest.raises(InvalidInput, match=r"\.\./x"):
        watcher.run(fill(directory_store), SHORT.model_copy(update={"model_name": "../x"}))
    assert not watcher.epochs


def test_the_narration_names_a_collapse_and_its_remedy() -> None:
    score = Score(3.0, 4, 3, 4, 0, 4, 1.0, {1: (3, 4)}, frozenset({1}))
    assert score.collapsed
    result = Result(
        state="succeeded", model_name="m", model_version="v", epochs=9, val_clips=4, val_correct=3,
        val_greedy_correct=0, blank_ratio=1.0, collapsed=True, goal=0.5, goal_met=True, seconds=1.0,
        glosses=(GlossResult(gloss="book", correct=2, clips=2), GlossResult(gloss="who", correct=1, clips=2)),
    )  # fmt: skip
    told = "\n".join(narration.closing(result))
    assert "BLANK COLLAPSE" in told
    assert "--blank-penalty" in told
    assert "best        book 2/2, who 1/2" in told
    line = narration.epoch_line(Epoch(7, 1.5, score, 0.2, best=True), 300)
    for part in ("7/300", "train loss", "val loss", "75.0 % (3/4)", "blank 1.00", "new best"):
        assert part in line


def test_the_opening_names_device_parameters_target_and_data() -> None:
    told = "\n".join(narration.opening(Started("cuda:0", "H200", 2**37, 55_461, "v1", 20, 157, 37, 300)))
    for part in ("cuda:0 (H200, 131,072 MiB)", "55,461", "50,000", "20 glosses", "157 train", "37 val"):
        assert part in told


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_run_on_a_gpu_learns_as_on_a_cpu(directory_store: DirectoryStore, fill: Fill) -> None:
    watcher = Watcher()
    result = watcher.run(fill(directory_store), SHORT.model_copy(update={"device": "cuda"}))
    assert watcher.started[0].gpu_name
    assert result.val_correct >= 5
    assert math.isfinite(watcher.epochs[-1].train_loss)
