"""Continuous signing: the most probable sequence of signs, by prefix beam search, a whole batch of clips at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.decoding.exact import Lengths
from signet.decoding.frames import BLANK, Array, LogProbs, concentrate_signs, penalise_blank
from signet.errors import InvalidInput, InvalidSetting

# On val clips of WLASL, 20 and 100 glosses, it finds the sequence that a beam of 256 finds in 202 of 204 decodings, a
# beam of 4 in 200 and one of 2 in 187; beyond 8, each doubling nearly doubles the time.
DEFAULT_BEAM_WIDTH = 8

# Clips that are searched together: more would leave the cache, fewer would leave numpy waiting for Python.
_TOGETHER = 128

# Log-probabilities that are penalised and sorted at a time; bounds the memory, whatever the clips' length.
_PREPARED = 2**21

# The empty prefix, and what stands for the parent that it does not have.
_ROOT = np.uint64(1)
_NONE = np.uint64(0)

Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Hypothesis:
    """One sequence of signs.

    Attributes:
        signs: classes 1..C, in order.
        score: log p(signs | x) over the alignments that the beam kept, less the penalties of its signs; nats. Of frames
            that are read undoubted it is no probability.
    """

    signs: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class ContinuousDecoder:
    """How a model's output is read as continuous signing. A model has one, and it stands on its card.

    Attributes:
        beam_width: prefixes kept from frame to frame.
        blank_penalty: nats taken from the blank in every frame, before anything else (`penalise_blank`).
        insertion_penalty: nats that each sign of a sequence costs.
        repetition_penalty: nats more that a sign costs which follows itself. Many signs repeat their movement, and
            hardly anyone signs one twice in a row.
        undoubted: whether frames are read `concentrate_signs` which sign they show, so that it is decided by the blank
            alone whether there is one.

    Raises:
        InvalidSetting: a width below 1, or a penalty that is not a finite number.
    """

    beam_width: int = DEFAULT_BEAM_WIDTH
    blank_penalty: float = 0.0
    insertion_penalty: float = 0.0
    repetition_penalty: float = 0.0
    undoubted: bool = False

    def __post_init__(self) -> None:
        if self.beam_width < 1:
            raise InvalidSetting(f"a beam of {self.beam_width} prefixes keeps nothing. Give it a width of 1 or more.")
        for name in ("blank_penalty", "insertion_penalty", "repetition_penalty"):
            if not np.isfinite(getattr(self, name)):
                raise InvalidSetting(f"{name}={getattr(self, name)}: give a finite number of nats.")

    def decode(self, log_probs: LogProbs, lengths: Lengths | None = None) -> list[tuple[int, ...]]:
        """The best sequence of each clip of a padded batch [B, T, C + 1]; see `beam_search`."""
        return [best.signs for (best, *_) in self.hypotheses(log_probs, lengths, most=1)]

    def hypotheses(
        self, log_probs: LogProbs, lengths: Lengths | None = None, most: int | None = None
    ) -> list[list[Hypothesis]]:
        """The best sequences of each clip, best first, `most` of them at most; see `beam_search`."""
        return beam_search(
            log_probs,
            lengths,
            width=self.beam_width,
            blank_penalty=self.blank_penalty,
            insertion_penalty=self.insertion_penalty,
            repetition_penalty=self.repetition_penalty,
            undoubted=self.undoubted,
            most=most,
        )


def beam_search(
    log_probs: LogProbs,
    lengths: Lengths | None = None,
    *,
    width: int = DEFAULT_BEAM_WIDTH,
    blank_penalty: float = 0.0,
    insertion_penalty: float = 0.0,
    repetition_penalty: float = 0.0,
    undoubted: bool = False,
    most: int | None = None,
) -> list[list[Hypothesis]]:
    """Prefix beam search of Hannun et al. 2014 (arXiv 1408.2873, algorithm 1), without a language model.

    Each prefix carries two probabilities, of the alignments that end in a blank and of those that end in its last sign;
    of all prefixes the `width` best go on to the next frame. Their word-insertion bonus is a penalty here: a sequence
    of n signs, r of which are the same as the one before, is ranked by log p(signs | x) - n · `insertion_penalty`
    - r · `repetition_penalty`.

    Of a frame's C classes the width + 1 best are tried. That loses nothing: of a prefix's extensions only the width
    best can be among the width best of all, and one more makes up for the repetition of its last sign, which only the
    alignments that end in a blank can make. With a width of at least the number of prefixes that there are, the result
    is the exact maximum.

    Args:
        log_probs: finite, [B, T, C + 1], T at least 1.
        lengths: [B], the frames of each clip, at least 1; without it every clip has them all.
        width: prefixes kept.
        blank_penalty: nats taken from the blank first.
        insertion_penalty: nats per sign.
        repetition_penalty: nats more per sign that follows itself.
        undoubted: whether the penalised frames are read `concentrate_signs`.
        most: how many sequences to return; without it, all that are left.

    Returns:
        For each clip its sequences, the best first; at least one.

    Raises:
        InvalidInput: a log-probability within a clip is not finite.
    """
    clips, longest, _ = log_probs.shape
    frames = np.full(clips, longest) if lengths is None else np.asarray(lengths)
    found: list[list[Hypothesis]] = [[] for _ in range(clips)]
    order = np.argsort(-frames, kind="stable")
    for start in range(0, clips, _TOGETHER):
        rows = order[start : start + _TOGETHER]
        prepared = _prepared(log_probs, rows, frames[rows], width + 1, blank_penalty, undoubted)
        costs = insertion_penalty, repetition_penalty
        answers = _search(prepared, frames[rows], width, costs, width if most is None else most)
        for row, answer in zip(rows, answers, strict=True):
            found[row] = answer
    return found


@dataclass(frozen=True)
class _Beam:
    """The prefixes of B clips that are still going on, W of each; a prefix that does not exist has no probability.

    Attributes:
        blank: log-probability of the alignments that end in a blank.
        sign: of those that end in the prefix's last sign.
        last: that sign; the blank for the empty prefix.
        name: a hash of the whole prefix: equal prefixes of a clip are met again by it, even if their parents had to be
            left behind in between.
        parent: the hash of the prefix without its last sign.
    """

    blank: Array
    sign: Array
    last: Integers
    name: Names
    parent: Names

    @classmethod
    def start(cls, clips: int, width: int) -> "_Beam":
        """Before the first frame: the empty prefix alone."""
        blank = np.full((clips, width), -np.inf)
        blank[:, 0] = 0
        return cls(
            blank=blank,
            sign=np.full((clips, width), -np.inf),
            last=np.full((clips, width), BLANK),
            name=np.full((clips, width), _ROOT),
            parent=np.full((clips, width), _NONE),
        )

    def first(self, clips: int) -> "_Beam":
        """Those of the first so many clips."""
        return _Beam(*(values[:clips] for values in vars(self).values()))

    @property
    def total(self) -> Array:
        """Log-probability of each prefix."""
        return np.asarray(np.logaddexp(self.blank, self.sign))


def _prepared(
    log_probs: LogProbs,
    rows: Integers,
    lengths: npt.NDArray[np.integer[Any]],
    tried: int,
    blank_penalty: float,
    undoubted: bool,
) -> Iterator[tuple[Array, Integers]]:
    """Frame by frame, of those of these rows that have it: penalised log-probabilities [B, C + 1], best signs [B, K].

    The rows are sorted by length, the longest first.
    """
    classes = log_probs.shape[2]
    tried = min(tried, classes - 1)
    step = max(1, _PREPARED // (len(rows) * classes))
    for start in range(0, int(lengths[0]), step):
        here = rows[: np.searchsorted(-lengths, -start)]
        some = penalise_blank(log_probs[here, start : start + step], blank_penalty)
        some = concentrate_signs(some) if undoubted else some
        best = 1 + np.argpartition(-some[..., 1:], tried - 1, axis=-1)[..., :tried]
        for t in range(start, min(start + step, int(lengths[0]))):
            live = np.searchsorted(-lengths, -t)
            frame = some[:live, t - start]
            if not np.isfinite(frame.sum()):
                raise InvalidInput("log-probabilities that are not finite cannot be decoded. Train the model again.")
            yield frame, best[:live, t - start]


def _search(
    prepared: Iterable[tuple[Array, Integers]],
    lengths: npt.NDArray[np.integer[Any]],
    width: int,
    costs: tuple[float, float],
    most: int,
) -> list[list[Hypothesis]]:
    """`beam_search` of clips that are sorted by length, the longest first."""
    clips, longest = len(lengths), int(lengths[0])
    came_from = np.empty((longest, clips, width), np.int32)
    emitted = np.empty((longest, clips, width), np.int32)
    beam = _Beam.start(clips, width)
    scores = np.empty((clips, width))
    for t, (frame, tried) in enumerate(prepared):
        live = len(frame)
        if live < len(beam.last):
            scores[live : len(beam.last)] = beam.total[live:]
            beam = beam.first(live)
        beam, came_from[t, :live], emitted[t, :live] = _step(beam, frame, tried, *costs)
    scores[: len(beam.last)] = beam.total

    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    scores = np.take_along_axis(scores, ranked, axis=1)
    signs = _traced(came_from, emitted, lengths, ranked)
    return [
        [
            Hypothesis(tuple(int(c) for c in signs[signs[:, row, rank] != BLANK, row, rank]), float(scores[row, rank]))
            for rank in range(ranked.shape[1])
            if np.isfinite(scores[row, rank])
        ]
        for row in range(clips)
    ]


def _step(
    beam: _Beam, frame: Array, tried: Integers, insertion_penalty: float, repetition_penalty: float
) -> tuple[_Beam, Integers, Integers]:
    """One frame: its log-probabilities [B, C + 1] and the classes [B, K] that prefixes are extended by.

    Returns:
        The beam after it, and of each of its prefixes where it came from and which sign was added, if one was: [B, W].
    """
    clips, width = beam.last.shape
    total = beam.total
    # What a prefix's last sign may follow as a sign of its own.
    again = beam.blank - repetition_penalty

    # A prefix stays what it is by a blank, or by its last sign going on ...
    stay_blank = total + frame[:, :1]
    stay_sign = beam.sign + np.take_along_axis(frame, beam.last, axis=1)
    # ... or it is made again, from its parent [B, child, parent], if that is there too.
    child_of = (beam.parent[:, :, None] == beam.name[:, None, :]) & np.isfinite(total)[:, :, None]
    repeats = beam.last[:, :, None] == beam.last[:, None, :]
    made_again = np.where(child_of, np.where(repeats, again[:, None, :], total[:, None, :]), -np.inf).max(axis=2)
    made_again += np.take_along_axis(frame, beam.last, axis=1) - insertion_penalty
    stay_sign = np.logaddexp(stay_sign, made_again)

    # A new prefix: each of the classes after each of the prefixes [B, W, K], unless it is that of a child just seen.
    repeats = beam.last[:, :, None] == tried[:, None, :]
    new = np.where(repeats, again[:, :, None], total[:, :, None])
    new += np.take_along_axis(frame, tried, axis=1)[:, None, :] - insertion_penalty
    seen = np.matmul(child_of.transpose(0, 2, 1).astype(np.float32), repeats.astype(np.float32)) > 0
    new[seen] = -np.inf

    scores = np.concatenate([np.logaddexp(stay_blank, stay_sign), new.reshape(clips, -1)], axis=1)
    chosen = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    is_new = chosen >= width
    came_from = np.where(is_new, (chosen - width) // tried.shape[1], chosen)
    added = np.take_along_axis(tried, (chosen - width) % tried.shape[1], axis=1)
    last, name, parent, blank, sign = (
        np.take_along_axis(values, came_from, axis=1)
        for values in (beam.last, beam.name, beam.parent, stay_blank, stay_sign)
    )
    after = _Beam(
        blank=np.where(is_new, -np.inf, blank),
        sign=np.where(is_new, np.take_along_axis(scores, chosen, axis=1), sign),
        last=np.where(is_new, added, last),
        name=np.where(is_new, _extended(name, added), name),
        parent=np.where(is_new, name, parent),
    )
    return after, came_from, np.where(is_new, added, BLANK)


def _extended(names: Names, signs: Integers) -> Names:
    """The names of prefixes with one more sign: 64 bits, well mixed (splitmix64, Steele et al. 2014)."""
    mixed = names * np.uint64(0x9E3779B97F4A7C15) + signs.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _traced(
    came_from: npt.NDArray[np.int32],
    emitted: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.integer[Any]],
    ranked: Integers,
) -> npt.NDArray[np.int32]:
    """The signs of the ranked prefixes, in the frames that added them: [T, B, N], blank elsewhere."""
    signs = np.full((len(emitted), *ranked.shape), BLANK, np.int32)
    place = ranked.copy()
    for t in range(len(emitted) - 1, -1, -1):
        live = int(np.searchsorted(-lengths, -t))
        signs[t, :live] = np.take_along_axis(emitted[t, :live], place[:live], axis=1)
        place[:live] = np.take_along_axis(came_from[t, :live], place[:live], axis=1)
    return signs
