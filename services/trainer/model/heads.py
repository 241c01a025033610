"""Heads: from the LSTM states of each frame to log-probabilities of the blank and the signs.

A linear head decides for every frame alone between the blank and the signs. While the timing is unconstrained, such a
model can spread one expected emission over many frames like a Poisson process: P(exactly one sign) stays near 1/e and
the blank wins every frame. This plateau is the blank collapse.

The competition head cannot get stuck there. Each frame has a saliency s, and emits with the softmax of the saliencies
within a window around it:

    g(t) = exp(β·s(t)) / Σ over |u - t| <= w of exp(β·s(u)),    p(a sign at t) = g(t) · σ(gate(t))

However smooth s is, β makes its highest frame win the window: one number sharpens the timing of all signs, where a
linear head has to learn the timing of each sign. A separate softmax over the vocabulary decides which sign it is, so
uncertainty about the sign does not favour the blank. Its logits are cosines between the LSTM state and a direction for
each sign (Gidaris and Komodakis 2018): with a few clips a sign, the length of a vector is overfitted sooner than its
direction.

A head has K branches, each with its own weights. `mean_logits` averages the logits of the branches, and `log_probs`
turns this average, or the average of several models, into log-probabilities. In training each branch has its own loss,
which needs only a few classes of each sequence: `sign_log_probs` returns those for each branch. The exported graph
keeps the two factors of the signs' logits apart (`embed` and `directions`), so that signs can be added without
training.

Shapes: K branches, B clips, T frames, D numbers a frame, C signs, S signs of a sequence.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.trainer.model.chunked_softmax import chunked_log_softmax
from signet.decoding import BLANK

# w, frames before and after that compete: half a second at 10 Hz. Fluent signs follow each other every half a second or
# more, so at most one is expected in a window.
WINDOW = 5

# β at the start: low enough that more than one frame of a window gets a gradient.
_SHARPNESS = 2.0

# The logit of a cosine of 1. Cosines alone would leave the softmax flat.
LOGIT_SCALE = 12.0

# Logit of a frame outside the clip: far below any other, and finite.
_OUTSIDE = -1e4

# Bounds of the log-probability that a frame emits: it and the log-probability of the blank stay finite.
_LEAST, _MOST = -50.0, -1e-4


class BranchLinear(nn.Module):
    """A linear map for each of K branches: [K, ..., D] to [K, ..., E].

    The weight [K, E, D] and the bias [K, E] are initialised like those of `nn.Linear`.
    """

    def __init__(self, branches: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(branches, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(branches, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = torch.matmul(x.flatten(1, -2), self.weight.mT)
        return torch.unflatten(y if self.bias is None else y + self.bias[:, None].to(y), 1, x.shape[1:-1])


class LinearHead(nn.Module):
    """Logits of the blank and the signs for each frame. See `CompetitionHead` for arguments and methods."""

    def __init__(self, branches: int, units: int, classes: int) -> None:
        super().__init__()
        self.branches = branches
        self.logits = BranchLinear(branches, units, classes)

    def mean_logits(self, x: Tensor, inside: Tensor) -> Tensor:
        """The mean logits of the branches: [B, T, C + 1]."""
        logits: Tensor = self.logits(x).float()
        return logits.mean(dim=0)

    def log_probs(self, logits: Tensor, inside: Tensor, branches: int = 1) -> Tensor:
        """Log-probabilities [B, T, C + 1]: the normalised geometric mean of the branches' probabilities."""
        return torch.log_softmax(logits, dim=-1)

    def sign_log_probs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """See `CompetitionHead.sign_log_probs`."""
        log_probs = torch.log_softmax(self.logits(x).float(), dim=-1)
        of_signs = log_probs.gather(-1, _at_each_frame(signs.clamp(min=1), x))
        given_emission = of_signs - log_probs[..., BLANK + 1 :].logsumexp(dim=-1, keepdim=True)
        return torch.cat([log_probs[..., :1], of_signs], dim=-1), given_emission

    @torch.no_grad()
    def penalise_blank(self, penalty: float) -> None:
        """Lower the bias of the blank's logit by `penalty` nats."""
        assert self.logits.bias is not None  # noqa: S101  (`__init__` makes one)
        self.logits.bias[:, BLANK] -= penalty


class CompetitionHead(nn.Module):
    """Timing by competition between neighbouring frames, and a softmax over the vocabulary. See the module.

    Args:
        branches: K.
        units: D.
        classes: C + 1.
        attention: decide which sign it is from all frames of the window, pooled by attention, instead of from the
            emitting frame alone.
        sign_dim: project each frame to this many numbers before it is compared with the signs; 0 does not project.
    """

    def __init__(self, branches: int, units: int, classes: int, attention: bool = False, sign_dim: int = 0) -> None:
        super().__init__()
        self.branches = branches
        self.reduce = BranchLinear(branches, units, sign_dim, bias=False) if sign_dim else nn.Identity()
        self.signs = BranchLinear(branches, sign_dim or units, classes - 1, bias=False)
        self.timing = BranchLinear(branches, units, 2)
        self.sharpness = nn.Parameter(torch.full((branches,), _SHARPNESS))
        self.attention = BranchLinear(branches, units, 1) if attention else None
        self._gate_bias.zero_()

    def mean_logits(self, x: Tensor, inside: Tensor) -> Tensor:
        """The branches' mean of β·s, of the gate's logit and of the signs' logits.

        Args:
            x: [K, B, T, D].
            inside: bool [B, T], which frames belong to the clip.

        Returns:
            float32 [B, T, 2 + C].
        """
        timing, embeddings = self.embed(x, inside)
        return torch.cat([timing, sign_logits(embeddings, self.directions())], dim=-1)

    def embed(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """What the head computes before it compares frames with signs. Arguments as of `mean_logits`.

        Returns:
            float32 [B, T, 2], the branches' mean of β·s and of the gate's logit; and float32 [B, T, K·D'], the unit
            vector of each branch, whose cosines with the directions are the signs' logits.
        """
        timing = torch.cat(self._timing_logits(x), dim=-1).mean(dim=0)
        if self.attention is not None:
            x = self._attention_pooled(x, inside)
        frames, _ = self._unit_vectors(x)
        return timing, frames.permute(1, 2, 0, 3).flatten(2)

    def directions(self) -> Tensor:
        """The unit vector of each sign and branch: float32 [C, K, D']."""
        return F.normalize(self.signs.weight.float(), dim=-1).permute(1, 0, 2)

    def log_probs(self, logits: Tensor, inside: Tensor, branches: int = 1) -> Tensor:
        """Log-probabilities [B, T, C + 1] of the mean logits [B, T, 2 + C] of this many branches, of all models.

        The saliencies are added, as in a product of experts (Hinton 2002). If two branches prefer frames a little
        apart, the mean of their saliencies would spread the sign over both frames, and the blank would win each.
        """
        saliency, gate, signs = logits.tensor_split((1, 2), dim=-1)
        blank, emission = _emission_log_probs(saliency * branches, gate, inside)
        return torch.cat([blank, emission + torch.log_softmax(signs, dim=-1)], dim=-1)

    def sign_log_probs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """The log-probabilities of a few classes; with a large vocabulary much faster than those of all.

        Args:
            x: [K, B, T, D].
            inside: bool [B, T], which frames belong to the clip.
            signs: int64 [B, S], classes; padding may have any value.

        Returns:
            log-probabilities [K, B, T, 1 + S] of the blank and these signs; and [K, B, T, S], the log-probability of
            each of these signs given that the frame emits one. Undefined for frames outside the clip.
        """
        blank, emission = _emission_log_probs(*self._timing_logits(x), inside)
        if self.attention is not None:
            x = self._attention_pooled(x, inside)
        wanted = _at_each_frame((signs - 1).clamp(min=0), x)
        given_emission = emission.new_zeros(wanted.shape)
        frames, directions = self._unit_vectors(x[:, inside])
        given_emission[:, inside] = chunked_log_softmax(frames, directions, wanted[:, inside], LOGIT_SCALE)
        return torch.cat([blank, emission + given_emission], dim=-1), given_emission

    def penalise_blank(self, penalty: float) -> None:
        """Raise the gate's logit by `penalty` nats, which divides the odds of the blank by exp(penalty)."""
        self._gate_bias.add_(penalty)

    def _timing_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """β·s and the gate's logit: float32 [K, B, T, 1] each."""
        saliency, gate = self.timing(x).float().split(1, dim=-1)
        return saliency * self.sharpness[:, None, None, None], gate

    def _unit_vectors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors whose cosines are the signs' logits, float32: frames [K, ..., D'] and signs [K, C, D']."""
        return F.normalize(self.reduce(x).float(), dim=-1), F.normalize(self.signs.weight.float(), dim=-1)

    def _attention_pooled(self, x: Tensor, inside: Tensor) -> Tensor:
        """The mean of each frame's window, weighted by attention: like x [K, B, T, D]."""
        assert self.attention is not None  # noqa: S101  (the callers check it)
        attention_logits = self.attention(x).float()[..., 0].masked_fill(~inside, _OUTSIDE)
        weights = _windows(attention_logits).softmax(dim=-1).to(x.dtype)
        padded = F.pad(x, (0, 0, WINDOW, WINDOW))
        pooled = torch.zeros_like(x)
        for k in range(2 * WINDOW + 1):
            pooled = pooled + weights[..., k, None] * padded[:, :, k : k + x.shape[2]]
        return pooled

    @property
    def _gate_bias(self) -> Tensor:
        """The gate's bias of each branch: [K], a view of the parameter."""
        assert self.timing.bias is not None  # noqa: S101  (`__init__` makes one)
        return self.timing.bias.detach()[:, 1]


def sign_logits(embeddings: Tensor, directions: Tensor) -> Tensor:
    """The signs' logits, the branches' mean of the scaled cosines: float32 [B, T, C].

    Args:
        embeddings: float32 [B, T, N·D], as `CompetitionHead.embed` returns them, of one model or of several.
        directions: float32 [C, N, D], of the same branches.
    """
    # One product of the concatenated branches is the sum of the products of the branches.
    scale = LOGIT_SCALE / directions.shape[1]
    with torch.autocast(embeddings.device.type, enabled=False):
        return torch.matmul(embeddings, directions.flatten(1).transpose(0, 1)) * scale


def build_head(name: str, branches: int, units: int, classes: int, sign_dim: int = 0) -> LinearHead | CompetitionHead:
    """The head of `TrainConfig.head` with K branches, D units and C + 1 classes. A linear head ignores `sign_dim`."""
    if name == "linear":
        return LinearHead(branches, units, classes)
    return CompetitionHead(branches, units, classes, attention=name == "attention", sign_dim=sign_dim)


def _emission_log_probs(saliency: Tensor, gate: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """β·s and the gate's logit to the log-probabilities of the blank and of a sign: [..., B, T, 1] each."""
    saliency = saliency[..., 0].masked_fill(~inside, _OUTSIDE)
    window_total = _windows(saliency).logsumexp(dim=-1)
    emission = (saliency - window_total + F.logsigmoid(gate[..., 0])).clamp(_LEAST, _MOST)[..., None]
    return torch.log(-torch.expm1(emission)), emission


def _at_each_frame(signs: Tensor, x: Tensor) -> Tensor:
    """Indices int64 [B, S] for each branch and frame of x [K, B, T, D]: [K, B, T, S]."""
    return signs[None, :, None].expand(len(x), -1, x.shape[2], -1)


def _windows(logits: Tensor) -> Tensor:
    """The window of each frame: [..., T] to [..., T, 2 · WINDOW + 1]."""
    padded = F.pad(logits, (WINDOW, WINDOW), value=_OUTSIDE)
    frames = logits.shape[-1]
    return torch.stack([padded[..., k : k + frames] for k in range(2 * WINDOW + 1)], dim=-1)
