"""Forced alignment over the CTC trellis: the frames of a clip in which its known signs happen.

The trellis of n signs has 2n + 1 states: blank, sign, blank, sign, ..., blank (Graves et al. 2006, section 4.1). In
each frame, a path stays in its state, goes to the next state, or goes from one sign directly to a different next sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from signet.decoding.frames import BLANK, Array, LogProbs
from signet.errors import InvalidInput


@dataclass(frozen=True)
class Span:
    """The frames of one sign, from `first` to `last` inclusive.

    A model emits a sign in the frames in which it is sure of it. The movement of the hands may last longer.
    """

    sign: int
    first: int
    last: int

    def seconds(self, frame_rate: float) -> tuple[float, float]:
        """Begin and end, in seconds from the clip's first frame. A frame lasts until the next one."""
        return self.first / frame_rate, (self.last + 1) / frame_rate


@dataclass(frozen=True)
class Alignment:
    """The most probable alignment of known signs."""

    spans: tuple[Span, ...]  # one span for each sign, in order
    score: float  # log-probability of this path


def align(log_probs: LogProbs, signs: Sequence[int]) -> Alignment:
    """The most probable path that collapses to these signs (Viterbi), in O(T·n).

    Args:
        log_probs: [T, C + 1].
        signs: classes 1..C, at least one.

    Raises:
        InvalidInput: no sign, a class that does not exist, or more signs than fit into the frames.
    """
    states, skips = _trellis(log_probs, signs)
    emissions = log_probs[:, states].astype(np.float64)
    score = np.full(len(states), -np.inf)
    score[:2] = emissions[0, :2]
    # How many states each step went forward.
    steps = np.zeros(emissions.shape, np.int8)
    for t in range(1, len(emissions)):
        step = steps[t]
        best = score.copy()
        step[1:][score[:-1] > best[1:]] = 1
        np.maximum(best[1:], score[:-1], out=best[1:])
        jump = np.where(skips, score[:-2], -np.inf)
        step[2:][jump > best[2:]] = 2
        np.maximum(best[2:], jump, out=best[2:])
        score = best + emissions[t]
    state = len(states) - 1 if score[-1] > score[-2] else len(states) - 2
    total = float(score[state])
    path = np.empty(len(emissions), np.int64)
    for t in range(len(emissions) - 1, -1, -1):
        path[t] = state
        state -= int(steps[t, state])
    frames_of_sign = [np.flatnonzero(path == 2 * number + 1) for number in range(len(signs))]
    spans = (
        Span(int(sign), int(frames[0]), int(frames[-1])) for sign, frames in zip(signs, frames_of_sign, strict=True)
    )
    return Alignment(tuple(spans), total)


def align_sign(log_probs: LogProbs, sign: int) -> Span:
    """The span of one sign in its most probable alignment, like `align` for this sign alone, but faster.

    The sign has the run of frames in which log p(sign) - log p(blank) has the largest sum.

    Args:
        log_probs: [T, C + 1].
        sign: a class 1..C.
    """
    advantage = log_probs[:, sign].astype(np.float64) - log_probs[:, BLANK]
    first = begin = end = 0
    best = run = -np.inf
    for t, value in enumerate(advantage.tolist()):
        if run < 0:
            run, begin = 0.0, t
        run += value
        if run > best:
            best, first, end = run, begin, t
    return Span(sign, first, end)


def occupation(log_probs: LogProbs, signs: Sequence[int]) -> Array:
    """The probability that frame t belongs to the i-th sign, over all alignments of these signs: float64 [T, n].

    By forward-backward (Graves et al. 2006, section 4.1). The probability that a frame is between signs is 1 minus the
    sum of its row. The result is also the derivative of log p(signs | x) by the frame's log-probability of the sign.

    Args:
        log_probs: [T, C + 1].
        signs: classes 1..C, at least one.

    Raises:
        InvalidInput: no sign, a class that does not exist, or more signs than fit into the frames.
    """
    states, skips = _trellis(log_probs, signs)
    emissions = log_probs[:, states].astype(np.float64)
    forward = _forward(emissions, skips)
    # The reversed trellis is a trellis of the same kind.
    backward = _forward(emissions[::-1, ::-1], skips[::-1])[::-1, ::-1]
    both = forward + backward - emissions
    share = np.exp(both - both.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(share[:, 1::2])


def _trellis(log_probs: LogProbs, signs: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The classes of the states, [2n + 1], and whether each can be reached from two states before, [2n - 1]."""
    frames, classes = log_probs.shape
    if not len(signs) or not all(0 < sign < classes for sign in signs):
        raise InvalidInput(
            f"signs {list(signs)} cannot be aligned: give at least one, of the classes 1 to {classes - 1}."
        )
    least = len(signs) + sum(sign == after for sign, after in pairwise(signs))
    if frames < least:
        raise InvalidInput(
            f"{len(signs)} signs need {least} frames, one each and one between equal signs; the clip has {frames}. "
            "Align fewer signs, or a longer clip."
        )
    states = np.full(2 * len(signs) + 1, BLANK, np.int64)
    states[1::2] = signs
    return states, (states[2:] != BLANK) & (states[2:] != states[:-2])


def _forward(emissions: Array, skips: npt.NDArray[np.bool_]) -> Array:
    """Log-probability of all paths that are in state s at frame t, up to and including this frame: [T, S]."""
    forward = np.full(emissions.shape, -np.inf)
    forward[0, :2] = emissions[0, :2]
    for t in range(1, len(emissions)):
        before, now = forward[t - 1], forward[t]
        now[:] = before
        now[1:] = np.logaddexp(now[1:], before[:-1])
        now[2:] = np.logaddexp(now[2:], np.where(skips, before[:-2], -np.inf))
        now += emissions[t]
    return forward
