"""What a training is about: what of its batches is learnt, what is minimised, and what it is judged by.

`Recognition` is the training of a model that will be published; `training.masked_prediction` has the other.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Batch, Clips
from services.trainer.model.recogniser import Recogniser, SignLogProbs
from services.trainer.training.masked_prediction import MaskedPrediction
from services.trainer.training.objective import Totals
from services.trainer.training.objective import loss as objective
from services.trainer.training.validate import Score, evaluate, together

# Signs in the longest training sequence.
LONGEST_SEQUENCE = 3


class Aim(Protocol):
    """What a training is about.

    Attributes:
        longest: clips in the longest training sequence.
    """

    longest: int

    def parameters(self, model: Recogniser) -> list[nn.Parameter]:
        """What of the model is trained."""

    def prepared(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch as it is learnt from; what is drawn for it comes from the generator."""

    def totals(self, batch: Batch, batches: int) -> Any:
        """What the means of a batch's losses are over, as one of so many; its parts are given those of the whole."""

    def answer(self, model: Recogniser, part: Batch) -> Any:
        """What the model says of a batch, or of a part of one."""

    def loss(self, answer: Any, part: Batch, share: float, totals: Any) -> Tensor:
        """What is minimised, when this share of the epochs has gone before."""

    def judge(self, model: Recogniser, clips: Clips, parts: int, searched: bool) -> Score:
        """How a model does on clips, taken in so many parts at least; `searched` lets the continuous decoder run."""


class Recognition:
    """Signs are to be recognised. See `Aim`."""

    longest = LONGEST_SEQUENCE

    def __init__(self, config: TrainConfig) -> None:
        self._decoder = config.decoder
        self._loss = objective(config.head, config.start)

    def parameters(self, model: Recogniser) -> list[nn.Parameter]:
        """All."""
        return list(model.parameters())

    def prepared(self, batch: Batch, generator: torch.Generator) -> Batch:
        """As it is."""
        return batch

    def totals(self, batch: Batch, batches: int) -> Totals:
        """Signs and frames."""
        return Totals.of(batch, batches)

    def answer(self, model: Recogniser, part: Batch) -> SignLogProbs:
        """What it says of the signs that are there."""
        return model.sign_log_probs(part.features, part.lengths, part.targets)

    def loss(self, answer: SignLogProbs, part: Batch, share: float, totals: Totals) -> Tensor:
        """The mean of the branches' own losses: see `services.trainer.training.objective`."""
        return self._loss(answer, part, share, totals)

    def judge(self, model: Recogniser, clips: Clips, parts: int, searched: bool) -> Score:
        """What is recognised, and how."""
        return together(
            [
                (evaluate(model, part, self._decoder, continuous=searched), int(part.lengths.sum()))
                for part in clips.split(parts)
            ]
        )


def aim_of(config: TrainConfig, model: Recogniser) -> Aim:
    """What a training of this configuration is about."""
    return MaskedPrediction(model.features) if config.pretrain else Recognition(config)
