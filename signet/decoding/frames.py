"""What single frames say: log-probabilities, the blank's penalty, the best path."""

from typing import Any

import numpy as np
import numpy.typing as npt

BLANK = 0

Array = npt.NDArray[np.float64]
LogProbs = npt.NDArray[np.floating[Any]]


def log_softmax(logits: LogProbs) -> Array:
    """Log-probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def penalise_blank(log_probs: LogProbs, penalty: float) -> Array:
    """Take `penalty` nats from the blank and normalise again: float64 [..., C + 1]."""
    shifted = log_probs.astype(np.float64)
    shifted[..., BLANK] -= penalty
    return log_softmax(shifted)


def concentrate_signs(log_probs: LogProbs) -> Array:
    """What the frames would say if each were sure which sign it shows, should it show one: float64 [..., C + 1].

    The best sign of a frame takes on the probability of all, p(c) · Σ p(v) / max p(v). Doubt between signs is no doubt
    that there is one; left in, it grows with the vocabulary, until nothing at all beats each of many signs.

    Args:
        log_probs: normalised, [..., C + 1].
    """
    sure = log_probs.astype(np.float64)
    signs = sure[..., BLANK + 1 :]
    # Of a frame that is all blank in floating point, something is left that can be told from nothing.
    blank = np.minimum(sure[..., BLANK], -np.finfo(np.float64).eps)
    signs += (np.log(-np.expm1(blank)) - signs.max(axis=-1))[..., None]
    return sure


def best_path(log_probs: LogProbs) -> list[int]:
    """Greedy decoding: the best class of every frame, repeats merged, blanks dropped. Classes 1..C."""
    path = log_probs.argmax(axis=-1)
    kept = path[np.flatnonzero(np.diff(path, prepend=-1))]
    return [int(c) for c in kept if c != BLANK]


def blank_ratio(log_probs: LogProbs) -> float:
    """Share of frames whose best class is the blank, 0 to 1."""
    return float((log_probs.argmax(axis=-1) == BLANK).mean())
