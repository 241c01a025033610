"""Prefix beam search over a stream, with bounded memory."""

from collections import deque
from dataclasses import dataclass
from typing import cast

import numpy as np

from signet.decoding import ContinuousDecoder, Hypothesis, Span, align
from signet.decoding.beam import PrefixSearch
from signet.decoding.frames import Array, LogProbs
from signet.errors import InvalidInput

# Frames of log-probabilities that are held while no sign is open, and while signs are open. A sign that is still open
# after so many frames is closed.
_IDLE_FRAMES, _MOST_FRAMES = 20, 100


@dataclass(frozen=True, eq=False)
class DecodedSign:
    """A sign for which the search has decided.

    Frames are counted from the first frame of the search. The model emits the sign from `first` to `last`.
    """

    sign: int
    first: int
    last: int


class IncrementalDecoder:
    """The search of a `ContinuousDecoder`, frame by frame.

    A sign is decided for `decide_after` frames after the best sequence emitted it. If all sequences in the beam agree
    on it by then, the decision loses nothing, and the signs are those of the offline decoder.

    Args:
        decoder: the model's decoder.
        classes: C + 1.
        decide_after: frames from the emission of a sign to the decision.
    """

    def __init__(self, decoder: ContinuousDecoder, classes: int, decide_after: int) -> None:
        self._decoder = decoder
        self._search = PrefixSearch(decoder, classes)
        self._decide_after = decide_after
        self._prepared: deque[Array] = deque()
        # Frames so far, and the number of the first one that is held.
        self.frames = 0
        self._held_from = 0
        self._agreed: list[int] = []  # signs on which the beam agrees, and whose frames are not known yet

    @property
    def held(self) -> int:
        """Frames and prefixes that are held."""
        return len(self._prepared) + self._search.size

    def advance(self, log_probs: LogProbs) -> list[DecodedSign]:
        """Take frames [n, C + 1], and return the signs that are decided now, in order."""
        block, tried, scores = self._decoder.prepare(log_probs)
        view = cast("memoryview[float]", block.data)
        decided = []
        for frame in range(len(block)):
            self._search.advance(view, frame, tried[frame : frame + 1], scores[frame : frame + 1])
            self._prepared.append(block[frame])
            self.frames += 1
            decided += self._decide()
        return decided

    def finish(self) -> list[DecodedSign]:
        """The signs of the best sequence that are not decided yet. The search is over."""
        return self._align(self._open_signs())

    def hypotheses(self, most: int) -> list[Hypothesis]:
        """The best continuations after the decided signs."""
        ranked = self._search.ranked(most)
        return [Hypothesis((*self._agreed, *found.signs[self._search.settled :]), found.score) for found in ranked]

    def open_spans(self) -> list[DecodedSign]:
        """The signs of the best sequence that are not decided yet, and where they are."""
        return self._align(self._open_signs())

    def _open_signs(self) -> list[int]:
        (best,) = self.hypotheses(1)
        return list(best.signs)

    def _decide(self) -> list[DecodedSign]:
        agreed = self._search.settle()
        self._agreed += agreed
        signs = self._open_signs()
        if not signs:
            self._forget(self.frames - _IDLE_FRAMES)
            return []
        spans = self._align(signs)
        latest = self.frames - 1 - self._decide_after
        full = len(self._prepared) >= max(_MOST_FRAMES, 2 * self._decide_after)
        count = 0
        while count < len(spans) and (spans[count].last <= latest or (full and count == 0)):
            count += 1
        if not count:
            return []
        beyond = count - len(self._agreed)
        if beyond > 0:
            self._agreed = list(self._search.settle(self._search.settled + beyond)[beyond:])
        else:
            del self._agreed[:count]
        self._forget(spans[count - 1].last + 1)
        return spans[:count]

    def _align(self, signs: list[int]) -> list[DecodedSign]:
        """Where the open signs are in the frames that are held."""
        if not signs:
            return []
        try:
            spans = align(np.stack(self._prepared), signs).spans
        except InvalidInput:
            # The beam has emitted a sign in frames that the alignment gave to the sign before.
            last = len(self._prepared) - 1
            spans = tuple(Span(sign, last, last) for sign in signs)
        return [DecodedSign(span.sign, self._held_from + span.first, self._held_from + span.last) for span in spans]

    def _forget(self, before: int) -> None:
        """Forget the frames before this one, but not the newest one."""
        while len(self._prepared) > 1 and self._held_from < before:
            self._prepared.popleft()
            self._held_from += 1
