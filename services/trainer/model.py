"""The model: features, a bidirectional LSTM, a CTC head with a blank. Reads top to bottom."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.trainer.features import USED_JOINTS, Features
from signet.decoding import BLANK

# A feature that does not vary in training must not explode on the first clip in which it does.
_SMALLEST_DEVIATION = 0.01


@dataclass(frozen=True)
class Architecture:
    """What a model is made of.

    Attributes:
        classes: glosses and the blank, C + 1.
        hidden_dim: LSTM units in each direction.
        num_layers: bidirectional layers, one upon the other.
        hand_dim: what one hand's features are projected to, with weights that both hands share.
        dropout: share of the LSTM's inputs and outputs that training leaves out.
    """

    classes: int
    hidden_dim: int = 64
    num_layers: int = 1
    hand_dim: int = 16
    dropout: float = 0.3


class Encoder(nn.Module):
    """Features to log-probabilities of the classes, frame by frame."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.hand_mean: Tensor
        self.hand_deviation: Tensor
        self.both_mean: Tensor
        self.both_deviation: Tensor
        for name, size in (("hand", Features.HAND), ("both", Features.BOTH)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_deviation", torch.ones(size))
        self.hand = nn.Sequential(nn.Linear(Features.HAND, architecture.hand_dim), nn.GELU())
        sizes = [2 * architecture.hand_dim + Features.BOTH]
        sizes += [2 * architecture.hidden_dim] * (architecture.num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(size, architecture.hidden_dim, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(nn.LSTM(size, architecture.hidden_dim, batch_first=True) for size in sizes)
        self.dropout = SequenceDropout(architecture.dropout)
        self.head = nn.Linear(2 * architecture.hidden_dim, architecture.classes)

    def forward(self, hands: Tensor, both: Tensor, lengths: Tensor) -> Tensor:
        """Hands [B, T, 2, HAND] and both [B, T, BOTH] to log-probabilities [B, T, C + 1]."""
        hands = (hands - self.hand_mean) / self.hand_deviation
        both = (both - self.both_mean) / self.both_deviation
        x = torch.cat([self.hand(hands).flatten(-2), both], dim=-1)
        backward = backward_order(lengths, x.shape[1])
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            x = self.dropout(x)
            x = torch.cat([ahead(x)[0], reordered(back(reordered(x, backward))[0], backward)], dim=-1)
        return torch.log_softmax(self.head(self.dropout(x)), dim=-1)

    @torch.no_grad()
    def standardise(self, hands: Tensor, both: Tensor) -> None:
        """Take each feature's mean and deviation from training frames [N, 2, HAND] and [N, BOTH]."""
        for name, values in (("hand", hands.flatten(0, 1)), ("both", both)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_deviation").copy_(values.std(dim=0).clamp(min=_SMALLEST_DEVIATION))


class SequenceDropout(nn.Module):
    """Dropout with one mask for a whole sequence (Gal and Ghahramani 2016): no unit can be read off its neighbours."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Leave out the same units of [B, T, D] in all T frames, in training only."""
        if not self.training or not self.share:
            return x
        kept = torch.rand((len(x), 1, x.shape[2]), device=x.device) >= self.share
        return x * kept / (1 - self.share)


class Recogniser(nn.Module):
    """Raw landmarks float32 [B, T, 75, 3] and lengths int64 [B] to log-probabilities float32 [B, T, C + 1].

    Frames beyond a clip's length do not touch its frames within; what they return means nothing.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.features = Features()
        self.encoder = Encoder(architecture)

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """See the class for shapes."""
        hands, both = self.features(landmarks[:, :, USED_JOINTS], lengths)
        log_probs: Tensor = self.encoder(hands, both, lengths)
        return log_probs

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def penalise_blank(self, penalty: float) -> None:
        """Start with `penalty` nats less on the blank's logit.

        A penalty that stays on the logit throughout training is absorbed by the blank's bias: it acts as this start
        does, and as nothing more.
        """
        self.encoder.head.bias[BLANK] -= penalty


def backward_order(lengths: Tensor, frames: int) -> Tensor:
    """Where each frame goes when its sequence is read backwards: int64 [B, T]. What lies beyond its length stays.

    With this a bidirectional LSTM never reads padding before a clip, and exports to ONNX without packed sequences.
    """
    steps = torch.arange(frames, device=lengths.device)[None, :]
    return torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)


def reordered(x: Tensor, order: Tensor) -> Tensor:
    """The frames of [B, T, D] in this order, int64 [B, T]."""
    return torch.gather(x, 1, order[..., None].expand(-1, -1, x.shape[2]))
