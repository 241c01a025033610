"""Blank collapse: what is seen of it, when it is taken for one, and what a training does then."""

import itertools
import logging

import pytest
import torch
from torch import Tensor

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.callbacks import TrainingCallbacks
from services.trainer.training.collapse import Posteriors, Watch, observe, watch_length
from services.trainer.training.loop import Training
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")

# Plain CTC with steps so small that nothing is learnt.
PLAIN = TrainConfig(
    num_epochs=40, hidden_dim=4, batch_size=2, head="linear", flat_start=0.0, lr=1e-6, blank_penalty=0.0
)


class Told(TrainingCallbacks):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.acts: list[str] = []

    def on_recovery_action(self, what: str) -> None:
        self.acts.append(what)


def seen(probabilities: list[list[list[float]]], lengths: list[int], signs: list[int], penalty: float = 0.0) -> Tensor:
    log_probs = torch.tensor(probabilities).log()
    inside = torch.arange(log_probs.shape[1])[None, :] < torch.tensor(lengths)[:, None]
    return observe(log_probs, inside, torch.tensor(signs), penalty)


def test_posteriors_are_read_frame_by_frame() -> None:
    blank, unsure, sign = [0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1]
    sequences = [[blank, sign, blank], [blank, unsure, blank], [blank, blank, sign]]
    read = Posteriors.of(seen(sequences, [3, 3, 2], [1, 1, 1]))
    assert read.blank_ratio == pytest.approx(7 / 8), "the third frame of the last one is none of its own"
    assert read.empty == pytest.approx(2 / 3), "no sign wins a frame there"
    assert read.silent == pytest.approx(1 / 3), "where some sign is likelier than the blank, a model is not silent"
    assert Posteriors.of(seen(sequences, [3, 3, 2], [1, 1, 1], penalty=0.5)).empty == pytest.approx(1 / 3)


def test_the_signs_that_are_expected_are_those_of_all_paths() -> None:
    torch.manual_seed(0)
    probabilities = torch.rand(5, 3).softmax(dim=-1)
    expected = 0.0
    for path in itertools.product(range(3), repeat=4):
        chance = float(torch.stack([probabilities[t, c] for t, c in enumerate(path)]).prod())
        expected += chance * sum(c not in {0, before} for before, c in zip((0, *path), path, strict=False))
    read = Posteriors.of(seen([probabilities.tolist()], [4], [2]))
    assert read.emitted == pytest.approx(expected / 2)


def test_what_is_seen_in_parts_adds_up() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(6, 9, 4).log_softmax(dim=-1)
    inside = torch.arange(9)[None, :] < torch.tensor([9, 3, 5, 1, 0, 8])[:, None]
    whole = observe(log_probs, inside, torch.arange(6), 1.0)
    parts = [observe(log_probs[rows], inside[rows], torch.arange(6)[rows], 1.0) for rows in ([0, 1], [2, 3, 4], [5])]
    torch.testing.assert_close(torch.stack(parts).sum(dim=0), whole)


def watched(*silent: float, epochs: int = 50, steps: int = 20) -> bool:
    watch, length = Watch(), watch_length(epochs, steps)
    for share in silent:
        watch = watch.after(Posteriors(1.0, 1.0, share, 1.0), length)
    return watch.collapsed(length)


def test_a_collapse_is_a_silence_that_lasts() -> None:
    assert watched(*[1.0] * 11)
    assert watched(0.0, *[0.9] * 11)
    assert not watched(*[1.0] * 10), "it may still get over it"
    assert not watched(*[1.0] * 11, epochs=100), "of many epochs, many count"
    assert not watched(*[1.0] * 11, steps=3), "of short epochs, many count"
    assert not watched(*[1.0] * 10, 0.89), "it is getting over it"
    assert not watched(*[0.9] * 5, 0.4, *[0.9] * 5), "it was not silent all the time"


def silenced(dataset: Dataset, told: TrainingCallbacks) -> Training:
    """A training whose model says blank, whatever it sees."""
    training = Training(dataset, PLAIN, CPU, callbacks=told)
    with torch.no_grad():
        training._model.encoders[0].head.penalise_blank(-12.0)
    return training


def test_a_training_leaves_a_collapse_by_larger_steps_and_says_so(
    small_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    with caplog.at_level(logging.WARNING):
        epochs = list(silenced(small_dataset, told).epochs())
    acts = {epoch.number: epoch.actions for epoch in epochs if epoch.actions}
    assert list(acts) == [13, 26, 39], "each time it is given time"
    assert "13 epochs of silence on 100% of the training sequences" in acts[13][0]
    assert "a learning rate of 16 times what was asked" in acts[26][0]
    assert "--head competition" in acts[39][0], "what a person can do when the training cannot"
    assert [record.message for record in caplog.records] == [action for (action,) in acts.values()]
    assert told.acts == ["larger-steps"] * 2
    plain = list(Training(small_dataset, PLAIN, CPU).epochs())
    assert [epochs[n].learning_rate / plain[n].learning_rate for n in (12, 13, 26, 39)] == pytest.approx([1, 4, 16, 16])
    assert all(epoch.posteriors is not None and epoch.posteriors.silent == 1 for epoch in epochs)


def test_what_was_seen_of_a_collapse_is_part_of_the_state(small_dataset: Dataset) -> None:
    training = silenced(small_dataset, Told())
    for epoch in training.epochs():
        if epoch.number == 6:
            break
    restored = Training(small_dataset, PLAIN, CPU)
    restored.restore(training.state())
    assert [epoch.number for epoch in restored.epochs() if epoch.actions] == [13, 26, 39]


def test_a_healthy_training_is_left_alone(small_dataset: Dataset) -> None:
    told = Told()
    config = TrainConfig(num_epochs=60, hidden_dim=16, batch_size=8)
    epochs = list(Training(small_dataset, config, CPU, callbacks=told).epochs())
    assert not told.acts
    assert not any(epoch.actions for epoch in epochs)
    assert epochs[-1].posteriors is not None
    assert epochs[-1].posteriors.emitted == pytest.approx(1.0, abs=0.5)
