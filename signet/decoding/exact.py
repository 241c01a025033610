"""The exact posterior of an isolated clip over the whole vocabulary: the probability of each single sign."""

from typing import Any

import numpy as np
import numpy.typing as npt

from signet.decoding.frames import Array, LogProbs, log_softmax

# Clips times glosses that run through the recursion together, so that they fit into a core's cache.
_STATE = 16_384

# The scores of this many frames are collected before they are summed.
_COLLECTED_FRAMES = 16

Lengths = npt.NDArray[np.integer[Any]] | list[int]


def single_sign_scores(log_probs: LogProbs, lengths: Lengths | None = None) -> Array:
    """Log p([c] | x) for every gloss c: the exact CTC forward score of the one-sign hypothesis.

    An alignment of [c] is blanks, then a run of c from frame s to frame e, then blanks. Relative to the path of blanks
    only, with d(t) = log p(c at t) - log p(blank at t), all runs that end at frame t have the weight

        u(t) = exp(d(t)) · (1 + u(t - 1)),        log p([c] | x) = sum of log p(blank at t) + log(sum of u(t))

    This is the forward recursion of Graves et al. 2006 (eq. 6) for a label sequence of length one, in O(T·C). It adds
    only positive terms and works on log u, so that long clips and very confident models lose no digits.

    Args:
        log_probs: finite, [T, C + 1] of one clip or [B, T, C + 1] of a padded batch, T at least 1. They are not copied:
            the additional memory does not grow with T.
        lengths: [B], the number of frames of each clip, at least 1; without it, T for all clips.

    Returns:
        float64 [C] or [B, C].
    """
    if log_probs.ndim == 2:
        return np.asarray(single_sign_scores(log_probs[None], lengths)[0])
    clips, longest, classes = log_probs.shape
    frames = np.full(clips, longest) if lengths is None else np.asarray(lengths)
    scores = np.empty((clips, classes - 1))
    together = max(1, _STATE // classes)
    order = np.argsort(-frames, kind="stable")
    for rows in np.split(order, range(together, clips, together)):
        scores[rows] = _scores(log_probs, rows, frames[rows])
    return scores


def single_sign_posterior(log_probs: LogProbs, lengths: Lengths | None = None) -> Array:
    """p(c | x, exactly one sign) for every gloss c: float64 [C] or [B, C], with sum 1. See `single_sign_scores`."""
    return np.asarray(np.exp(log_softmax(single_sign_scores(log_probs, lengths))))


def _scores(log_probs: LogProbs, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.integer[Any]]) -> Array:
    """`single_sign_scores` of these rows, which are sorted by length, the longest first."""
    blanks = np.zeros((len(rows), 1))
    # log u of the frame before; u is 0 before the first frame.
    run = np.full((len(rows), log_probs.shape[2] - 1), -np.inf)
    # Row 0 is the sum over the frames so far; the other rows are frames that are not yet in this sum.
    collected = np.empty((1 + _COLLECTED_FRAMES, *run.shape))
    collected[0] = -np.inf
    filled = 1
    for t in range(int(lengths[0])):
        # The sums of clips that have ended stay as they are.
        live_rows = rows[: np.searchsorted(-lengths, -t)]
        live = len(live_rows)
        if filled == len(collected) or live < len(run):
            collected[0, : len(run)] = _log_sum(collected[:filled, : len(run)])
            run, filled = run[:live], 1
        frame = log_probs[live_rows, t].astype(np.float64)
        blanks[:live] += frame[:, :1]
        frame = frame[:, 1:] - frame[:, :1]
        # log(1 + u). Unlike np.logaddexp, these operations use vector units.
        one_more = np.maximum(run, 0) + np.log(1 + np.exp(-np.abs(run)))
        run = np.add(frame, one_more, out=collected[filled, :live])
        filled += 1
    collected[0, : len(run)] = _log_sum(collected[:filled, : len(run)])
    return np.asarray(blanks + collected[0])


def _log_sum(logs: Array) -> Array:
    """Log of the sum of the exponentials over the first axis."""
    largest = logs.max(axis=0)
    return np.asarray(largest + np.log(np.exp(logs - largest).sum(axis=0)))
