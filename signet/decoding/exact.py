"""The exact posterior of an isolated clip over the whole vocabulary: the probability of each single sign."""

from typing import Any

import numpy as np
import numpy.typing as npt

from signet.decoding.frames import Array, LogProbs, log_softmax

# Log-probabilities that are computed together, so that they fit into a core's cache. It bounds the memory.
_TOGETHER = 4_096

# Logs that are less than the largest one by this still have an exponential above 0.
_RANGE = 700.0

Lengths = npt.NDArray[np.integer[Any]] | list[int]


def single_sign_scores(log_probs: LogProbs, lengths: Lengths | None = None) -> Array:
    """Log p([c] | x) for every gloss c: the exact CTC forward score of the one-sign hypothesis.

    An alignment of [c] is blanks, then a run of c from frame s to frame e, then blanks. Relative to the path of blanks
    only, with d(t) = log p(c at t) - log p(blank at t), all runs that end at frame t have the weight

        u(t) = exp(d(t)) · (1 + u(t - 1)),        log p([c] | x) = sum of log p(blank at t) + log(sum of u(t))

    This is the forward recursion of Graves et al. 2006 (eq. 6) for a label sequence of length one, in O(T·C). With
    D(t) = d(1) + ... + d(t), it is a cumulative sum: u(t) = exp(D(t)) · sum over s < t of exp(-D(s)). It adds only
    positive terms and works on logs, so that long clips and very confident models lose no digits.

    Args:
        log_probs: finite, [T, C + 1] of one clip or [B, T, C + 1] of a padded batch, T at least 1. They are not copied:
            the additional memory does not grow with T.
        lengths: [B], the number of frames of each clip, at least 1; without it, T for all clips.

    Returns:
        float64 [C] or [B, C].
    """
    if log_probs.ndim == 2:
        return _scores(log_probs)
    frames = [log_probs.shape[1]] * len(log_probs) if lengths is None else lengths
    scores = [_scores(clip[:length]) for clip, length in zip(log_probs, frames, strict=True)]
    return np.array(scores).reshape(len(log_probs), log_probs.shape[2] - 1)


def single_sign_posterior(log_probs: LogProbs, lengths: Lengths | None = None) -> Array:
    """p(c | x, exactly one sign) for every gloss c: float64 [C] or [B, C], with sum 1. See `single_sign_scores`."""
    return np.asarray(np.exp(log_softmax(single_sign_scores(log_probs, lengths))))


def _scores(log_probs: LogProbs) -> Array:
    """`single_sign_scores` of one clip, [T, C + 1]."""
    frames, classes = log_probs.shape
    together = max(1, _TOGETHER // classes)
    blanks = 0.0
    # log u of the frame before, and log of the sum of u so far. Both are 0 before the first frame.
    run = total = np.full(classes - 1, -np.inf)
    for start in range(0, frames, together):
        block = log_probs[start : start + together].astype(np.float64)
        blanks += float(block[:, 0].sum())
        rise = np.cumsum(block[:, 1:] - block[:, :1], axis=0)
        # In each frame, a run begins, or the one before goes on.
        begun = np.empty_like(rise)
        begun[0] = np.logaddexp(run, 0.0)
        np.negative(rise[:-1], out=begun[1:])
        runs = _log_cumulative_sum(begun)
        runs += rise
        run = runs[-1]
        total = np.logaddexp(total, _log_sum(runs))
    return np.asarray(blanks + total)


def _log_cumulative_sum(logs: Array) -> Array:
    """Log of the cumulative sums of the exponentials over the first axis."""
    largest = logs.max(axis=0)
    if (largest - logs[0]).max() > _RANGE:
        return np.asarray(np.logaddexp.accumulate(logs, axis=0))
    # No sum is smaller than its first term. With this, exponentials that become 0 change no digit of a sum.
    return np.asarray(largest + np.log(np.exp(logs - largest).cumsum(axis=0)))


def _log_sum(logs: Array) -> Array:
    """Log of the sum of the exponentials over the first axis."""
    largest = logs.max(axis=0)
    return np.asarray(largest + np.log(np.exp(logs - largest).sum(axis=0)))
