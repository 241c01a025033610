"""The model of masked pre-training: a recogniser, with linear decoders that reconstruct features of hidden frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.trainer.model.heads import BranchLinear
from services.trainer.model.recogniser import LARGEST_DEVIATION, Encoder, Recogniser


class MaskedModel(Recogniser):
    """A recogniser whose branches are trained beside linear decoders of features; their heads stay as chance made them.

    Args:
        encoders: see `Recogniser`.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__(encoders)
        self.decoders = nn.ModuleList(
            BranchLinear(encoder.architecture.branches, 2 * encoder.architecture.hidden_dim, self.features.size)
            for encoder in encoders
        )

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt; none of the heads'."""
        return sum(parameter.numel() for parameter in self.learnt())

    def learnt(self) -> list[nn.Parameter]:
        """What is trained: all but the heads."""
        heads = {id(parameter) for encoder in self.encoders for parameter in encoder.head.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in heads]

    def residuals(self, features: Tensor, lengths: Tensor, hidden: Tensor) -> Tensor:
        """What each branch told of each frame, less what it was, standardised: float32 [K, B, T, D].

        Args:
            features: float32 [B, T, D], as measured.
            lengths: int64 [B].
            hidden: bool [B, T]; of such a frame the encoder sees the mean.
        """
        return torch.cat(
            [
                _residual(encoder, decoder, features, lengths, hidden)
                for encoder, decoder in zip(self.encoders, self.decoders, strict=True)
            ]
        )


def _residual(encoder: Encoder, decoder: nn.Module, features: Tensor, lengths: Tensor, hidden: Tensor) -> Tensor:
    target = ((features - encoder.mean) / encoder.deviation).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    seen = torch.where(hidden[..., None], encoder.mean, features)
    told: Tensor = decoder(encoder.states(seen, lengths))
    return told.float() - target
