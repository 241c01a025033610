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

A head answers in two steps, so that several models can be asked as one: `evidence` is what one model says of each
frame by itself, and `decide` makes log-probabilities of it, or of the mean of several models' evidence. In training
only few classes of each sequence are asked for, the signs that are there: `of_signs` has their log-probabilities alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.trainer.likeness import log_shares
from signet.decoding import BLANK

# Frames to either side within which one sign at most is expected: half a second at 10 Hz. Signs of fluent signing
# follow one another every half a second or more.
WINDOW = 5

# How sharp the competition is before anything is learnt: not so sharp that only one frame gets a gradient.
_SHARPNESS = 2.0

# Log-odds of the gate before anything is learnt, besides the blank penalty.
_OPEN = 0.0

# How sure of a sign the head can be: the logit of a perfect likeness. Cosines alone would leave the softmax flat.
_CERTAINTY = 12.0

# Saliency of a frame that does not exist: far below any other, and finite.
_NOWHERE = -1e4

# A frame emits with a log-probability between these, so that both it and the blank's stay finite.
_LEAST, _MOST = -50.0, -1e-4


class LinearHead(nn.Module):
    """Logits of the blank and the signs, frame by frame.

    Args:
        units: D, numbers per frame.
        classes: C + 1.
    """

    def __init__(self, units: int, classes: int) -> None:
        super().__init__()
        self.logits = nn.Linear(units, classes)
        self.evidence_size = classes

    def evidence(self, x: Tensor, inside: Tensor) -> Tensor:
        """[B, T, D] and which frames belong to a clip, bool [B, T], to the logits of all classes [B, T, C + 1]."""
        logits: Tensor = self.logits(x).float()
        return logits

    def decide(self, evidence: Tensor, inside: Tensor, voters: int = 1) -> Tensor:
        """The mean evidence of so many models to log-probabilities [B, T, C + 1]: their geometric mean."""
        return torch.log_softmax(evidence, dim=-1)

    def of_signs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """See `CompetitionHead.of_signs`."""
        log_probs = self(x, inside)
        there = log_probs.gather(2, signs.clamp(min=1)[:, None].expand(-1, x.shape[1], -1))
        given = there - log_probs[..., BLANK + 1 :].logsumexp(dim=-1, keepdim=True)
        return torch.cat([log_probs[..., :1], there], dim=-1), given

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """[B, T, D] and which frames belong to a clip, bool [B, T], to log-probabilities [B, T, C + 1]."""
        return self.decide(self.evidence(x, inside), inside)

    @torch.no_grad()
    def penalise_blank(self, penalty: float) -> None:
        """Start with `penalty` nats less on the blank's logit."""
        self.logits.bias[BLANK] -= penalty


class CompetitionHead(nn.Module):
    """When, by competition between neighbouring frames; which sign, by a softmax over the vocabulary. See the module.

    Args:
        units: D, numbers per frame.
        classes: C + 1.
        attention: let all frames of the window say which sign it is, as loud as a learnt attention finds them, and not
            the emitting frame alone.
        sign_dim: numbers that a frame is reduced to before it is compared with the signs' directions; 0 compares all D.
    """

    def __init__(self, units: int, classes: int, attention: bool = False, sign_dim: int = 0) -> None:
        super().__init__()
        self.reduce = nn.Linear(units, sign_dim, bias=False) if sign_dim else nn.Identity()
        self.signs = nn.Linear(sign_dim or units, classes - 1, bias=False)
        self.timing = nn.Linear(units, 2)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS))
        self.attention = nn.Linear(units, 1) if attention else None
        self.evidence_size = 2 + self.signs.out_features
        with torch.no_grad():
            self.timing.bias[1] = _OPEN

    def evidence(self, x: Tensor, inside: Tensor) -> Tensor:
        """[B, T, D] and which frames belong to a clip, bool [B, T], to evidence [B, T, 2 + C].

        It is β times the saliency, the log-odds of the gate, and the logits of the signs.
        """
        saliency, gate = self._timed(x)
        if self.attention is not None:
            x = self._heard(x, inside)
        frames, signs = self._directions(x)
        return torch.cat([saliency, gate, _CERTAINTY * (frames @ signs.T)], dim=-1)

    def decide(self, evidence: Tensor, inside: Tensor, voters: int = 1) -> Tensor:
        """The mean evidence of so many models to log-probabilities [B, T, C + 1].

        Their saliencies add up, as in a product of experts (Hinton 2002): where two models prefer frames a little
        apart, the mean of their saliencies would spread the sign over both, and the blank would win each.
        """
        saliency, gate, signs = evidence.tensor_split((1, 2), dim=-1)
        blank, emits = _won(saliency * voters, gate, inside)
        return torch.cat([blank, emits + torch.log_softmax(signs, dim=-1)], dim=-1)

    def of_signs(self, x: Tensor, inside: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` says of some signs, in a fraction of its time where the vocabulary is large.

        Args:
            x: [B, T, D].
            inside: bool [B, T], which frames belong to a clip.
            signs: int64 [B, S], classes, padded with anything.

        Returns:
            log-probabilities [B, T, 1 + S] of the blank and of these signs; and [B, T, S], the log-probability that a
            sign of that frame is this one. Within clips.
        """
        blank, emits = _won(*self._timed(x), inside)
        if self.attention is not None:
            x = self._heard(x, inside)
        asked = (signs - 1).clamp(min=0)[:, None].expand(-1, x.shape[1], -1)
        given = emits.new_zeros(asked.shape)
        given[inside] = log_shares(*self._directions(x[inside]), asked[inside], _CERTAINTY)
        return torch.cat([blank, emits + given], dim=-1), given

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """[B, T, D] and which frames belong to a clip, bool [B, T], to log-probabilities [B, T, C + 1]."""
        return self.decide(self.evidence(x, inside), inside)

    def _timed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """β times the saliency, and the log-odds of the gate: float32 [B, T, 1] each."""
        saliency, gate = self.timing(x).float().split(1, dim=-1)
        return saliency * self.sharpness, gate

    def _directions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared, unit vectors in float32: frames like x, and signs [C, .]."""
        return F.normalize(self.reduce(x).float(), dim=-1), F.normalize(self.signs.weight.float(), dim=-1)

    def _heard(self, x: Tensor, inside: Tensor) -> Tensor:
        """Each frame's window as one vector, each frame of it as loud as attention says: like x."""
        assert self.attention is not None  # noqa: S101  (or nobody would ask)
        loudness = self.attention(x).float()[..., 0].masked_fill(~inside, _NOWHERE)
        shares = _windows(loudness, _NOWHERE).softmax(dim=-1).to(x.dtype)
        padded = F.pad(x, (0, 0, WINDOW, WINDOW))
        return torch.stack([shares[..., k, None] * padded[:, k : k + x.shape[1]] for k in range(2 * WINDOW + 1)]).sum(
            dim=0
        )

    @torch.no_grad()
    def penalise_blank(self, penalty: float) -> None:
        """Start with the gate's log-odds `penalty` nats higher: the blank's odds are lower by as much."""
        self.timing.bias[1] += penalty


HEADS = ("linear", "competition", "attention")


def head_of(name: str, units: int, classes: int, sign_dim: int = 0) -> LinearHead | CompetitionHead:
    """A head of `HEADS`, for D numbers per frame and C + 1 classes; a linear one has no `sign_dim`."""
    if name == "linear":
        return LinearHead(units, classes)
    return CompetitionHead(units, classes, attention=name == "attention", sign_dim=sign_dim)


def _won(saliency: Tensor, gate: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Saliency and gate, [B, T, 1], to the log-probabilities of the blank and of a sign, [B, T, 1]."""
    saliency = saliency[..., 0].masked_fill(~inside, _NOWHERE)
    rivals = _windows(saliency, _NOWHERE).logsumexp(dim=-1)
    emits = (saliency - rivals + F.logsigmoid(gate[..., 0])).clamp(_LEAST, _MOST)[..., None]
    return torch.log(-torch.expm1(emits)), emits


def _windows(values: Tensor, beyond: float) -> Tensor:
    """Each frame's window: [B, T] to [B, T, 2 · WINDOW + 1], `beyond` the ends of the batch."""
    padded = F.pad(values, (WINDOW, WINDOW), value=beyond)
    frames = values.shape[1]
    return torch.stack([padded[:, k : k + frames] for k in range(2 * WINDOW + 1)], dim=-1)
