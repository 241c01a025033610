"""The optimiser, the gradient that it is given, and its moments in a training's state.

The size of its steps is in `services.trainer.training.schedule`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from services.trainer.config.train_config import TrainConfig

SGD_MOMENTUM = 0.9

# The prefix of the moments' names in a training's state.
_PREFIX = "optimizer."


def make_optimizer(parameters: Sequence[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that a configuration asks for."""
    # Fused: one kernel for all parameters. With 55,000 of them a step of AdamW takes 0.17 ms instead of 0.95 on a core.
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=SGD_MOMENTUM, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.lr, weight_decay=decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def fill_missing_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of each parameter: zeros where the loss does not reach it, so that its weights decay as well."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def clip_gradient(parameters: Sequence[nn.Parameter], longest: float) -> Tensor:
    """Shorten the gradient of all parameters to a Euclidean norm of at most `longest` (0: no limit).

    Returns:
        The norm that it had, [1].
    """
    fill_missing_gradients(parameters)
    # foreach: without it, torch loops over the parameters on a CPU.
    return torch.nn.utils.clip_grad_norm_(parameters, longest or math.inf, foreach=True)[None]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of the optimiser's moments, by their names in a training's state."""
    return {
        f"{_PREFIX}{index}.{name}": moment.clone()
        for index, moments in optimizer.state_dict()["state"].items()
        for name, moment in moments.items()
        if moment is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the moments back that `optimizer_tensors` returned; other tensors are ignored.

    Raises:
        ValueError: the moments are of other parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_PREFIX):
            _, index, moment = name.split(".", 2)
            state.setdefault(int(index), {})[moment] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
