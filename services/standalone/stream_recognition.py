"""Recognition of continuous signing in this process: frames of landmarks in, events out."""

from typing import Any

import numpy as np
import numpy.typing as npt

from services.evaluator.serving.loaded_model import LoadedModel
from signet.streaming import FinalSign, RecognitionModel, SignStream, StreamEvent
from signet.transcripts import Alternative, Sign

# A sign whose score is lower is left out, if neither the user nor the model says another threshold.
DEFAULT_THRESHOLD = 0.5


class ModelStream:
    """A stream of signs, and the model that computes its windows.

    Args:
        model: the model.
        threshold: signs with a lower score are not shown; None takes that of the model, or `DEFAULT_THRESHOLD`.
    """

    def __init__(self, model: LoadedModel, threshold: float | None = None) -> None:
        card = model.card
        published = None if card.vocabulary_score is None else card.rejection_threshold
        self.threshold = choose_threshold(threshold, published)
        self.model = f"{card.name} {card.version}"
        self._model = model
        self._stream = SignStream(RecognitionModel(card.vocabulary, card.decoder, card.vocabulary_score))

    def add_frame(self, seconds: float, joints: npt.NDArray[np.floating[Any]]) -> list[StreamEvent]:
        """Take the landmarks [75, 3] of a frame, and return what they make known."""
        self._stream.add_frame(seconds, joints)
        return self._compute()

    def flush(self) -> list[StreamEvent]:
        """Finish what came so far, because no frame has come for a while."""
        self._stream.flush()
        return self._compute()

    def finish(self) -> list[StreamEvent]:
        """End the stream, and return the last events."""
        self._stream.finish()
        return self._compute()

    def is_shown(self, sign: FinalSign) -> bool:
        """Whether the score of a sign reaches the threshold."""
        return sign_score(sign) >= self.threshold

    def _compute(self) -> list[StreamEvent]:
        events = self._stream.take_events()
        while (window := self._stream.next_window()) is not None:
            (log_probs,) = self._model.log_probs([window.frames], dominance=[window.dominance])
            self._stream.add_log_probs(window, log_probs)
            events += self._stream.take_events()
        return events + self._stream.take_events()


def choose_threshold(threshold: float | None, published: float | None) -> float:
    """The score below which a sign is left out: that of the user, that of the model, or `DEFAULT_THRESHOLD`."""
    if threshold is not None:
        return threshold
    return DEFAULT_THRESHOLD if published is None else published


def sign_score(sign: FinalSign) -> float:
    """How sure the model is that this is a sign of its vocabulary; without such a score, how sure it is of the sign."""
    return sign.probability if sign.vocabulary_score is None else sign.vocabulary_score


def to_transcript_sign(sign: FinalSign) -> Sign:
    """A sign as transcripts have it."""
    others = (other for other in sign.alternatives if other.gloss != sign.gloss)
    return Sign(
        start=max(0.0, sign.start),
        end=max(0.0, sign.start, sign.end),
        gloss=sign.gloss,
        probability=sign.probability,
        alternatives=tuple(Alternative(gloss=other.gloss, probability=other.probability) for other in others),
        vocabulary_score=sign.vocabulary_score,
    )
