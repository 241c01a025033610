"""From what the LSTM knows of each frame to log-probabilities of its classes: two ways to decide when a sign happens.

A linear head gives every frame its own decision between the blank and the signs. Where the timing is free, a model of
that kind spreads one expected emission over many frames like a Poisson process: P(exactly one sign) stays near 1/e, the
blank wins every frame, and this plateau is what blank collapse is.

The competition head cannot stay there. Each frame has a saliency, and its chance to emit is the softmax of the
saliencies within a window around it:

    g(t) = exp(β·s(t)) / Σ over |u - t| <= w of exp(β·s(u)),    p(a sign at t) = g(t) · σ(gate(t))

However smooth s is, one number, β, makes its highest frame win the whole window: a single direction in weight space
sharpens the timing of all signs at once, where a linear head has to learn each sign's frame. Which sign it is, is
decided apart, by a softmax over the vocabulary, so that being unsure of the sign does not make the blank win. Its
logits are cosines, between what the LSTM says and each sign's own direction (Gidaris and Komodakis 2018): with a few
clips a sign, a length is soon learnt by heart, and a direction is less so.

A head has K branches, each with its own weights. It works in two steps, so that many branches and several models can
be evaluated as one: `mean_logits` averages the branches' logits of each frame, and `log_probs` turns them, or the mean
of several models' logits, into log-probabilities. In training each branch has its own loss, which needs only a few
classes of each sequence: `sign_log_probs` returns their log-probabilities for each branch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.trainer.model.chunked_softmax import chunked_log_softmax
from signet.decoding import BLANK

# Frames to either side within which one sign at most is expected: half a second at 10 Hz. Signs of fluent signing
# follow one another every half a second or more.
WINDOW = 5

# How sharp the competition is before anything is learnt: not so sharp that only one frame gets a gradient.
_SHARPNESS = 2.0

# How sure of a sign the head can be: the logit of a perfect likeness. Cosines alone would leave the softmax flat.
_CERTAINTY = 12.0

# Saliency of a frame that does not exist: far below any other, and finite.
_NOWHERE = -1e4

# A frame emits with a log-probability between these, so that both it and the blank's stay finite.
_LEAST, _MOST = -50.0, -1e-4


class BranchLinear(nn.Module):
    """Linear maps side by side, each of its own vectors: [K, ..., D] to [K, ..., E].

    Args:
        count: K.
        inputs: D.
        outputs: E.
        bias: whether each has one.

    Attributes:
        weight: [K, E, D], at first as `nn.Linear` draws it.
        bias: [K, E], likewise; None if they have none.
    """

    def __init__(self, count: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        largest = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs).uniform_(-largest, largest))
        self.bias = nn.Parameter(torch.empty(count, outputs).uniform_(-largest, largest)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = torch.matmul(x.flatten(1, -2), self.weight.mT)
        return torch.unflatten(y if self.bias is None else y + self.bias[:, None].to(y), 1, x.shape[1:-1])


class LinearHead(nn.Module):
    """Logits of the blank and the signs, frame by frame.

    Args:
        branches: K.
        units: D, numbers per frame.
        classes: C + 1.
    """

    def __init__(self, branches: int, units: int, classes: int) -> None:
        super().__init__()
        self.branches = branches
        self.logits = BranchLinear(branches, units, classes)
        self.logit_count = classes

    def mean_logits(self, x: Tensor, inside: Tensor) -> Tensor:
        """[K, B, T, D] and which frames belong to a clip, bool [B, T], to the logits of all classes [B, T, C + 1]."""
        logits: Tensor = self.logits(x).float()
        return logits.mean(dim=0)

    def log_probs(self, evidence: Tensor, inside: Tensor, voters: int = 1) -> Tensor:
        """The mean evidence of so many branches to log-probabilities [B, T, C + 1]: their geometric mean."""
        return torch.log_softmax(evidence, dim=-1)

    def sign_log_probs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """See `CompetitionHead.sign_log_probs`."""
        log_probs = torch.log_softmax(self.logits(x).float(), dim=-1)
        there = log_probs.gather(-1, _at_each_frame(signs.clamp(min=1), x))
        given = there - log_probs[..., BLANK + 1 :].logsumexp(dim=-1, keepdim=True)
        return torch.cat([log_probs[..., :1], there], dim=-1), given

    @torch.no_grad()
    def penalise_blank(self, penalty: float) -> None:
        """Start with `penalty` nats less on the blank's logit."""
        assert self.logits.bias is not None  # noqa: S101  (they were asked for)
        self.logits.bias[:, BLANK] -= penalty


class CompetitionHead(nn.Module):
    """When, by competition between neighbouring frames; which sign, by a softmax over the vocabulary. See the module.

    Args:
        branches: K.
        units: D, numbers per frame.
        classes: C + 1.
        attention: let all frames of the window say which sign it is, as loud as a learnt attention finds them, and not
            the emitting frame alone.
        sign_dim: numbers that a frame is reduced to before it is compared with the signs' directions; 0 compares all D.
    """

    def __init__(self, branches: int, units: int, classes: int, attention: bool = False, sign_dim: int = 0) -> None:
        super().__init__()
        self.branches = branches
        self.reduce = BranchLinear(branches, units, sign_dim, bias=False) if sign_dim else nn.Identity()
        self.signs = BranchLinear(branches, sign_dim or units, classes - 1, bias=False)
        self.timing = BranchLinear(branches, units, 2)
        self.sharpness = nn.Parameter(torch.full((branches,), _SHARPNESS))
        self.attention = BranchLinear(branches, units, 1) if attention else None
        self.logit_count = 1 + classes
        self._gate.zero_()

    def mean_logits(self, x: Tensor, inside: Tensor) -> Tensor:
        """[K, B, T, D] and which frames belong to a clip, bool [B, T], to evidence [B, T, 2 + C].

        It is β times the saliency, the log-odds of the gate, and the logits of the signs, each the branches' mean.
        """
        saliency, gate = self._timed(x)
        if self.attention is not None:
            x = self._heard(x, inside)
        frames, signs = self._directions(x)
        # The mean of the branches' products is one product of what they compare, side by side.
        frames, signs = frames.permute(1, 2, 0, 3).flatten(2), signs.permute(1, 0, 2).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            logits = (_CERTAINTY / self.branches) * (frames @ signs.T)
        return torch.cat([saliency.mean(dim=0), gate.mean(dim=0), logits], dim=-1)

    def log_probs(self, evidence: Tensor, inside: Tensor, voters: int = 1) -> Tensor:
        """The mean evidence of so many branches, of all models, to log-probabilities [B, T, C + 1].

        Their saliencies add up, as in a product of experts (Hinton 2002): where two branches prefer frames a little
        apart, the mean of their saliencies would spread the sign over both, and the blank would win each.
        """
        saliency, gate, signs = evidence.tensor_split((1, 2), dim=-1)
        blank, emits = _won(saliency * voters, gate, inside)
        return torch.cat([blank, emits + torch.log_softmax(signs, dim=-1)], dim=-1)

    def sign_log_probs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """What each branch says of some signs, in a fraction of the time of all where the vocabulary is large.

        Args:
            x: [K, B, T, D].
            inside: bool [B, T], which frames belong to a clip.
            signs: int64 [B, S], classes, padded with anything.

        Returns:
            log-probabilities [K, B, T, 1 + S] of the blank and of these signs; and [K, B, T, S], the log-probability
            that a sign of that frame is this one. Within clips.
        """
        blank, emits = _won(*self._timed(x), inside)
        if self.attention is not None:
            x = self._heard(x, inside)
        asked = _at_each_frame((signs - 1).clamp(min=0), x)
        given = emits.new_zeros(asked.shape)
        frames, directions = self._directions(x[:, inside])
        given[:, inside] = chunked_log_softmax(frames, directions, asked[:, inside], _CERTAINTY)
        return torch.cat([blank, emits + given], dim=-1), given

    def _timed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """β times the saliency, and the log-odds of the gate: float32 [K, B, T, 1] each."""
        saliency, gate = self.timing(x).float().split(1, dim=-1)
        return saliency * self.sharpness[:, None, None, None], gate

    def _directions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared, unit vectors in float32: frames like x [K, ..., D], and signs [K, C, .]."""
        return F.normalize(self.reduce(x).float(), dim=-1), F.normalize(self.signs.weight.float(), dim=-1)

    def _heard(self, x: Tensor, inside: Tensor) -> Tensor:
        """Each frame's window as one vector, each frame of it as loud as attention says: like x."""
        assert self.attention is not None  # noqa: S101  (or nobody would ask)
        loudness = self.attention(x).float()[..., 0].masked_fill(~inside, _NOWHERE)
        shares = _windows(loudness, _NOWHERE).softmax(dim=-1).to(x.dtype)
        padded = F.pad(x, (0, 0, WINDOW, WINDOW))
        heard = torch.zeros_like(x)
        for k in range(2 * WINDOW + 1):
            heard = heard + shares[..., k, None] * padded[:, :, k : k + x.shape[2]]
        return heard

    def penalise_blank(self, penalty: float) -> None:
        """Start with the gate's log-odds `penalty` nats higher: the blank's odds are lower by as much."""
        self._gate.add_(penalty)

    @property
    def _gate(self) -> Tensor:
        """Each branch's log-odds of the gate where the frame says nothing: [K], the weights themselves."""
        assert self.timing.bias is not None  # noqa: S101  (it was asked for)
        return self.timing.bias.detach()[:, 1]


HEADS = ("linear", "competition", "attention")


def build_head(name: str, branches: int, units: int, classes: int, sign_dim: int = 0) -> LinearHead | CompetitionHead:
    """A head of `HEADS`, for K branches of D numbers per frame and C + 1 classes; a linear one has no `sign_dim`."""
    if name == "linear":
        return LinearHead(branches, units, classes)
    return CompetitionHead(branches, units, classes, attention=name == "attention", sign_dim=sign_dim)


def _won(saliency: Tensor, gate: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Saliency and gate, [..., B, T, 1], to the log-probabilities of the blank and of a sign, [..., B, T, 1]."""
    saliency = saliency[..., 0].masked_fill(~inside, _NOWHERE)
    rivals = _windows(saliency, _NOWHERE).logsumexp(dim=-1)
    emits = (saliency - rivals + F.logsigmoid(gate[..., 0])).clamp(_LEAST, _MOST)[..., None]
    return torch.log(-torch.expm1(emits)), emits


def _at_each_frame(signs: Tensor, x: Tensor) -> Tensor:
    """Of sequences, int64 [B, S], to be gathered by every branch and frame of x [K, B, T, D]: [K, B, T, S]."""
    return signs[None, :, None].expand(len(x), -1, x.shape[2], -1)


def _windows(values: Tensor, beyond: float) -> Tensor:
    """Each frame's window: [..., T] to [..., T, 2 · WINDOW + 1], `beyond` the ends of the batch."""
    padded = F.pad(values, (WINDOW, WINDOW), value=beyond)
    frames = values.shape[-1]
    return torch.stack([padded[..., k : k + frames] for k in range(2 * WINDOW + 1)], dim=-1)
