"""Operations on the log-probabilities of single frames: blank penalty, best path, blank ratio."""

from collections.abc import Iterable
from itertools import groupby
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
    """Subtract `penalty` nats from the blank and normalise again: float64 [..., C + 1]."""
    shifted = log_probs.astype(np.float64)
    shifted[..., BLANK] -= penalty
    return log_softmax(shifted)


def concentrate_signs(log_probs: LogProbs) -> Array:
    """Scale the signs of each frame, so that the best one has the probability of all signs: float64 [..., C + 1].

    p(c) becomes p(c) · Σ p(v) / max p(v). A model that is unsure which of many signs a frame shows may still be sure
    that it shows one. Without the scaling, the blank beats each single sign, more often with a larger vocabulary.

    Args:
        log_probs: normalised, [..., C + 1].
    """
    scaled = log_probs.astype(np.float64)
    signs = scaled[..., BLANK + 1 :]
    # If the blank's probability rounds to 1, the signs still get a probability above 0.
    blank = np.minimum(scaled[..., BLANK], -np.finfo(np.float64).eps)
    signs += (np.log(-np.expm1(blank)) - signs.max(axis=-1))[..., None]
    return scaled


def best_path(log_probs: LogProbs) -> list[int]:
    """Greedy decoding: the best class of every frame, repeats merged, blanks dropped. Classes 1..C."""
    return collapse_path(log_probs.argmax(axis=-1).tolist())


def collapse_path(path: Iterable[int]) -> list[int]:
    """The signs of a path, which has a class for each frame: repeats merged, blanks dropped."""
    return [c for c, _ in groupby(path) if c != BLANK]


def blank_ratio(log_probs: LogProbs) -> float:
    """Share of frames whose best class is the blank, 0 to 1."""
    return float((log_probs.argmax(axis=-1) == BLANK).mean())
