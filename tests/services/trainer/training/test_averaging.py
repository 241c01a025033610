"""Averages of weights against torch's own, and against means taken by hand."""

import copy

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from services.trainer.model.recogniser import Architecture, Encoder, Recogniser
from services.trainer.training.averaging import Averages, Kept


@pytest.fixture
def model() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser([Encoder(Architecture(classes=3, hidden_dim=4))])


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def move(model: Recogniser) -> Tensor:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return weights(model)


def test_once_the_training_is_long_enough_the_moving_average_is_that_of_torch(model: Recogniser) -> None:
    averages = Averages(model, decay=0.9, last=0, best=0)
    expected = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    expected.update_parameters(model)
    for step in range(1000, 1005):
        move(model)
        averages.step(step)
        expected.update_parameters(model)
        assert torch.equal(weights(averages.model), weights(expected.module))


def test_a_short_training_does_not_publish_where_it_began(model: Recogniser) -> None:
    averages = Averages(model, decay=0.999, last=0, best=0)
    first = move(model)
    averages.step(0)
    assert torch.equal(weights(averages.model), first)
    for step in range(1, 10):
        move(model)
        averages.step(step)
    before = weights(averages.model)
    last = move(model)
    averages.step(9)
    torch.testing.assert_close(weights(averages.model), (before + last) / 2)


def test_without_decay_it_is_the_last_step(model: Recogniser) -> None:
    averages = Averages(model, decay=0.0, last=0, best=0)
    for step in range(3):
        last = move(model)
        averages.step(step)
    assert torch.equal(weights(averages.model), last)


def test_the_last_epochs_are_averaged(model: Recogniser) -> None:
    averages = Averages(model, decay=0.0, last=3, best=0)
    seen = []
    for epoch in range(5):
        seen.append(move(model))
        averages.step(epoch)
        averages.epoch()
        assert not averages.judged(Kept(epoch=epoch, correct=1, loss=1.0)), "nothing is selected"
        torch.testing.assert_close(weights(averages.model), torch.stack(seen[-3:]).mean(dim=0))


def test_the_best_epochs_are_averaged(model: Recogniser) -> None:
    averages = Averages(model, decay=0.0, last=0, best=2)
    seen = []
    for epoch, (correct, loss) in enumerate([(5, 1.0), (7, 2.0), (6, 1.0), (7, 1.5), (2, 0.1)], start=1):
        seen.append(move(model))
        averages.step(epoch)
        averages.epoch()
        assert torch.equal(weights(averages.model), seen[-1]), "what is judged is the epoch's own"
        assert averages.judged(Kept(epoch=epoch, correct=correct, loss=loss))
    assert [kept.epoch for kept in averages.best] == [4, 2]
    torch.testing.assert_close(weights(averages.model), (seen[3] + seen[1]) / 2)


def test_averages_go_on_from_their_state(model: Recogniser) -> None:
    averages = Averages(model, decay=0.5, last=2, best=2)
    for epoch in range(3):
        move(model)
        averages.step(epoch)
        averages.epoch()
        averages.judged(Kept(epoch=epoch, correct=epoch, loss=1.0))
    other = copy.deepcopy(model)
    restored = Averages(other, decay=0.5, last=2, best=2)
    restored.restore(averages.state(), averages.best)
    for one, its in ((averages, model), (restored, other)):
        torch.manual_seed(1)
        move(its)
        one.step(3)
        one.epoch()
        one.judged(Kept(epoch=3, correct=9, loss=1.0))
    assert torch.equal(weights(restored.model), weights(averages.model))
    assert restored.best == averages.best
