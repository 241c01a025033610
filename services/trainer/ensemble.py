"""Several members as one model: their heads decide together, on the mean of what each says of every frame.

Which sign a frame shows is the members' normalised geometric mean, the distribution with the least sum of
Kullback-Leibler divergences to theirs (a logarithmic opinion pool; Genest and Zidek 1986). When a sign happens is not
settled by that: members that emit the same sign some frames apart would each be outvoted there by the others' blanks,
and most clips would come out empty. So a head pools before it decides (`CompetitionHead.decide`). An ensemble takes
what a single model takes and answers what a single model answers: decoding, serving and the blank penalty need not
know.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from services.trainer.model import Encoder, Recogniser, frames_inside


class Ensemble(Recogniser):
    """A recogniser whose encoder is that of several.

    Args:
        members: trained on the same vocabulary; at least one. Their features are the same, and computed once.
    """

    def __init__(self, members: Sequence[Recogniser]) -> None:
        nn.Module.__init__(self)
        self.features = members[0].features
        # What a recogniser asks of its encoder is that it can be called.
        self.encoder = cast(Encoder, _Council([member.encoder for member in members]))

    @property
    def encoders(self) -> list[Encoder]:
        """Those of the members."""
        return cast(list[Encoder], list(cast(_Council, self.encoder).encoders))

    def member_weights(self) -> dict[str, Tensor]:
        """The weights of all members: those of each as its own `state_dict` names them, behind `member-<index>.`."""
        weights = {}
        for index, encoder in enumerate(self.encoders):
            for part, module in (("features", self.features), ("encoder", encoder)):
                for name, tensor in module.state_dict().items():
                    weights[f"member-{index}.{part}.{name}"] = tensor.clone()
        return weights


class _Council(nn.Module):
    """Encoders of one architecture's head that are asked the same, and decide together."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What encoders take, to log-probabilities [B, T, C + 1]."""
        members = cast(Sequence[Encoder], self.encoders)
        evidence = torch.stack([encoder.evidence(features, lengths) for encoder in members]).mean(dim=0)
        return members[0].head.decide(evidence, frames_inside(features, lengths), len(members))


def together(members: Sequence[Recogniser]) -> Recogniser:
    """One model of these: the only one itself, or their ensemble."""
    return members[0] if len(members) == 1 else Ensemble(members)
