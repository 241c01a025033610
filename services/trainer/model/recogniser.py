"""The model: features, bidirectional LSTMs side by side, a CTC head with a blank. Reads top to bottom.

Several narrow branches, each trained by a loss of its own on the same batches, recognise more than one of their size
together (Laurent et al. 2023, arXiv 2210.09184). Which sign a frame shows is their normalised geometric mean, the
distribution with the least sum of Kullback-Leibler divergences to theirs (a logarithmic opinion pool; Genest and Zidek
1986). When a sign happens is not settled by that: branches that emit the same sign some frames apart would each be
outvoted there by the others' blanks, and most clips would come out empty. So they are asked for their evidence, and a
head decides on its mean (`CompetitionHead.log_probs`).

The branches of an encoder are computed as one, with a leading dimension K: small products one after the other would
leave a processor waiting.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from services.trainer.features.groups import GROUPS
from services.trainer.features.phonology import PART_STARTS, USED_JOINTS, Features
from services.trainer.model.heads import build_head

# A feature that does not vary in training must not explode on the first clip in which it does; nor may one that is
# further from what training saw than so many deviations: it is a fault of the tracker.
_SMALLEST_DEVIATION = 0.01
LARGEST_DEVIATION = 6.0


@dataclass(frozen=True)
class Architecture:
    """What an encoder is made of.

    Attributes:
        classes: glosses and the blank, C + 1.
        branches: K, side by side.
        hidden_dim: LSTM units of a branch in each direction.
        num_layers: bidirectional layers, one upon the other.
        hand_dim: what one hand's features are projected to in a branch, with weights that both hands share.
        dropout: share of the LSTM's inputs and outputs that training leaves out.
        groups: which features are measured.
        head: how it is decided when a sign happens, of `HEADS`.
        sign_dim: what a frame is reduced to before it is compared with each sign; 0 reduces nothing.
    """

    classes: int
    branches: int = 1
    hidden_dim: int = 64
    num_layers: int = 1
    hand_dim: int = 16
    dropout: float = 0.3
    groups: tuple[str, ...] = GROUPS
    head: str = "competition"
    sign_dim: int = 0


class Encoder(nn.Module):
    """Features float32 [B, T, D] and lengths int64 [B] to what its branches say of each frame, [B, T, E]: evidence.

    What evidence is, is the head's affair.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        features, branches = Features(architecture.groups), architecture.branches
        self._of_hands = 2 * features.hand_size
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(features.size))
        self.register_buffer("deviation", torch.ones(features.size))
        self.hand = nn.Sequential(nn.Linear(features.hand_size, branches * architecture.hand_dim), nn.GELU())
        sizes = [2 * architecture.hand_dim + features.both_size]
        sizes += [2 * architecture.hidden_dim] * (architecture.num_layers - 1)
        self.forwards = nn.ModuleList(_Lstms(branches, size, architecture.hidden_dim) for size in sizes)
        self.backwards = nn.ModuleList(_Lstms(branches, size, architecture.hidden_dim) for size in sizes)
        self.dropout = SequenceDropout(architecture.dropout)
        units = 2 * architecture.hidden_dim
        self.head = build_head(architecture.head, branches, units, architecture.classes, architecture.sign_dim)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """See the class."""
        return self.head.mean_logits(self._read(features, lengths), length_mask(features, lengths))

    def sign_log_probs(self, features: Tensor, lengths: Tensor, signs: Tensor) -> "SignLogProbs":
        """What each branch of this encoder says of the signs of each sequence: see `Recogniser.sign_log_probs`."""
        x, inside = self._read(features, lengths), length_mask(features, lengths)
        return SignLogProbs(*self.head.sign_log_probs(x, inside, signs))

    def _read(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The input of the head: [B, T, D] to [K, B, T, 2H]."""
        x: Tensor = self.dropout(self.states(features, lengths))
        return x

    def states(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the last LSTMs say of each frame, before dropout: features [B, T, D] to [K, B, T, 2H]."""
        x = ((features - self.mean) / self.deviation).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
        hands, both = x.tensor_split([self._of_hands], dim=-1)
        # Contiguous, or without a gradient PyTorch multiplies one frame at a time.
        hands = self.hand(torch.unflatten(hands.contiguous(), -1, (2, -1)))
        hands = torch.unflatten(hands, -1, (self.architecture.branches, -1)).permute(3, 0, 1, 2, 4).flatten(-2)
        x = torch.cat([hands, both.expand(len(hands), -1, -1, -1)], dim=-1)
        backward = backward_order(lengths, x.shape[2])
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            x = self.dropout(x)
            x = torch.cat([ahead(x), reorder_frames(back(reorder_frames(x, backward)), backward)], dim=-1)
        return x

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take each feature's mean and deviation from training frames [N, D]; both hands share theirs."""
        hands, both = features.tensor_split([self._of_hands], dim=-1)
        hands = torch.unflatten(hands, -1, (2, -1)).flatten(0, 1)
        for kept, of_hand, of_both in (
            (self.mean, hands.mean(dim=0), both.mean(dim=0)),
            (self.deviation, hands.std(dim=0), both.std(dim=0)),
        ):
            kept.copy_(torch.cat([of_hand, of_hand, of_both]))
        self.deviation.clamp_(min=_SMALLEST_DEVIATION)


class _Lstms(nn.ModuleList):
    """LSTMs side by side, each of its own sequences: [K, B, T, D] to [K, B, T, H]."""

    def __init__(self, count: int, inputs: int, units: int) -> None:
        super().__init__(nn.LSTM(inputs, units, batch_first=True) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.stack([lstm(one)[0] for lstm, one in zip(self, x.unbind(), strict=True)])


@dataclass(frozen=True, eq=False)
class SignLogProbs:
    """What K branches say of sequences whose signs are known.

    Attributes:
        log_probs: [K, B, T, 1 + S], of the blank and of each of a sequence's signs.
        given_emission: [K, B, T, S], log-probability that it is this sign if it is one.
    """

    log_probs: Tensor
    given_emission: Tensor


class SequenceDropout(nn.Module):
    """Dropout with one mask for a whole sequence (Gal and Ghahramani 2016): no unit can be read off its neighbours."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Leave out the same units of [..., T, D] in all T frames, in training only."""
        if not self.training or not self.share:
            return x
        kept = torch.rand((*x.shape[:-2], 1, x.shape[-1]), device=x.device) >= self.share
        return x * kept / (1 - self.share)


class Recogniser(nn.Module):
    """Raw landmarks float32 [B, T, 75, 3] and lengths int64 [B] to log-probabilities float32 [B, T, C + 1].

    Frames beyond a clip's length do not touch its frames within; what they return means nothing.

    Args:
        encoders: at least one; of one vocabulary, one kind of head and the same features. A model that is trained has
            one, and an ensemble those of its members.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.features = Features(encoders[0].architecture.groups)
        self.encoders = cast(Sequence[Encoder], nn.ModuleList(encoders))

    def forward(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """See the class for shapes."""
        return self.log_probs(self.compute_features(landmarks, lengths), lengths)

    def compute_features(self, landmarks: Tensor, lengths: Tensor) -> Tensor:
        """Raw landmarks [B, T, 75, 3] and lengths [B] to features [B, T, D]."""
        joints = landmarks[:, :, USED_JOINTS].permute(3, 2, 0, 1)
        present = ~joints[0, PART_STARTS].isnan()
        features: Tensor = self.features(joints.nan_to_num(), present, lengths)
        return features

    def log_probs(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Measured features [B, T, D] and lengths [B] to log-probabilities [B, T, C + 1]."""
        return self._decided([encoder(features, lengths) for encoder in self.encoders], features, lengths)

    def sign_log_probs(self, features: Tensor, lengths: Tensor, signs: Tensor) -> SignLogProbs:
        """The log-probabilities that the training loss needs: features [B, T, D] to `SignLogProbs`.

        Args:
            features: as measured.
            lengths: int64 [B], frames.
            signs: int64 [B, S], the classes of each sequence, padded with anything.
        """
        answers = [encoder.sign_log_probs(features, lengths, signs) for encoder in self.encoders]
        return SignLogProbs(
            torch.cat([answer.log_probs for answer in answers]),
            torch.cat([answer.given_emission for answer in answers]),
        )

    def _decided(self, evidence: Sequence[Tensor], features: Tensor, lengths: Tensor) -> Tensor:
        """Each encoder's evidence [B, T, E] to log-probabilities [B, T, C + 1]."""
        mean = evidence[0] if len(evidence) == 1 else torch.stack(list(evidence)).mean(dim=0)
        return self.encoders[0].head.log_probs(mean, length_mask(features, lengths), self.branch_count)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take each feature's mean and deviation from training frames [N, D]."""
        for encoder in self.encoders:
            encoder.standardise(features)

    @property
    def branch_count(self) -> int:
        """How many branches recognise together."""
        return sum(encoder.architecture.branches for encoder in self.encoders)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return list(self.parameters())

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""
        return sum(parameter.numel() for parameter in self.trained_parameters())

    def copy(self) -> "Recogniser":
        """The same model with weights of its own."""
        copied = copy.deepcopy(self)
        for module in copied.modules():
            if isinstance(module, nn.LSTM):
                # A copy's weights lie apart, and cuDNN would bring them together at every call.
                module.flatten_parameters()
        return copied

    def penalise_blank(self, penalty: float) -> None:
        """Start with `penalty` nats less on the blank.

        A penalty that stays on the logit throughout training is absorbed by the blank's bias: it acts as this start
        does, and as nothing more.
        """
        for encoder in self.encoders:
            encoder.head.penalise_blank(penalty)


def length_mask(features: Tensor, lengths: Tensor) -> Tensor:
    """Which frames of [B, T, ...] belong to clips of these lengths [B]: bool [B, T]."""
    return torch.arange(features.shape[1], device=lengths.device)[None, :] < lengths[:, None]


def backward_order(lengths: Tensor, frames: int) -> Tensor:
    """Where each frame goes when its sequence is read backwards: int64 [B, T]. What lies beyond its length stays.

    With this a bidirectional LSTM never reads padding before a clip, and exports to ONNX without packed sequences.
    """
    steps = torch.arange(frames, device=lengths.device)[None, :]
    return torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)


def reorder_frames(x: Tensor, order: Tensor) -> Tensor:
    """The frames of [K, B, T, D] in this order, int64 [B, T]."""
    return torch.gather(x, 2, order[None, ..., None].expand(len(x), -1, -1, x.shape[3]))
