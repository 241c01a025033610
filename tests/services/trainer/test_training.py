"""Training where memory is short: the same batches in smaller pieces, and the same model in the end."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from services.trainer.config import TrainConfig
from services.trainer.model import Encoder
from services.trainer.training import Epoch, Telemetry, Training
from signet.dataset import Dataset
from signet.errors import SignetError

# Without dropout, whose masks are drawn anew, and with steps as large as the gradient, whose last bits then stay small.
CONFIG = TrainConfig(num_epochs=5, hidden_dim=8, batch_size=8, dropout=0.0, optimizer="sgd", lr=0.05)

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class Counted(Telemetry):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.batches = self.splits = self.nonfinite = 0

    def batch(self) -> None:
        self.batches += 1

    def split(self) -> None:
        self.splits += 1

    def nonfinite_loss(self) -> None:
        self.nonfinite += 1


@contextmanager
def when_encoding(act: Callable[[bool, int], None]) -> Iterator[None]:
    """Calls `act` with whether it is for training, and the sequences, whenever some have gone through an encoder."""

    def hook(module: torch.nn.Module, given: tuple[torch.Tensor, ...], _: Any) -> None:
        if isinstance(module, Encoder):
            act(module.training, len(given[0]))

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def full_beyond(training: int, judging: int = 10**6) -> Callable[[bool, int], None]:
    """A GPU whose memory holds so many sequences at a time."""

    def refuse(is_training: bool, sequences: int) -> None:
        if sequences > (training if is_training else judging):
            raise torch.cuda.OutOfMemoryError("stand-in for a full GPU")

    return refuse


def train(dataset: Dataset, telemetry: Telemetry, device: torch.device = CPU) -> tuple[list[Epoch], torch.Tensor]:
    training = Training(dataset, CONFIG, device, telemetry=telemetry)
    epochs = list(training.epochs())
    return epochs, torch.cat([parameter.flatten() for parameter in training.model.parameters()])


def test_batches_that_do_not_fit_are_learnt_from_in_parts_with_the_same_gradient(
    small_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parted = Counted(), Counted()
    expected_epochs, expected = train(small_dataset, whole)
    with when_encoding(full_beyond(training=2)), caplog.at_level(logging.WARNING):
        epochs, weights = train(small_dataset, parted)
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-4)
    for epoch, one in zip(epochs, expected_epochs, strict=True):
        assert epoch.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert epoch.val.correct == one.val.correct
    assert (whole.splits, parted.splits) == (0, 2), "eight sequences: halves, then quarters, which are kept"
    assert parted.batches == whole.batches == 5 * 3, "no batch is left out, and none is counted twice"
    assert [record.message.split(",")[0] for record in caplog.records] == [
        f"GPU memory is full: training goes on in {parts} parts at a time" for parts in (2, 4)
    ]


def test_every_sequence_is_learnt_from_once(small_dataset: Dataset) -> None:
    seen: list[int] = []

    def note(is_training: bool, sequences: int) -> None:
        full_beyond(training=3)(is_training, sequences)
        if is_training:
            seen.append(sequences)

    with when_encoding(note):
        train(small_dataset, Counted())
    in_parts, seen = sum(seen), []

    def note_all(is_training: bool, sequences: int) -> None:
        if is_training:
            seen.append(sequences)

    with when_encoding(note_all):
        train(small_dataset, Counted())
    # Of a batch that did not fit at first, no part had gone through before the first that was refused.
    assert in_parts == sum(seen)


def test_val_clips_that_do_not_fit_are_judged_in_parts_with_the_same_score(small_dataset: Dataset) -> None:
    expected, _ = train(small_dataset, Counted())
    parted = Counted()
    with when_encoding(full_beyond(training=10**6, judging=2)):
        epochs, _ = train(small_dataset, parted)
    assert parted.splits == 2
    for epoch, one in zip(epochs, expected, strict=True):
        assert vars(epoch.val) == vars(one.val) | {
            "loss": pytest.approx(one.val.loss), "blank_ratio": pytest.approx(one.val.blank_ratio)
        }  # fmt: skip


def test_a_sequence_that_does_not_fit_alone_is_an_error_with_a_way_out(small_dataset: Dataset) -> None:
    with when_encoding(full_beyond(training=0)), pytest.raises(SignetError, match="--hidden-dim"):
        train(small_dataset, Counted())
    with when_encoding(full_beyond(training=10**6, judging=0)), pytest.raises(SignetError, match="--device cpu"):
        train(small_dataset, Counted())


def test_a_loss_that_is_not_finite_is_counted(small_dataset: Dataset) -> None:
    told = Counted()
    with pytest.raises(SignetError, match="--lr"):
        list(Training(small_dataset, CONFIG.model_copy(update={"lr": 1e30}), CPU, telemetry=told).epochs())
    assert told.nonfinite == 1


def test_what_is_called_between_batches_ends_the_training_by_raising(small_dataset: Dataset) -> None:
    told = Counted()

    def give_up() -> None:
        if told.batches == 4:
            raise InterruptedError

    training = Training(small_dataset, CONFIG, CPU, between_batches=give_up, telemetry=told)
    with pytest.raises(InterruptedError):
        list(training.epochs())
    assert told.batches == 4


@pytest.mark.gpu
@needs_cuda
def test_a_gpu_that_is_really_full_is_given_smaller_parts(small_dataset: Dataset) -> None:
    device = torch.device("cuda")
    third = torch.cuda.get_device_properties(device).total_memory // 3
    told = Counted()

    def fill(is_training: bool, sequences: int) -> None:
        if is_training:
            torch.empty(sequences * third, dtype=torch.uint8, device=device)

    with when_encoding(fill):
        train(small_dataset, told, device)
    assert told.splits == 2, "of eight sequences, two and not four fit"
    assert told.batches == 5 * 3
