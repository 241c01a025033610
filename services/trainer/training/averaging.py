"""The moving average of the weights, which is validated and published instead of the weights of the last step.

Weights of one training that are close to one another average to a model that is about as good as an ensemble of them
and costs no more than one (Izmailov et al. 2018). The average is over about the last 1/(1 - decay) steps.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from services.trainer.model.sign_model import SignModel

# The average reaches its full length after about this many times its length in steps.
_WARM_UP_STEPS = 9

# What the average's tensors are named by in a training's state.
_PREFIX = "average."


class MovingAverage:
    """An exponential moving average of a model's weights.

    Our own and not torch's AveragedModel, which counts its steps in a tensor: reading it would wait for the GPU in
    every step.

    Args:
        model: the model that is trained. Its buffers are copied once.
        decay: 0 keeps the weights of the last step.
    """

    def __init__(self, model: SignModel, decay: float) -> None:
        self._decay = decay
        self._average = model.copy().requires_grad_(requires_grad=False)
        self._sources = [parameter.detach() for parameter in model.parameters()]
        self._targets = [parameter.detach() for parameter in self._average.parameters()]

    @property
    def model(self) -> SignModel:
        """A model with the averaged weights, in evaluation mode."""
        return self._average.eval()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after a step of the optimiser; `step` is the number of steps before it.

        The average is never longer than the training so far: step 0 replaces it, and step 9 counts one half.
        """
        decay = min(self._decay, step / (step + _WARM_UP_STEPS))
        torch._foreach_lerp_(self._targets, self._sources, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Copies of the average's tensors, by their names in a training's state."""
        return {f"{_PREFIX}{name}": tensor.clone() for name, tensor in self._average.state_dict().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned; other tensors are ignored.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape.
        """
        self._average.load_state_dict({name: tensors[f"{_PREFIX}{name}"] for name in self._average.state_dict()})
