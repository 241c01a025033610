"""The model of masked pre-training: a sign model with linear decoders that reconstruct hidden frames."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.trainer.model.heads import BranchLinear
from services.trainer.model.sign_model import Encoder, SignModel


class MaskedModel(SignModel):
    """A sign model whose branches are trained through linear decoders. Its heads keep their random weights."""

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
        """The reconstruction of each branch minus the standardised features: float32 [K, B, T, D].

        Args:
            features: float32 [B, T, D].
            lengths: int64 [B], frames.
            hidden: bool [B, T]; the encoder gets the mean features in these frames.
        """
        residuals = []
        for encoder, decoder in zip(self.encoders, self.decoders, strict=True):
            visible = torch.where(hidden[..., None], encoder.mean, features)
            reconstruction: Tensor = decoder(encoder.states(visible, lengths))
            residuals.append(reconstruction.float() - encoder.standardised(features))
        return torch.cat(residuals)


def as_masked(model: SignModel) -> MaskedModel:
    """The model, typed as the `MaskedModel` that `new_model` builds for pre-training."""
    assert isinstance(model, MaskedModel)  # noqa: S101
    return model
