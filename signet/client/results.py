"""What a client returns: the answer to a clip, as frozen dataclasses."""

from dataclasses import dataclass, fields
from typing import Any

from signet.landmarks import NothingSigned
from signet.v1 import evaluator_pb2

_NOTHING_SIGNED = {
    evaluator_pb2.NOTHING_SIGNED_TOO_SHORT: NothingSigned.TOO_SHORT,
    evaluator_pb2.NOTHING_SIGNED_NO_HAND_FOUND: NothingSigned.NO_HAND_FOUND,
    evaluator_pb2.NOTHING_SIGNED_NO_HAND_MOVES: NothingSigned.NO_HAND_MOVES,
}
# A newer server can have reasons that this client does not know.
_UNKNOWN_REASON = "unknown"


@dataclass(frozen=True)
class Prediction:
    """One gloss, and the probability that it alone is signed in the clip, normalised over the vocabulary."""

    gloss: str
    probability: float  # 0 to 1


@dataclass(frozen=True)
class Moment:
    """A stretch of time, in seconds from the clip's first frame."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Timing:
    """How long the server worked on a call, in seconds; 0 for a stage that did not run."""

    extract_seconds: float  # landmarks of a video
    prepare_seconds: float  # parsing, gap filling and resampling of the landmarks
    model_seconds: float
    decode_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class Recognition:
    """The answer to one clip.

    Attributes:
        predictions: the most probable gloss first; empty if nothing is signed.
        nothing_signed: why nothing is signed: a value of `signet.landmarks.NothingSigned`, or "unknown" if only a newer
            client knows the reason. None if something may be signed.
        model_name: the model that answered.
        model_version: its version.
        moment: when the best prediction is signed; None if nothing is signed.
        in_vocabulary: the probability, 0 to 1, that the clip shows any sign of the vocabulary, if half of all clips do.
            None if nothing is signed, or if the model cannot give it.
        continuous_glosses: what the model's continuous decoder finds. It does not assume a single sign.
        greedy_glosses: the glosses of the best path.
        blank_ratio: share of frames, 0 to 1, whose most probable class is the blank.
        frames: number of frames after resampling.
        vocabulary_size: number of glosses in the model's vocabulary.
        warnings: facts about the clip that make the answer doubtful, as sentences.
        timing: how long the server worked.
        request_id: the id of the call in the logs of the servers.
    """

    predictions: tuple[Prediction, ...]
    nothing_signed: str | None
    model_name: str
    model_version: str
    moment: Moment | None
    in_vocabulary: float | None
    continuous_glosses: tuple[str, ...]
    greedy_glosses: tuple[str, ...]
    blank_ratio: float
    frames: int
    vocabulary_size: int
    warnings: tuple[str, ...]
    timing: Timing
    request_id: str = ""

    @property
    def best(self) -> Prediction | None:
        """The most probable gloss; None if nothing is signed."""
        return self.predictions[0] if self.predictions else None

    @classmethod
    def from_response(cls, response: Any, request_id: str = "") -> "Recognition":
        """Convert a message `RecognizeResponse`."""
        moment, timing = response.moment, response.timing
        return cls(
            predictions=tuple(Prediction(guess.gloss, guess.probability) for guess in response.predictions),
            nothing_signed=(
                _NOTHING_SIGNED.get(response.nothing_signed, _UNKNOWN_REASON) if response.nothing_signed else None
            ),
            model_name=response.model_name,
            model_version=response.model_version,
            moment=Moment(moment.start_seconds, moment.end_seconds) if response.HasField("moment") else None,
            in_vocabulary=response.in_vocabulary if response.HasField("in_vocabulary") else None,
            continuous_glosses=tuple(response.continuous_glosses),
            greedy_glosses=tuple(response.greedy_glosses),
            blank_ratio=response.blank_ratio,
            frames=response.frames,
            vocabulary_size=response.vocabulary_size,
            warnings=tuple(response.warnings),
            timing=Timing(
                timing.extract_seconds,
                timing.prepare_seconds,
                timing.model_seconds,
                timing.decode_seconds,
                timing.total_seconds,
            ),
            request_id=request_id,
        )


@dataclass(frozen=True)
class ServedModelStatus:
    """What an evaluator serves for an alias or a version.

    Attributes:
        model_name: the model.
        alias: the alias, or the version that calls have named.
        is_default: whether calls that name no model get this one.
        model_version: the version that answers; "" if none is in memory.
        refused_version: the version that the alias names, if it is refused.
        reason: why no version is served, or no newer one; "" if all is well.
        running_calls: the calls that it answers now.
        memory_bytes: the memory that the version needs.
        loaded_at: when it was loaded, as ISO 8601.
    """

    model_name: str
    alias: str
    is_default: bool
    model_version: str
    refused_version: str
    reason: str
    running_calls: int
    memory_bytes: int
    loaded_at: str


def statuses_from_response(response: Any) -> tuple[ServedModelStatus, ...]:
    """Convert a message `GetServingStatusResponse`."""
    names = [field.name for field in fields(ServedModelStatus)]
    return tuple(ServedModelStatus(**{name: getattr(status, name) for name in names}) for status in response.models)
