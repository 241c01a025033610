"""From CTC log-probabilities to glosses, in numpy. Class 0 is the blank.

An isolated clip holds one sign, so its prediction is the exact posterior over single-sign hypotheses. Best-path
decoding is for continuous signing, and the distance between the two measures blank collapse.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BLANK = 0

Array = npt.NDArray[np.float64]


def log_softmax(logits: npt.NDArray[np.floating[Any]]) -> Array:
    """Log-probabilities along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def penalise_blank(log_probs: npt.NDArray[np.floating[Any]], penalty: float) -> Array:
    """Take `penalty` nats from the blank and normalise again: float64 [T, C + 1]."""
    shifted = log_probs.astype(np.float64)
    shifted[..., BLANK] -= penalty
    return log_softmax(shifted)


def single_sign_scores(log_probs: npt.NDArray[np.floating[Any]]) -> Array:
    """Log p([c] | x) for every gloss c: the exact CTC forward score of the one-sign hypothesis.

    The alignments of [c] are blanks, a run of c from frame s to frame e, blanks. With B and L the cumulative sums of
    the blank's and c's log-probabilities, their sum is

        B[T] + logsumexp over e of (L[e+1] - B[e+1] + logsumexp over s <= e of (B[s] - L[s]))

    which is the forward recursion of Graves et al. 2006 (eq. 6) for a label sequence of length one, in O(T·C).

    Args:
        log_probs: [T, C + 1], normalised over the last axis.

    Returns:
        float64 [C].
    """
    log_probs = log_probs.astype(np.float64)
    blank = np.concatenate([[0.0], np.cumsum(log_probs[:, BLANK])])[:, None]
    sign = np.concatenate([np.zeros((1, log_probs.shape[1] - 1)), np.cumsum(log_probs[:, 1:], axis=0)])
    starts = np.logaddexp.accumulate(blank[:-1] - sign[:-1], axis=0)
    return np.asarray(blank[-1] + np.logaddexp.reduce(sign[1:] - blank[1:] + starts, axis=0))


def single_sign_posterior(log_probs: npt.NDArray[np.floating[Any]]) -> Array:
    """p(c | x, exactly one sign) for every gloss c: float64 [C], sums to 1."""
    return np.asarray(np.exp(log_softmax(single_sign_scores(log_probs))))


def best_path(log_probs: npt.NDArray[np.floating[Any]]) -> list[int]:
    """Greedy decoding: the best class of every frame, repeats merged, blanks dropped. Classes 1..C."""
    path = log_probs.argmax(axis=-1)
    kept = path[np.flatnonzero(np.diff(path, prepend=-1))]
    return [int(c) for c in kept if c != BLANK]


def blank_ratio(log_probs: npt.NDArray[np.floating[Any]]) -> float:
    """Share of frames whose best class is the blank, 0 to 1."""
    return float((log_probs.argmax(axis=-1) == BLANK).mean())
