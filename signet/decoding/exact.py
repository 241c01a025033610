"""The exact posterior of an isolated clip: which one sign is it, over all alignments, for the whole vocabulary."""

from typing import Any

import numpy as np
import numpy.typing as npt

from signet.decoding.frames import Array, LogProbs, log_softmax

# Clips times glosses whose recursion runs together: what stays in a core's cache.
_STATE = 16_384

# Frames whose scores are kept before they are added up.
_KEPT_FRAMES = 16

Lengths = npt.NDArray[np.integer[Any]] | list[int]


def single_sign_scores(log_probs: LogProbs, lengths: Lengths | None = None) -> Array:
    """Log p([c] | x) for every gloss c: the exact CTC forward score of the one-sign hypothesis.

    The alignments of [c] are blanks, a run of c from frame s to frame e, blanks. Relative to the path that is all
    blank, with d(t) = log p(c at t) - log p(blank at t), the runs that end at frame t weigh together

        u(t) = exp(d(t)) · (1 + u(t - 1)),        log p([c] | x) = sum of log p(blank at t) + log(sum of u(t))

    which is the forward recursion of Graves et al. 2006 (eq. 6) for a label sequence of length one, in O(T·C). It adds
    positive terms only, and runs on log u, so that neither long clips nor certain models lose digits.

    Args:
        log_probs: finite, [T, C + 1] of one clip or [B, T, C + 1] of a padded batch, T at least 1. Nothing of them is
            copied: the memory beside them does not grow with T.
        lengths: [B], the frames of each clip, at least 1; without it every clip has them all.

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
    """p(c | x, exactly one sign) for every gloss c: float64 [C] or [B, C], sums to 1. See `single_sign_scores`."""
    return np.asarray(np.exp(log_softmax(single_sign_scores(log_probs, lengths))))


def _scores(log_probs: LogProbs, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.integer[Any]]) -> Array:
    """`single_sign_scores` of these rows, the longest first."""
    blanks = np.zeros((len(rows), 1))
    # log u of the frame before, which is none at first.
    run = np.full((len(rows), log_probs.shape[2] - 1), -np.inf)
    # What all frames so far weigh, and then the frames that are still to be added to it.
    kept = np.empty((1 + _KEPT_FRAMES, *run.shape))
    kept[0] = -np.inf
    filled = 1
    for t in range(int(lengths[0])):
        # Clips that have ended stay as they are.
        here = rows[: np.searchsorted(-lengths, -t)]
        live = len(here)
        if filled == len(kept) or live < len(run):
            kept[0, : len(run)] = _added_up(kept[:filled, : len(run)])
            run, filled = run[:live], 1
        frame = log_probs[here, t].astype(np.float64)
        blanks[:live] += frame[:, :1]
        frame = frame[:, 1:] - frame[:, :1]
        # log(1 + u), of operations that use vector units; np.logaddexp does not.
        one_more = np.maximum(run, 0) + np.log(1 + np.exp(-np.abs(run)))
        run = np.add(frame, one_more, out=kept[filled, :live])
        filled += 1
    kept[0, : len(run)] = _added_up(kept[:filled, : len(run)])
    return np.asarray(blanks + kept[0])


def _added_up(kept: Array) -> Array:
    """Log of the sum of the exponentials over the first axis."""
    most = kept.max(axis=0)
    return np.asarray(most + np.log(np.exp(kept - most).sum(axis=0)))
