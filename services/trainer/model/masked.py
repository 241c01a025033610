"""The model of masked pre-training: a recogniser, with linear decoders that reconstruct features of hidden frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.trainer.model.heads import BranchLinear
from services.trainer.model.recogniser import LARGEST_DEVIATION, Encoder, Recogniser


class MaskedModel(Recogniser):
    """A recogniser with a linear decoder of features for each branch. Its heads keep their random weights.

    Args:
        encoders: see `Recogniser`.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__(encoders)
        self.decoders = nn.ModuleList(
            BranchLinear(encoder.architecture.branches, 2 * encoder.architecture.hidden_dim, self.features.size)
            for encoder in encoders
        )

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters except those of the heads."""
        heads = {id(parameter) for encoder in self.encoders for parameter in encoder.head.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in heads]

    def residuals(self, features: Tensor, lengths: Tensor, hidden: Tensor) -> Tensor:
        """What each branch reconstructs, minus the standardised features themselves: float32 [K, B, T, D].

        Args:
            features: float32 [B, T, D], as measured.
            lengths: int64 [B].
            hidden: bool [B, T]. The encoder sees the mean in place of such a frame.
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
    reconstructed: Tensor = decoder(encoder.states(seen, lengths))
    return reconstructed.float() - target


def as_masked(model: Recogniser) -> MaskedModel:
    """The model, as the type that it has if it was built for pre-training."""
    assert isinstance(model, MaskedModel)  # noqa: S101
    return model
