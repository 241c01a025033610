"""Decoding of continuous signing: the most probable sequences of signs, by prefix beam search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log1p
from typing import cast

import numpy as np

from signet.decoding.exact import Lengths
from signet.decoding.frames import BLANK, Array, LogProbs, concentrate_signs, penalise_blank
from signet.errors import InvalidInput, InvalidSetting

# On val clips of WLASL (20 and 100 glosses), this width finds the same sequence as a width of 256 in 202 of 204
# decodings; a width of 4 does in 200, and one of 2 in 187. Beyond 8, each doubling nearly doubles the time.
DEFAULT_BEAM_WIDTH = 8

# Log-probabilities that are penalised and sorted at a time; bounds the memory for clips of any length.
_PREPARED = 2**21


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
            if not isfinite(getattr(self, name)):
                raise InvalidSetting(f"{name}={getattr(self, name)}: give a finite number of nats.")

    def decode(self, log_probs: LogProbs, lengths: Lengths | None = None) -> list[tuple[int, ...]]:
        """The best sequence of each clip; the arguments are those of `hypotheses`."""
        return [best.signs for (best, *_) in self.hypotheses(log_probs, lengths, most=1)]

    def decode_clips(self, clips: Sequence[LogProbs]) -> list[tuple[int, ...]]:
        """The best sequence of each clip, [T, C + 1]; like `decode`, without padding."""
        return [best.signs for (best, *_) in self._search(clips, most=1)]

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
        frames = [log_probs.shape[1]] * len(log_probs) if lengths is None else lengths
        return self._search([clip[:length] for clip, length in zip(log_probs, frames, strict=True)], most)

    def _search(self, clips: Sequence[LogProbs], most: int | None) -> list[list[Hypothesis]]:
        """The best sequences of each clip, [T, C + 1]."""
        if not clips:
            return []
        classes = clips[0].shape[1]
        searches = [PrefixSearch(self, classes) for _ in clips]
        for pieces in _group_frames([len(clip) for clip in clips], max(1, _PREPARED // classes)):
            block, tried, scores = self.prepare(
                np.concatenate([clips[clip][first:last] for clip, first, last in pieces])
            )
            view = cast("memoryview[float]", block.data)
            begin = 0
            for clip, first, last in pieces:
                end = begin + last - first
                searches[clip].advance(view, begin, tried[begin:end], scores[begin:end])
                begin = end
        return [search.ranked(most) for search in searches]

    def prepare(self, log_probs: LogProbs) -> tuple[Array, list[list[int]], list[list[float]]]:
        """For frames [N, C + 1]: penalised log-probabilities, the signs to extend prefixes by, and their values.

        The signs of each frame are sorted, the most probable one first.
        """
        block = penalise_blank(log_probs, self.blank_penalty)
        block = concentrate_signs(block) if self.undoubted else block
        if not np.isfinite(block).all():
            raise InvalidInput("log-probabilities that are not finite cannot be decoded. Train the model again.")
        below = -block[:, BLANK + 1 :]
        tried = min(self.beam_width + 1, below.shape[1])
        best = np.argpartition(below, tried - 1, axis=1)[:, :tried]
        best = np.take_along_axis(best, np.argsort(np.take_along_axis(below, best, axis=1), axis=1), axis=1)
        scores = -np.take_along_axis(below, best, axis=1)
        return np.ascontiguousarray(block), (best + BLANK + 1).tolist(), scores.tolist()


# A prefix in a beam: its log-probability, its number in the search, and the log-probabilities of those of its
# alignments that end in a blank, and of those that end in its last sign.
_Prefix = tuple[float, int, float, float]

_ROOT: _Prefix = (0.0, 0, 0.0, -inf)


class PrefixSearch:
    """The search in one clip or stream. It is plain Python: a frame has so few numbers that calls of numpy take longer.

    Prefixes are numbered. Number 0 is the empty prefix.
    """

    def __init__(self, decoder: ContinuousDecoder, classes: int) -> None:
        self._width = decoder.beam_width
        self._insertion = decoder.insertion_penalty
        self._repetition = decoder.repetition_penalty
        # What an extension adds to a score at most, besides its sign: a repetition may cost less than nothing.
        self._bonus = max(0.0, -decoder.repetition_penalty) - decoder.insertion_penalty
        self._classes = classes
        # For each prefix, the number of the prefix without its last sign, and this sign.
        self._parents = [-1]
        self._last_signs = [BLANK]
        # The numbers of prefixes by `parent * classes + last sign`. They find equal prefixes, even if the parents have
        # left the beam.
        self._numbers: dict[int, int] = {}
        # The best prefix is the first one.
        self._beam = [_ROOT]
        self._settled = 0  # the first signs of all prefixes that `settle` has returned

    def advance(
        self, frames: "memoryview[float]", first: int, tried: Sequence[Sequence[int]], scores: Sequence[Sequence[float]]
    ) -> None:
        """Go on by some frames.

        Args:
            frames: log-probabilities, [N, C + 1].
            first: the first of these frames that belongs to the clip.
            tried: for each frame of the clip, the signs to extend prefixes by, the most probable one first.
            scores: their log-probabilities.
        """
        for t, (signs, values) in enumerate(zip(tried, scores, strict=True), first):
            beam = self._beam
            after = self._repeat(frames, t)
            # The score of the worst prefix that would be kept, and the best score of a new one.
            least = min(after)[0] if len(after) == self._width else -inf
            if beam[0][0] + values[0] + self._bonus > least:
                self._extend(after, least, signs, values)
            if len(after) > 1:
                after.sort(reverse=True)
            self._beam = after

    def ranked(self, most: int | None) -> list[Hypothesis]:
        """The sequences that are left in the beam, the best first."""
        return [Hypothesis(self._signs(number), total) for total, number, _, _ in self._beam[:most]]

    def _repeat(self, frames: "memoryview[float]", t: int) -> list[_Prefix]:
        """The prefixes of the beam after frame t, if no new one is added."""
        parents, last_signs = self._parents, self._last_signs
        numbered = {prefix[1]: prefix for prefix in self._beam}
        blank_score = frames[t, BLANK]
        after = []
        for total, number, _, ended in self._beam:
            # A prefix stays the same by a blank, or by its last sign going on ...
            blank, sign = total + blank_score, ended
            if number:
                last = last_signs[number]
                # ... or it is made again from its parent, if the parent is in the beam too.
                parent = numbered.get(parents[number])
                if parent is not None:
                    repeats = last_signs[parent[1]] == last
                    before = parent[2] - self._repetition if repeats else parent[0]
                    sign = _log_add(sign, before - self._insertion)
                sign += frames[t, last]
            # The smaller number changes no digit beyond a difference of 40.
            apart = blank - sign
            if apart > 40:
                both = blank
            elif apart > 0:
                both = blank + log1p(exp(-apart))
            else:
                both = _log_add(blank, sign)
            after.append((both, number, blank, sign))
        return after

    def _extend(self, after: list[_Prefix], least: float, signs: Sequence[int], values: Sequence[float]) -> None:
        """Add the prefixes of the beam with one more sign, if they are better than `least`.

        Those that are in the beam already are left out: `_repeat` has made them again.
        """
        kept = {prefix[1] for prefix in self._beam}
        for total, number, blank, _ in self._beam:
            if total + values[0] + self._bonus <= least:
                continue
            last, base = self._last_signs[number], number * self._classes
            for sign, value in zip(signs, values, strict=True):
                # A prefix's last sign can be repeated as a new sign only after a blank.
                before = blank - self._repetition if sign == last else total
                score = before - self._insertion + value
                if score > least and self._numbers.get(base + sign) not in kept:
                    after.append((score, -1 - base - sign, -inf, score))
            if len(after) > self._width:
                after.sort(reverse=True)
                del after[self._width :]
                least = after[-1][0]
        for place, (total, number, blank, ended) in enumerate(after):
            if number < 0:
                after[place] = (total, self._number(-1 - number), blank, ended)

    def _number(self, key: int) -> int:
        """The number of the prefix with this key, which is `parent * classes + last sign`."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._parents)
            parent, last = divmod(key, self._classes)
            self._parents.append(parent)
            self._last_signs.append(last)
        return number

    def settle(self, count: int = 0) -> tuple[int, ...]:
        """Forget the signs that all prefixes of the beam begin with, and all prefixes that are in no use any more.

        The last of these signs stays, because it may go on in the next frame, but it is not returned again. So
        `ranked` begins with it. The search goes on with the same result as without this call, in bounded memory.

        Args:
            count: prefixes that do not begin with the best prefix's first `count` signs leave the beam first. This
                decides for these signs.

        Returns:
            The signs on which all prefixes now agree, without those that earlier calls have returned.
        """
        paths = [self._path(number) for _, number, _, _ in self._beam]
        if count > 0:
            begin = paths[0][:count]
            agree = [path[: len(begin)] == begin for path in paths]
            self._beam = [prefix for prefix, kept in zip(self._beam, agree, strict=True) if kept]
            paths = [path for path, kept in zip(paths, agree, strict=True) if kept]
        shared = 0
        while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
            shared += 1
        settled = tuple(self._last_signs[number] for number in paths[0][self._settled : shared])
        self._keep([path[max(0, shared - 1) :] for path in paths])
        self._settled = min(1, shared)
        return settled

    @property
    def settled(self) -> int:
        """How many of the first signs in `ranked` were returned by `settle`: 0 or 1."""
        return self._settled

    @property
    def size(self) -> int:
        """The number of prefixes that the search remembers."""
        return len(self._parents)

    def _keep(self, paths: Sequence[Sequence[int]]) -> None:
        """Remember only the prefixes of these paths, which begin after the root. Their order stays."""
        old = [0, *sorted({number for path in paths for number in path})]
        new = {number: place for place, number in enumerate(old)}
        last_signs = [BLANK, *(self._last_signs[number] for number in old[1:])]
        parents = [-1, *(new.get(self._parents[number], 0) for number in old[1:])]
        self._parents, self._last_signs = parents, last_signs
        self._numbers = {
            parents[number] * self._classes + last_signs[number]: number for number in range(1, len(parents))
        }
        self._beam = [(total, new[number], blank, ended) for total, number, blank, ended in self._beam]

    def _path(self, number: int) -> list[int]:
        """The numbers of the prefixes from the first sign to this prefix; empty for the root."""
        path = []
        while number:
            path.append(number)
            number = self._parents[number]
        return path[::-1]

    def _signs(self, number: int) -> tuple[int, ...]:
        """The signs of a prefix."""
        return tuple(self._last_signs[step] for step in self._path(number))


def _log_add(one: float, other: float) -> float:
    """Log of the sum of two numbers whose logs are given. Either number may be 0."""
    if one < other:
        one, other = other, one
    return one + log1p(exp(other - one)) if other > one - 40 else one


def _group_frames(lengths: Sequence[int], most: int) -> Iterator[list[tuple[int, int, int]]]:
    """All frames of all clips, in groups of at most `most` frames: clip, first frame, and the frame after the last."""
    group: list[tuple[int, int, int]] = []
    left = most
    for clip, length in enumerate(lengths):
        first = 0
        while first < length:
            last = min(length, first + left)
            group.append((clip, first, last))
            left -= last - first
            first = last
            if not left:
                yield group
                group, left = [], most
    if group:
        yield group
