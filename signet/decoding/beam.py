"""Decoding of continuous signing: the most probable sequences of signs, by prefix beam search over a batch of clips."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.decoding.exact import Lengths
from signet.decoding.frames import BLANK, Array, LogProbs, concentrate_signs, penalise_blank
from signet.errors import InvalidInput, InvalidSetting

# On val clips of WLASL (20 and 100 glosses), this width finds the same sequence as a width of 256 in 202 of 204
# decodings; a width of 4 does in 200, and one of 2 in 187. Beyond 8, each doubling nearly doubles the time.
DEFAULT_BEAM_WIDTH = 8

# Clips that are searched together: more do not fit into the cache, fewer leave numpy waiting for Python.
_CLIPS_PER_SEARCH = 128

# Log-probabilities that are penalised and sorted at a time; bounds the memory for clips of any length.
_PREPARED = 2**21

# The name of the empty prefix, and that of its parent, which does not exist.
_ROOT = np.uint64(1)
_NONE = np.uint64(0)

Integers = npt.NDArray[np.int64]
Names = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Hypothesis:
    """One sequence of signs."""

    signs: tuple[int, ...]  # classes 1..C, in order
    # Log p(signs | x) over the alignments that the beam kept, minus the penalties of the signs; in nats. With
    # `undoubted`, it is not a probability.
    score: float


@dataclass(frozen=True)
class ContinuousDecoder:
    """How a model's output is decoded as continuous signing. A model has one decoder, which is on its card.

    The search is the prefix beam search of Hannun et al. 2014 (arXiv 1408.2873, algorithm 1), without a language model.
    Each prefix has two probabilities: that of its alignments that end in a blank, and that of those that end in its
    last sign. The best `beam_width` prefixes continue to the next frame. Instead of the paper's word-insertion bonus
    there are penalties: a sequence of n signs, r of which equal the sign before, is ranked by log p(signs | x) -
    n · `insertion_penalty` - r · `repetition_penalty`.

    Of a frame's C classes, the best beam_width + 1 are tried. This loses nothing. Of all extensions of one prefix, only
    the best beam_width can be among the best of all. One more class is tried, because the prefix's own last sign may be
    one of these classes, and a repetition has a smaller probability: only alignments that end in a blank can be
    extended by it. With a width of at least the number of prefixes, the result is the exact maximum.

    Raises:
        InvalidSetting: a width below 1, or a penalty that is not a finite number.
    """

    beam_width: int = DEFAULT_BEAM_WIDTH  # prefixes that are kept from frame to frame
    # Nats that are taken from the blank in each frame, before anything else (`penalise_blank`).
    blank_penalty: float = 0.0
    insertion_penalty: float = 0.0  # nats that each sign of a sequence costs
    # Additional nats for a sign that follows itself. Many signs repeat their movement, but hardly any signer makes the
    # same sign twice in a row.
    repetition_penalty: float = 0.0
    # Each frame's best sign gets the probability of all signs (`concentrate_signs`), so that the model's doubt between
    # signs does not make the blank win. The name is that of the field on model cards.
    undoubted: bool = False

    def __post_init__(self) -> None:
        if self.beam_width < 1:
            raise InvalidSetting(f"a beam of {self.beam_width} prefixes keeps nothing. Give it a width of 1 or more.")
        for name in ("blank_penalty", "insertion_penalty", "repetition_penalty"):
            if not np.isfinite(getattr(self, name)):
                raise InvalidSetting(f"{name}={getattr(self, name)}: give a finite number of nats.")

    def decode(self, log_probs: LogProbs, lengths: Lengths | None = None) -> list[tuple[int, ...]]:
        """The best sequence of each clip; the arguments are those of `hypotheses`."""
        return [best.signs for (best, *_) in self.hypotheses(log_probs, lengths, most=1)]

    def hypotheses(
        self, log_probs: LogProbs, lengths: Lengths | None = None, most: int | None = None
    ) -> list[list[Hypothesis]]:
        """The best sequences of each clip.

        Args:
            log_probs: finite, [B, T, C + 1], T at least 1.
            lengths: [B], the number of frames of each clip, at least 1; without it, T for all clips.
            most: how many sequences to return for each clip; without it, all that are left in the beam.

        Returns:
            The sequences of each clip, the best first; at least one for each clip.

        Raises:
            InvalidInput: a log-probability within a clip is not finite.
        """
        clips, longest, _ = log_probs.shape
        frames = np.full(clips, longest) if lengths is None else np.asarray(lengths)
        ranked: list[list[Hypothesis]] = [[] for _ in range(clips)]
        order = np.argsort(-frames, kind="stable")
        for start in range(0, clips, _CLIPS_PER_SEARCH):
            rows = order[start : start + _CLIPS_PER_SEARCH]
            prepared = self._prepare(log_probs, rows, frames[rows])
            for row, hypotheses in zip(rows, self._search(prepared, frames[rows], most), strict=True):
                ranked[row] = hypotheses
        return ranked

    def _prepare(
        self, log_probs: LogProbs, rows: Integers, lengths: npt.NDArray[np.integer[Any]]
    ) -> Iterator[tuple[Array, Integers]]:
        """For each frame: penalised log-probabilities [B, C + 1] and best signs [B, K] of the rows that have it.

        The rows are sorted by length, the longest first.
        """
        classes = log_probs.shape[2]
        tried = min(self.beam_width + 1, classes - 1)
        step = max(1, _PREPARED // (len(rows) * classes))
        for start in range(0, int(lengths[0]), step):
            live_rows = rows[: np.searchsorted(-lengths, -start)]
            block = penalise_blank(log_probs[live_rows, start : start + step], self.blank_penalty)
            block = concentrate_signs(block) if self.undoubted else block
            best = 1 + np.argpartition(-block[..., 1:], tried - 1, axis=-1)[..., :tried]
            for t in range(start, min(start + step, int(lengths[0]))):
                live = np.searchsorted(-lengths, -t)
                frame = block[:live, t - start]
                if not np.isfinite(frame.sum()):
                    raise InvalidInput(
                        "log-probabilities that are not finite cannot be decoded. Train the model again."
                    )
                yield frame, best[:live, t - start]

    def _search(
        self, prepared: Iterable[tuple[Array, Integers]], lengths: npt.NDArray[np.integer[Any]], most: int | None
    ) -> list[list[Hypothesis]]:
        """The hypotheses of clips that are sorted by length, the longest first."""
        clips, longest = len(lengths), int(lengths[0])
        came_from = np.empty((longest, clips, self.beam_width), np.int32)
        emitted = np.empty((longest, clips, self.beam_width), np.int32)
        beam = _Beam.start(clips, self.beam_width)
        scores = np.empty((clips, self.beam_width))
        for t, (frame, tried) in enumerate(prepared):
            live = len(frame)
            if live < len(beam.last):
                scores[live : len(beam.last)] = beam.total[live:]
                beam = beam.first(live)
            beam, came_from[t, :live], emitted[t, :live] = _step(
                beam, frame, tried, self.insertion_penalty, self.repetition_penalty
            )
        scores[: len(beam.last)] = beam.total

        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        scores = np.take_along_axis(scores, ranked, axis=1)
        signs = _trace_back(came_from, emitted, lengths, ranked)
        return [
            [
                Hypothesis(tuple(int(c) for c in path[path != BLANK]), float(score))
                for path, score in zip(signs[:, row].T, scores[row], strict=True)
                if np.isfinite(score)
            ]
            for row in range(clips)
        ]


@dataclass(frozen=True)
class _Beam:
    """The W prefixes of each of B clips, [B, W]; a prefix that does not exist has log-probability -inf."""

    blank: Array  # log-probability of the alignments that end in a blank
    sign: Array  # of those that end in the prefix's last sign
    last: Integers  # that sign; the blank for the empty prefix
    # A hash of the whole prefix. It finds equal prefixes of a clip, even if their parents have left the beam.
    name: Names
    parent: Names  # the hash of the prefix without its last sign

    @classmethod
    def start(cls, clips: int, width: int) -> "_Beam":
        """The beam before the first frame: the empty prefix alone."""
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
        """The prefixes of the first so many clips."""
        return _Beam(*(values[:clips] for values in vars(self).values()))

    @property
    def total(self) -> Array:
        """Log-probability of each prefix."""
        return np.asarray(np.logaddexp(self.blank, self.sign))


def _step(
    beam: _Beam, frame: Array, tried: Integers, insertion_penalty: float, repetition_penalty: float
) -> tuple[_Beam, Integers, Integers]:
    """Advance the beam by one frame: its log-probabilities [B, C + 1], and the classes to extend prefixes by, [B, K].

    Returns:
        The next beam, the prefix that each of its prefixes came from, [B, W], and the sign that was added (or the
        blank), [B, W].
    """
    clips, width = beam.last.shape
    total = beam.total
    # A prefix's last sign can be repeated as a new sign only after a blank.
    again = beam.blank - repetition_penalty

    # A prefix stays the same by a blank, or by its last sign going on ...
    stay_blank = total + frame[:, :1]
    stay_sign = beam.sign + np.take_along_axis(frame, beam.last, axis=1)
    # ... or it is made again from its parent, [B, child, parent], if the parent is in the beam too.
    child_of = (beam.parent[:, :, None] == beam.name[:, None, :]) & np.isfinite(total)[:, :, None]
    repeats = beam.last[:, :, None] == beam.last[:, None, :]
    made_again = np.where(child_of, np.where(repeats, again[:, None, :], total[:, None, :]), -np.inf).max(axis=2)
    made_again += np.take_along_axis(frame, beam.last, axis=1) - insertion_penalty
    stay_sign = np.logaddexp(stay_sign, made_again)

    # A new prefix: each class after each prefix, [B, W, K], except the children that were made again above.
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
        name=np.where(is_new, _extend_names(name, added), name),
        parent=np.where(is_new, name, parent),
    )
    return after, came_from, np.where(is_new, added, BLANK)


def _extend_names(names: Names, signs: Integers) -> Names:
    """The names of prefixes with one more sign: a hash of 64 bits (splitmix64, Steele et al. 2014)."""
    mixed = names * np.uint64(0x9E3779B97F4A7C15) + signs.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _trace_back(
    came_from: npt.NDArray[np.int32],
    emitted: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.integer[Any]],
    ranked: Integers,
) -> npt.NDArray[np.int32]:
    """The signs of the ranked prefixes, in the frames that added them: [T, B, N]; the blank in the other frames."""
    signs = np.full((len(emitted), *ranked.shape), BLANK, np.int32)
    place = ranked.copy()
    for t in range(len(emitted) - 1, -1, -1):
        live = int(np.searchsorted(-lengths, -t))
        signs[t, :live] = np.take_along_axis(emitted[t, :live], place[:live], axis=1)
        place[:live] = np.take_along_axis(came_from[t, :live], place[:live], axis=1)
    return signs
