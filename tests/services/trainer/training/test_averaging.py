"""The moving average of weights against torch's own, and against means computed by hand."""

import copy

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from services.trainer.model.sign_model import Architecture, Encoder, SignModel
from services.trainer.training.averaging import MovingAverage


@pytest.fixture
def model() -> SignModel:
    torch.manual_seed(0)
    return SignModel([Encoder(Architecture(classes=3, hidden_dim=4))])


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def move(model: SignModel) -> Tensor:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return weights(model)


def test_once_the_training_is_long_enough_the_moving_average_is_that_of_torch(model: SignModel) -> None:
    average = MovingAverage(model, decay=0.9)
    expected = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    expected.update_parameters(model)
    for step in range(1000, 1005):
        move(model)
        average.update(step)
        expected.update_parameters(model)
        assert torch.equal(weights(average.model), weights(expected.module))


def test_a_short_training_does_not_publish_where_it_began(model: SignModel) -> None:
    average = MovingAverage(model, decay=0.999)
    first = move(model)
    average.update(0)
    assert torch.equal(weights(average.model), first)
    for step in range(1, 10):
        move(model)
        average.update(step)
    before = weights(average.model)
    last = move(model)
    average.update(9)
    torch.testing.assert_close(weights(average.model), (before + last) / 2)


def test_without_decay_it_is_the_last_step(model: SignModel) -> None:
    average = MovingAverage(model, decay=0.0)
    for step in range(3):
        last = move(model)
        average.update(step)
    assert torch.equal(weights(average.model), last)


def test_an_average_continues_from_its_state(model: SignModel) -> None:
    average = MovingAverage(model, decay=0.5)
    for step in range(3):
        move(model)
        average.update(step)
    other = copy.deepcopy(model)
    restored = MovingAverage(other, decay=0.5)
    restored.restore(average.state())
    for one, trained in ((average, model), (restored, other)):
        torch.manual_seed(1)
        move(trained)
        one.update(3)
    assert torch.equal(weights(restored.model), weights(average.model))
