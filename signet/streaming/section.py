"""Recognition within one section of a stream: windows, decoding, and the movement of each sign.

Frames are counted from the first model frame of the section.
"""

from dataclasses import dataclass

import numpy as np

from signet.decoding import BLANK, ContinuousDecoder, log_softmax, penalise_blank, single_sign_scores
from signet.decoding.frames import Array, LogProbs
from signet.landmarks import NothingSigned, why_nothing_is_signed
from signet.landmarks.body import Frames
from signet.streaming.extents import MOST_BEFORE, HandMotion, find_movement
from signet.streaming.incremental_decoder import DecodedSign, IncrementalDecoder
from signet.streaming.settings import StreamSettings

# A frame that emits a sign with a lower probability counts as blank.
_QUIET = 0.1
# log p of the blank below which a frame emits a sign.
_EMITS = -0.7
# Lower bound of a probability whose log is taken.
_SMALLEST = 1e-13
# log p of a sign in a frame in which nothing is signed.
_IMPROBABLE = -30.0
# More frames before the oldest sign that is not final are not held.
_CONTEXT = MOST_BEFORE + 5


@dataclass(frozen=True, eq=False)
class ClosedSign:
    """A sign that is final. `start` and `end` are frames, inclusive."""

    sign: int
    start: int
    end: int
    log_posterior: Array  # [C], log p(c | exactly one sign) on its segment


class Section:
    """One section of a stream.

    Args:
        decoder: the model's decoder.
        classes: C + 1.
        settings: of the stream.
        start: the time of the first frame.
    """

    def __init__(self, decoder: ContinuousDecoder, classes: int, settings: StreamSettings, start: float) -> None:
        self.start = start
        self.ended = False  # no more frames come
        self.nothing_signed: tuple[int, NothingSigned] | None = None  # since which frame, and why
        self._decoder = decoder
        self._classes = classes
        self._settings = settings
        self._search = IncrementalDecoder(decoder, classes, settings.decide_after)
        self._frames: list[Frames] = []
        self._rows: list[Array] = []  # log-probabilities with the blank penalty
        self._frames_from = self._rows_from = 0  # numbers of the first ones that are held
        self._windowed = 0  # frames that were in a window
        self._window_begin = 0  # the first frame of the window
        self._decoded = 0  # frames whose log-probabilities are settled
        # For the frames from there on: the sum of the probabilities of several windows, and their number.
        self._sums: list[tuple[Array, int]] = []
        self._decided: list[DecodedSign] = []  # signs whose movement is not over
        self._boundary = 0  # the frame after the movement of the last final sign
        self._last_emission: int | None = None  # the last frame in which it is emitted
        self._unsettled_emission: int | None = None  # the first frame after the settled ones that emits a sign
        self._closed: list[ClosedSign] = []

    @property
    def count(self) -> int:
        """Model frames so far."""
        return self._frames_from + len(self._frames)

    @property
    def frames_behind(self) -> int:
        """Frames that wait for the model, and could be computed."""
        return self.count - self._windowed

    @property
    def complete(self) -> bool:
        """Whether all frames have come and are decoded."""
        return self.ended and self._decoded == self.count

    def add_frame(self, joints: Frames) -> None:
        """Take a model frame [75, 3]."""
        self._frames.append(joints)

    def next_window(self) -> Frames | None:
        """The next window for the model. Windows in which nothing is signed are decoded here, without the model."""
        while True:
            end = self._windowed + self._settings.hop
            if self.count < end:
                if not self.ended or self.complete:
                    return None
                end = self.count
            self._windowed = end
            self._window_begin = begin = max(self._frames_from, end - self._settings.window)
            frames = np.stack(self._frames[begin - self._frames_from : end - self._frames_from])
            why = why_nothing_is_signed(frames)
            if why is None:
                self.nothing_signed = None
                return frames
            if self.nothing_signed is None and why is not NothingSigned.TOO_SHORT:
                self.nothing_signed = (self._decoded, why)
            rows = np.full((len(frames), self._classes), _IMPROBABLE)
            rows[:, BLANK] = 0.0
            self.add_log_probs(rows)

    def add_log_probs(self, log_probs: LogProbs) -> None:
        """Take the log-probabilities [T, C + 1] of the frames of the last window."""
        is_last = self.ended and self._windowed == self.count
        averaged = self._average(log_probs[self._decoded - self._window_begin :], is_last)
        rows = penalise_blank(averaged, self._decoder.blank_penalty)
        count = len(rows) if is_last else self._count_settled(rows)
        if count:
            self._rows.extend(rows[:count])
            self._decided += self._search.advance(averaged[:count])
            self._decoded += count
            del self._sums[:count]
        emitting = np.flatnonzero(rows[count:, BLANK] < _EMITS)
        self._unsettled_emission = self._decoded + int(emitting[0]) if len(emitting) else None
        if self.complete:
            self._decided += self._search.finish()
        self._close()
        self._forget()

    def _average(self, log_probs: LogProbs, is_last: bool) -> Array:
        """Log of the mean probabilities of the unsettled frames [n, C + 1], over the windows that count."""
        means = np.exp(log_probs.astype(np.float64))
        counted = len(means) if is_last else max(0, len(means) - self._settings.average_ahead)
        for place in range(counted):
            if place == len(self._sums):
                self._sums.append((np.zeros(self._classes), 0))
            total, windows = self._sums[place]
            self._sums[place] = (total + means[place], windows + 1)
            means[place] = self._sums[place][0] / self._sums[place][1]
        return np.asarray(np.log(np.maximum(means, _SMALLEST)))

    def _count_settled(self, rows: Array) -> int:
        """How many of the rows after the settled ones are settled now.

        The next window may emit a sign one frame earlier or later than this one. If rows of both windows met there, the
        sign would be lost, or found twice. So the last settled row is one with blanks around it, if there is one that
        has at least `look_ahead` frames after it, and not more than `most_ahead`.
        """
        settings = self._settings
        emission = -np.expm1(rows[:, BLANK])
        quiet = emission < _QUIET
        last = len(rows) - settings.look_ahead
        for count in range(last, max(0, len(rows) - settings.most_ahead), -1):
            if quiet[max(0, count - settings.guard) : count + settings.guard].all():
                return count
        return max(0, len(rows) - settings.most_ahead)

    def take_closed(self) -> list[ClosedSign]:
        """The signs that became final since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def hypotheses(self) -> tuple[tuple[int, ...], ...]:
        """The best continuations after the final signs."""
        begin = tuple(decided.sign for decided in self._decided)
        if self.complete:
            return (begin,)
        return tuple((*begin, *found.signs) for found in self._search.hypotheses(self._settings.top_k))

    def _close(self) -> None:
        """Make the signs final whose movement is over."""
        if not self._decided:
            return
        motion = HandMotion.measure(np.stack(self._frames))
        origin = self._frames_from
        while self._decided:
            sign = self._decided[0]
            after = self._next_emission()
            before = self._last_emission - origin if self._last_emission is not None else None
            movement = find_movement(
                motion,
                sign.first - origin,
                sign.last - origin,
                before=before if before is not None and before >= 0 else None,
                after=after - origin if after is not None else None,
            )
            if not movement.is_over and not self.complete:
                return
            del self._decided[0]
            # The movement before may have been ended later than this one begins.
            start = min(sign.first, max(movement.start + origin, self._boundary))
            end = movement.end + origin
            self._closed.append(ClosedSign(sign.sign, start, end, self._log_posterior(sign, start, end)))
            self._boundary = end + 1
            self._last_emission = sign.last

    def _next_emission(self) -> int | None:
        """The frame in which the sign after the oldest decided one is emitted; None if it is not known yet."""
        if len(self._decided) > 1:
            return self._decided[1].first
        if not self.complete:
            for span in self._search.open_spans():
                return span.first
        return self._unsettled_emission

    def _log_posterior(self, sign: DecodedSign, start: int, end: int) -> Array:
        """Log p(c | exactly one sign) on the frames of a sign."""
        begin = max(0, min(start, sign.first) - self._rows_from)
        stop = max(end, sign.last) + 1 - self._rows_from
        return log_softmax(single_sign_scores(np.stack(self._rows[begin:stop])))

    def _forget(self) -> None:
        """Forget what no later frame and no open sign needs."""
        oldest = min((decided.first for decided in self._decided), default=self._decoded)
        if not self.complete:
            oldest = min([oldest, *(span.first for span in self._search.open_spans())])
        oldest -= _CONTEXT
        rows = oldest - self._rows_from
        if rows > 0:
            del self._rows[:rows]
            self._rows_from += rows
        window = self._windowed + self._settings.hop - self._settings.window
        frames = min(oldest, window) - self._frames_from
        if frames > 0:
            del self._frames[:frames]
            self._frames_from += frames
