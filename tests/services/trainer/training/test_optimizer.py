"""The optimiser's gradient: its length, its limit, and parameters that the loss does not reach."""

import pytest
import torch
from torch import nn

from services.trainer.config.train_config import TrainConfig
from services.trainer.training.optimizer import clip_gradient, make_optimizer, set_learning_rate


def parameters_with_gradients(*gradients: list[float] | None) -> list[nn.Parameter]:
    made = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.ones(2))
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        made.append(parameter)
    return made


@pytest.mark.parametrize(("longest", "factor"), [(0.0, 1.0), (5.1, 1.0), (5.0, 1.0), (2.5, 0.5), (0.05, 0.01)])
def test_a_gradient_is_shortened_to_the_limit_and_its_own_length_is_returned(longest: float, factor: float) -> None:
    parameters = parameters_with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradient(parameters, longest).tolist() == [5.0]
    assert parameters[0].grad is not None
    assert parameters[1].grad is not None
    torch.testing.assert_close(parameters[0].grad, torch.tensor([3.0 * factor, 0.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.0, 4.0 * factor]))


def test_a_parameter_that_the_loss_does_not_reach_decays_as_well() -> None:
    parameters = parameters_with_gradients([0.0, 0.0], None)
    optimizer = make_optimizer(parameters, TrainConfig(weight_decay=0.5, lr=0.1))
    clip_gradient(parameters, 1.0)
    optimizer.step()
    for parameter in parameters:
        torch.testing.assert_close(parameter.detach(), torch.full((2,), 1 - 0.1 * 0.5))


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_configuration_chooses_the_optimiser(name: str, kind: type[torch.optim.Optimizer]) -> None:
    config = TrainConfig.model_validate({"optimizer": name, "weight_decay": 0.3})
    optimizer = make_optimizer(parameters_with_gradients([1.0, 1.0]), config)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
