"""Several members as one model: the geometric mean of their posteriors, frame by frame.

    log p(k | t) = log_softmax_k( mean over members m of log p_m(k | t) )

That is the distribution with the least sum of Kullback-Leibler divergences to the members' (a logarithmic opinion
pool; Genest and Zidek 1986). It takes what a single model takes and answers what a single model answers: decoding,
serving and the blank penalty need not know.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from services.trainer.model import Encoder, Recogniser


class Ensemble(Recogniser):
    """A recogniser whose encoder is that of several.

    Args:
        members: trained on the same vocabulary; at least one. Their features are the same, and computed once.
    """

    def __init__(self, members: Sequence[Recogniser]) -> None:
        nn.Module.__init__(self)
        self.features = members[0].features
        # What a recogniser asks of its encoder is that it can be called.
        self.encoder = cast(Encoder, _Mean([member.encoder for member in members]))

    @property
    def encoders(self) -> list[nn.Module]:
        """Those of the members."""
        return list(cast(_Mean, self.encoder).encoders)

    def member_weights(self) -> dict[str, Tensor]:
        """The weights of all members: those of each as its own `state_dict` names them, behind `member-<index>.`."""
        weights = {}
        for index, encoder in enumerate(self.encoders):
            for part, module in (("features", self.features), ("encoder", encoder)):
                for name, tensor in module.state_dict().items():
                    weights[f"member-{index}.{part}.{name}"] = tensor.clone()
        return weights


class _Mean(nn.Module):
    """Encoders that are asked the same, and their normalised geometric mean."""

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, *features: Tensor) -> Tensor:
        """What encoders take, to log-probabilities [B, T, C + 1]."""
        log_probs = torch.stack([encoder(*features) for encoder in self.encoders])
        return torch.log_softmax(log_probs.mean(dim=0), dim=-1)


def together(members: Sequence[Recogniser]) -> Recogniser:
    """One model of these: the only one itself, or their ensemble."""
    return members[0] if len(members) == 1 else Ensemble(members)
