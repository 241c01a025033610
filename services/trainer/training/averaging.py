"""Which weights are published: a moving average of those that are trained, or an average of several such averages.

Weights of one training that are close to one another average to a model that is about as good as an ensemble of them
and costs no more than one (Izmailov et al. 2018). Three ways, one upon the other:

    moving average      over about the last 1/(1 - decay) steps; on by default
    the last k epochs   each epoch's moving average; nothing is selected
    the best k epochs   those that recognised the most val clips: val has a say, and a card must say so
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from services.trainer.model.recogniser import Recogniser

# The moving average grows to its full length by about so many times as many steps as its length.
_WARM_UP_STEPS = 9


class Kept(BaseModel):
    """One of the best epochs.

    Attributes:
        epoch: its number.
        correct: val clips that its weights recognise.
        loss: their loss on val; the lower one wins a tie, and of equals the earlier epoch.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    correct: int
    loss: float

    @property
    def rank(self) -> tuple[int, float, int]:
        """Ascending from the best."""
        return (-self.correct, self.loss, self.epoch)


class Averages:
    """The averages of one model's weights.

    Args:
        model: what is trained; its buffers are taken as they are.
        decay: of the moving average; 0 keeps the weights of the last step.
        last: over how many epochs' ends to average; 0 and 1 take the last one alone.
        best: over how many of the best epochs to average; 0 selects none.
    """

    def __init__(self, model: Recogniser, decay: float, last: int, best: int) -> None:
        self._trained = model
        self._decay = decay
        self._last_count, self._best_count = max(last, 1), best
        self._moving = model.copy().requires_grad_(requires_grad=False)
        self._whole = self._moving.copy() if last > 1 or best else self._moving
        self._sources = [parameter.detach() for parameter in model.parameters()]
        self._targets = [parameter.detach() for parameter in self._moving.parameters()]
        self._last: list[dict[str, Tensor]] = []
        self._best: list[tuple[Kept, dict[str, Tensor]]] = []

    @property
    def model(self) -> Recogniser:
        """The average that is judged and published."""
        return self._whole.eval()

    @property
    def best(self) -> tuple[Kept, ...]:
        """The epochs that are averaged over because they are the best, the best first."""
        return tuple(kept for kept, _ in self._best)

    @torch.no_grad()
    def step(self, before: int) -> None:
        """The model has made a step, and `before` it so many.

        The average begins with the first, and is never longer than the training so far: the tenth step counts a half.
        """
        decay = min(self._decay, before / (before + _WARM_UP_STEPS))
        torch._foreach_lerp_(self._targets, self._sources, 1 - decay)

    def epoch(self) -> None:
        """An epoch is over."""
        if self._whole is self._moving:
            return
        self._last = [*self._last, _copied(self._moving)][-self._last_count :]
        self._whole.load_state_dict(_mean(self._last))

    def judged(self, kept: Kept) -> bool:
        """The epoch's average came to this on val; whether it is among the best, and the average another now."""
        if not self._best_count:
            return False
        candidates = [*self._best, (kept, _copied(self._whole))]
        self._best = sorted(candidates, key=lambda one: one[0].rank)[: self._best_count]
        self._whole.load_state_dict(_mean([weights for _, weights in self._best]))
        return True

    def state(self) -> dict[str, Tensor]:
        """All averages, by name; the records of the best are in `best`."""
        tensors = {f"average.{name}": tensor for name, tensor in _copied(self._moving).items()}
        if self._whole is not self._moving:
            tensors |= {f"published.{name}": tensor for name, tensor in _copied(self._whole).items()}
        for kind, several in (("last", self._last), ("best", [weights for _, weights in self._best])):
            for index, weights in enumerate(several):
                tensors |= {f"{kind}.{index}.{name}": tensor for name, tensor in weights.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], best: Sequence[Kept]) -> None:
        """Go on from what `state` gave.

        Args:
            tensors: may hold others too.
            best: the records of the best epochs.

        Raises:
            KeyError: one is missing.
            RuntimeError: one has another shape.
        """
        names = list(self._moving.state_dict())

        def of(prefix: str) -> dict[str, Tensor]:
            return {name: tensors[f"{prefix}.{name}"] for name in names}

        self._moving.load_state_dict(of("average"))
        if self._whole is not self._moving:
            self._whole.load_state_dict(of("published"))
        kept = {name.split(".")[1] for name in tensors if name.startswith("last.")}
        self._last = [of(f"last.{index}") for index in range(len(kept))]
        self._best = [(one, of(f"best.{index}")) for index, one in enumerate(best)]


def _copied(model: Recogniser) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _mean(several: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    if len(several) == 1:
        return dict(several[0])
    return {name: torch.stack([weights[name] for weights in several]).mean(dim=0) for name in several[0]}
