"""The model: features, branches of bidirectional LSTMs, and a CTC head with a blank. Reads top to bottom.

Several narrow branches, each trained with its own loss on the same batches, recognise more together than one branch of
their total size (Laurent et al. 2023, arXiv 2210.09184). Which sign a frame shows is their normalised geometric mean,
the distribution with the least sum of Kullback-Leibler divergences to theirs (a logarithmic opinion pool; Genest and
Zidek 1986). The geometric mean does not work for the timing: if branches emit the same sign some frames apart, the
blanks of the others outvote each of them, and most clips come out empty. So the head decides from the mean of the
branches' logits (`CompetitionHead.log_probs`).

The branches of an encoder are computed together, with a leading dimension K, which keeps the processor busy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from services.trainer.features.groups import GROUPS
from services.trainer.features.phonology import PART_STARTS, USED_JOINTS, Features
from services.trainer.model.heads import CompetitionHead, build_head

# Bounds of standardisation. A feature that is constant in training must not explode on the first clip where it varies.
# A feature further from the training mean than _LARGEST_DEVIATION standard deviations is an error of the tracker.
_SMALLEST_DEVIATION = 0.01
_LARGEST_DEVIATION = 6.0


@dataclass(frozen=True)
class Architecture:
    """What an encoder is made of."""

    classes: int  # C + 1, glosses and the blank
    branches: int = 1  # K
    hidden_dim: int = 64  # H, LSTM units of a branch in each direction
    num_layers: int = 1  # stacked bidirectional layers
    hand_dim: int = 16  # numbers to which a branch projects the features of each hand; both hands share the weights
    dropout: float = 0.3  # share of the LSTM's inputs and outputs that is set to zero in training
    groups: tuple[str, ...] = GROUPS  # the feature groups, of `GROUPS`
    head: str = "competition"  # as in `TrainConfig`
    sign_dim: int = 0  # numbers to which a frame is projected before it is compared with the signs; 0 does not project


@dataclass(frozen=True, eq=False)
class SignLogProbs:
    """Each branch's log-probabilities of the signs that a sequence is known to contain."""

    log_probs: Tensor  # [K, B, T, 1 + S], of the blank and of each sign of the sequence
    given_emission: Tensor  # [K, B, T, S], of each sign given that the frame emits a sign


class Encoder(nn.Module):
    """Standardised features to the mean logits of K branches: see `CompetitionHead.mean_logits`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        features, branches = Features(architecture.groups), architecture.branches
        self._both_start = 2 * features.hand_size
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(features.size))
        self.register_buffer("deviation", torch.ones(features.size))
        self.hand = nn.Sequential(nn.Linear(features.hand_size, branches * architecture.hand_dim), nn.GELU())
        sizes = [2 * architecture.hand_dim + features.both_size]
        sizes += [2 * architecture.hidden_dim] * (architecture.num_layers - 1)
        self.forwards = nn.ModuleList(_BranchLstm(branches, size, architecture.hidden_dim) for size in sizes)
        self.backwards = nn.ModuleList(_BranchLstm(branches, size, architecture.hidden_dim) for size in sizes)
        self.dropout = SequenceDropout(architecture.dropout)
        units = 2 * architecture.hidden_dim
        self.head = build_head(architecture.head, branches, units, architecture.classes, architecture.sign_dim)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features float32 [B, T, D] and lengths int64 [B] to mean logits [B, T, E]."""
        x = self.dropout(self.states(features, lengths))
        return self.head.mean_logits(x, length_mask(features, lengths))

    def embed(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `SignModel.embed`."""
        assert isinstance(self.head, CompetitionHead)  # noqa: S101
        x = self.dropout(self.states(features, lengths))
        return self.head.embed(x, length_mask(features, lengths))

    def sign_log_probs(self, features: Tensor, lengths: Tensor, signs: Tensor) -> SignLogProbs:
        """See `SignModel.sign_log_probs`."""
        x = self.dropout(self.states(features, lengths))
        return SignLogProbs(*self.head.sign_log_probs(x, length_mask(features, lengths), signs))

    def states(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The output of the last LSTMs before dropout: features [B, T, D] to [K, B, T, 2H]."""
        hands, both = self.standardised(features).tensor_split([self._both_start], dim=-1)
        # Contiguous, because PyTorch otherwise multiplies one frame at a time when no gradient is needed.
        hands = self.hand(torch.unflatten(hands.contiguous(), -1, (2, -1)))
        hands = torch.unflatten(hands, -1, (self.architecture.branches, -1)).permute(3, 0, 1, 2, 4).flatten(-2)
        x = torch.cat([hands, both.expand(len(hands), -1, -1, -1)], dim=-1)
        backward = backward_order(lengths, x.shape[2])
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            x = self.dropout(x)
            x = torch.cat([ahead(x), reorder_frames(back(reorder_frames(x, backward)), backward)], dim=-1)
        return x

    def standardised(self, features: Tensor) -> Tensor:
        """Features less their mean, in standard deviations, clamped: [B, T, D]."""
        return ((features - self.mean) / self.deviation).clamp(-_LARGEST_DEVIATION, _LARGEST_DEVIATION)

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Set mean and deviation from training frames [N, D]. Both hands get the same numbers."""
        hands, both = features.tensor_split([self._both_start], dim=-1)
        hands = torch.unflatten(hands, -1, (2, -1)).flatten(0, 1)
        self.mean.copy_(torch.cat([hands.mean(dim=0)] * 2 + [both.mean(dim=0)]))
        self.deviation.copy_(torch.cat([hands.std(dim=0)] * 2 + [both.std(dim=0)]).clamp(min=_SMALLEST_DEVIATION))


class _BranchLstm(nn.ModuleList):
    """An LSTM for each branch: [K, B, T, D] to [K, B, T, H]."""

    def __init__(self, branches: int, inputs: int, units: int) -> None:
        super().__init__(nn.LSTM(inputs, units, batch_first=True) for _ in range(branches))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.stack([lstm(branch)[0] for lstm, branch in zip(self, x.unbind(), strict=True)])


class SequenceDropout(nn.Module):
    """Dropout with one mask for all frames, so neighbouring frames do not reveal a unit (Gal and Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Set the same units of [..., T, D] to zero in all T frames; in training only."""
        if not self.training or not self.share:
            return x
        mask = torch.rand((*x.shape[:-2], 1, x.shape[-1]), device=x.device) >= self.share
        return x * mask / (1 - self.share)


class SignModel(nn.Module):
    """Raw landmarks float32 [B, T, 75, 3] and lengths int64 [B] to log-probabilities float32 [B, T, C + 1].

    Frames beyond a clip's length do not influence the frames within. Their output is undefined.

    Args:
        encoders: at least one, of the same vocabulary, head and feature groups. A model in training has one; an
            ensemble has those of its members.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.features = Features(encoders[0].architecture.groups)
        self.encoders = cast(Sequence[Encoder], nn.ModuleList(encoders))

    def forward(self, landmarks: Tensor, lengths: Tensor, dominance: Tensor | None = None) -> Tensor:
        """See the class. For `dominance` see `compute_features`."""
        return self.log_probs(self.compute_features(landmarks, lengths, dominance), lengths)

    def compute_features(self, landmarks: Tensor, lengths: Tensor, dominance: Tensor | None = None) -> Tensor:
        """Raw landmarks [B, T, 75, 3] and lengths [B] to features [B, T, D].

        `dominance`, float32 [B] or [1], is added to each clip's own measure of how much the left hand dominates
        (`phonology.left_dominance`): a positive number favours the left hand.
        """
        joints = landmarks[:, :, USED_JOINTS].permute(3, 2, 0, 1)
        present = ~joints[0, PART_STARTS].isnan()
        features: Tensor = self.features(joints.nan_to_num(), present, lengths, dominance)
        return features

    def log_probs(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [B, T, D] and lengths [B] to log-probabilities [B, T, C + 1]."""
        logits = [encoder(features, lengths) for encoder in self.encoders]
        mean: Tensor = logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)
        return self.encoders[0].head.log_probs(mean, length_mask(features, lengths), self.branch_count)

    def embed(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The mean timing logits [B, T, 2] and the embeddings [B, T, N·D] of the branches of all encoders.

        See `CompetitionHead.embed`. A model with a linear head has no embeddings.
        """
        embedded = [encoder.embed(features, lengths) for encoder in self.encoders]
        if len(embedded) == 1:
            return embedded[0]
        timings, embeddings = zip(*embedded, strict=True)
        return torch.stack(timings).mean(dim=0), torch.cat(embeddings, dim=-1)

    def directions(self) -> Tensor | None:
        """The unit vectors float32 [C, N, D] of the signs in the branches of all encoders; None with a linear head."""
        heads = [encoder.head for encoder in self.encoders]
        directions = [head.directions() for head in heads if isinstance(head, CompetitionHead)]
        return torch.cat(directions, dim=1) if directions else None

    def sign_log_probs(self, features: Tensor, lengths: Tensor, signs: Tensor) -> SignLogProbs:
        """What the training loss needs: features [B, T, D], lengths [B] and signs int64 [B, S] to `SignLogProbs`.

        The signs are the classes of each sequence; padding may have any value.
        """
        outputs = [encoder.sign_log_probs(features, lengths, signs) for encoder in self.encoders]
        log_probs = torch.cat([output.log_probs for output in outputs])
        return SignLogProbs(log_probs, torch.cat([output.given_emission for output in outputs]))

    def standardise(self, features: Tensor) -> None:
        """Set each feature's mean and deviation from training frames [N, D]."""
        for encoder in self.encoders:
            encoder.standardise(features)

    @property
    def branch_count(self) -> int:
        """The branches of all encoders."""
        return sum(encoder.architecture.branches for encoder in self.encoders)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return list(self.parameters())

    @property
    def parameter_count(self) -> int:
        """The number of trained values."""
        return sum(parameter.numel() for parameter in self.trained_parameters())

    def copy(self) -> "SignModel":
        """A model with the same weights, which shares no memory with this one."""
        copied = copy.deepcopy(self)
        for module in copied.modules():
            if isinstance(module, nn.LSTM):
                # The weights of a copy are not contiguous, and cuDNN would compact them at every call.
                module.flatten_parameters()
        return copied

    def penalise_blank(self, penalty: float) -> None:
        """Initialise the model with `penalty` nats less on the blank.

        A constant penalty throughout training would have no further effect: the bias of the blank would absorb it.
        """
        for encoder in self.encoders:
            encoder.head.penalise_blank(penalty)


def length_mask(features: Tensor, lengths: Tensor) -> Tensor:
    """Which frames of [B, T, ...] belong to clips of these lengths [B]: bool [B, T]."""
    return torch.arange(features.shape[1], device=lengths.device)[None, :] < lengths[:, None]


def backward_order(lengths: Tensor, frames: int) -> Tensor:
    """The frame indices int64 [B, T] of each sequence from its end to its beginning; padding stays in its place.

    So a bidirectional LSTM reads no padding before a clip, and needs no packed sequences, which ONNX lacks.
    """
    steps = torch.arange(frames, device=lengths.device)[None, :]
    return torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)


def reorder_frames(x: Tensor, order: Tensor) -> Tensor:
    """The frames of [K, B, T, D] in this order, int64 [B, T]."""
    return torch.gather(x, 2, order[None, ..., None].expand(len(x), -1, -1, x.shape[3]))
