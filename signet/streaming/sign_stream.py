"""Recognition of continuous signing, as it happens. See `SignStream`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signet.decoding import ContinuousDecoder
from signet.decoding.frames import LogProbs
from signet.errors import InvalidInput
from signet.landmarks import FRAME_RATE
from signet.landmarks.body import Frames
from signet.statistics.vocabulary_score import VocabularyScore
from signet.streaming.dominant_hand import DominantHand
from signet.streaming.events import (
    FinalSign,
    NothingSignedSince,
    PartialSigns,
    SignChoice,
    StreamEvent,
    StreamStatistics,
)
from signet.streaming.frame_clock import ClockItem, FrameClock, Joints, ModelFrame, SectionEnd, SectionStart
from signet.streaming.section import ClosedSign, Section
from signet.streaming.settings import StreamSettings

# Model frames that may wait for their window. The caller computes windows between frames, so more is a fault of it.
MAX_WAITING_FRAMES = 6000


@dataclass(frozen=True)
class RecognitionModel:
    """What a stream needs to know about a model besides its graph. The card has all of it."""

    vocabulary: tuple[str, ...]  # class c is vocabulary[c - 1]; class 0 is the blank
    decoder: ContinuousDecoder
    vocabulary_score: VocabularyScore | None = None
    # A sign with a lower vocabulary score is rejected; None rejects nothing.
    rejection_threshold: float | None = None


@dataclass(frozen=True, eq=False)
class StreamWindow:
    """Frames for which the model's log-probabilities are needed."""

    frames: Frames  # float32 [T, 75, 3], NaN where a part is absent
    # For the graph's optional input `dominance`: what is added to its measure of left dominance. 0 leaves the decision
    # to the graph.
    dominance: float


class SignStream:
    """Recognises signs in a stream of landmarks.

    This class does no input or output, has no threads, and looks at no clock. Its user passes frames in, computes the
    windows that it asks for, and takes the events that it makes:

        stream = SignStream(model)
        for seconds, joints in frames:
            stream.add_frame(seconds, joints)
            while window := stream.next_window():
                stream.add_log_probs(window, graph(window.frames))      # float [T, C + 1]
            for event in stream.take_events(): ...
        stream.finish()                                                 # then windows and events once more

    The windows depend on the frames only, not on when they are computed. So the caller may compute them later, or those
    of many streams in one batch. Each window is computed once, and in order: `next_window` returns None until the last
    one is answered.

    Memory is bounded, whatever comes in, if the windows are computed.

    Args:
        model: the vocabulary and the decoder of the model.
        settings: sizes of windows, and delays.
        left_handed: whether the signer is left-handed; None to find out.
    """

    def __init__(
        self, model: RecognitionModel, settings: StreamSettings | None = None, left_handed: bool | None = None
    ) -> None:
        self._model = model
        self._settings = settings or StreamSettings()
        self._clock = FrameClock(self._settings.reorder_seconds)
        self._dominant_hand = DominantHand(left_handed)
        self._items: deque[ClockItem] = deque()
        self._waiting = 0  # model frames in `_items`
        self._section: Section | None = None
        self._asked: StreamWindow | None = None
        self._events: deque[StreamEvent] = deque()
        self._sections = self._model_frames = self._windows = self._signs = self._rejected = 0
        self._statistics_frames = max(1, round(self._settings.statistics_seconds * FRAME_RATE))
        self._partial: tuple[tuple[int, ...], ...] = ((),)  # the last hypotheses
        self._quiet = False  # whether an event has said that nothing is signed
        self._finished = False

    @property
    def newest(self) -> float | None:
        """The time of the newest frame, on the stream's own clock; None before the first one."""
        return self._clock.newest

    @property
    def frames_behind(self) -> int:
        """Model frames that wait for a window. If this grows, the model is too slow for the stream."""
        return self._waiting + (self._section.frames_behind if self._section else 0)

    @property
    def statistics(self) -> StreamStatistics:
        """Counts since the stream began."""
        counts = self._clock.counts
        return StreamStatistics(
            frames=counts.used,
            late=counts.late,
            doubled=counts.doubled,
            without_time=counts.without_time,
            stray=counts.stray,
            sections=self._sections,
            model_frames=self._model_frames,
            windows=self._windows,
            signs=self._signs,
            rejected=self._rejected,
        )

    def add_frame(self, seconds: float, joints: Joints) -> None:
        """Take a camera frame.

        Frames without a usable time, doubled ones and late ones have no effect and are counted (`statistics`).

        Args:
            seconds: the time of the frame, on any clock.
            joints: [75, 3], x, y, z in units of frame height; NaN where a part is absent.

        Raises:
            InvalidInput: the joints have another shape, or too many windows wait for the model.
        """
        if self._waiting > MAX_WAITING_FRAMES:
            raise InvalidInput(
                f"{self._waiting} model frames wait for the model. Compute `next_window` after each frame, or "
                "send frames more slowly."
            )
        self._enqueue(self._clock.add(seconds, joints))

    def flush(self) -> None:
        """Finish what came so far: open signs become final. Call this when no frame has come for a while.

        The next frame begins a new section.
        """
        self._enqueue(self._clock.end_section())

    def finish(self) -> None:
        """End the stream: open signs become final, and the last event is `StreamStatistics`."""
        self.flush()
        self._finished = True
        if not self._items and self._section is None:
            self._events.append(self.statistics)

    def next_window(self) -> StreamWindow | None:
        """The next window that the model must compute; None if there is none yet, or one is not answered."""
        if self._asked is not None:
            return None
        while True:
            window = self._section.next_window() if self._section is not None else None
            self._collect()
            if window is not None:
                self._asked = StreamWindow(window, self._dominant_hand.bias)
                return self._asked
            if self._section is not None and self._section.complete:
                self._close_section()
            if not self._items:
                return None
            self._take(self._items.popleft())

    def add_log_probs(self, window: StreamWindow, log_probs: LogProbs) -> None:
        """Take the model's answer to a window.

        Args:
            window: the window from `next_window`.
            log_probs: float [T, C + 1] for its T frames.

        Raises:
            InvalidInput: this window was not asked for, or the answer has another shape, or is not finite.
        """
        if window is not self._asked or self._section is None:
            raise InvalidInput("this window is not the one that waits for an answer. Answer each window once.")
        expected = (len(window.frames), len(self._model.vocabulary) + 1)
        if log_probs.shape != expected:
            raise InvalidInput(
                f"the model answered with the shape {list(log_probs.shape)} instead of {list(expected)}. "
                "Use the vocabulary of the model's card."
            )
        if not np.isfinite(log_probs).all():
            raise InvalidInput("the model answered with log-probabilities that are not finite. Use another model.")
        self._asked = None
        self._windows += 1
        self._dominant_hand.add(window.frames)
        self._section.add_log_probs(log_probs)
        self._collect()

    def take_events(self) -> list[StreamEvent]:
        """The events since the last call."""
        events = list(self._events)
        self._events.clear()
        return events

    def _enqueue(self, items: Sequence[ClockItem]) -> None:
        self._items.extend(items)
        self._waiting += sum(isinstance(item, ModelFrame) for item in items)

    def _take(self, item: ClockItem) -> None:
        """Give the section what the clock made."""
        if isinstance(item, SectionStart):
            self._sections += 1
            classes = len(self._model.vocabulary) + 1
            self._section = Section(self._model.decoder, classes, self._settings, item.seconds)
            self._quiet = False
        elif isinstance(item, SectionEnd) and self._section is not None:
            self._section.ended = True
        elif isinstance(item, ModelFrame) and self._section is not None:
            self._section.add_frame(item.joints)
            self._waiting -= 1
            self._model_frames += 1
            if self._model_frames % self._statistics_frames == 0:
                self._events.append(self.statistics)

    def _close_section(self) -> None:
        self._section = None
        self._partial = ((),)
        if self._finished and not self._items:
            self._events.append(self.statistics)

    def _collect(self) -> None:
        """Make events of what the section found."""
        section = self._section
        if section is None:
            return
        for closed in section.take_closed():
            self._events.append(self._final_sign(section, closed))
        hypotheses = section.hypotheses()
        if hypotheses[:1] != self._partial[:1]:
            glosses = tuple(tuple(self._model.vocabulary[sign - 1] for sign in signs) for signs in hypotheses)
            self._events.append(PartialSigns(glosses))
        self._partial = hypotheses
        if section.nothing_signed is None:
            self._quiet = False
        elif not self._quiet and not hypotheses[0]:
            self._quiet = True
            frame, why = section.nothing_signed
            self._events.append(NothingSignedSince(section.start + frame / FRAME_RATE, why))

    def _final_sign(self, section: Section, closed: ClosedSign) -> FinalSign:
        posterior = np.exp(closed.log_posterior)
        best = np.argsort(-posterior, kind="stable")[: self._settings.top_k]
        vocabulary = self._model.vocabulary
        score = self._model.vocabulary_score
        known = float(score(closed.log_posterior)) if score is not None else None
        threshold = self._model.rejection_threshold
        rejected = threshold is not None and known is not None and known < threshold
        number = self._signs + self._rejected
        self._signs += not rejected
        self._rejected += rejected
        return FinalSign(
            number=number,
            gloss=vocabulary[closed.sign - 1],
            probability=float(posterior[closed.sign - 1]),
            alternatives=tuple(SignChoice(vocabulary[sign], float(posterior[sign])) for sign in best),
            start=section.start + closed.start / FRAME_RATE,
            end=section.start + closed.end / FRAME_RATE,
            vocabulary_score=known,
            rejected=rejected,
        )
