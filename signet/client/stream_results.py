"""What a stream gives: its frames, and its events as frozen dataclasses.

`FinalSign`, `PartialSigns` and `NothingSignedSince` are those of `signet.streaming`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from signet.errors import InvalidInput
from signet.landmarks import JOINTS, NothingSigned
from signet.streaming import FinalSign, NothingSignedSince, PartialSigns, SignChoice
from signet.v1 import evaluator_pb2 as pb

_REASONS = {
    pb.NOTHING_SIGNED_TOO_SHORT: NothingSigned.TOO_SHORT,
    pb.NOTHING_SIGNED_NO_HAND_MOVES: NothingSigned.NO_HAND_MOVES,
}


@dataclass(frozen=True, eq=False)
class LandmarkFrame:
    """The landmarks of one frame.

    Attributes:
        seconds: the time of the frame, on any clock. Events have times of the same clock.
        joints: [75, 3] in frame heights, in the order of docs/landmarks-v1.md; NaN where a part is absent.
    """

    seconds: float
    joints: npt.NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        if np.shape(self.joints) != (JOINTS, 3):
            raise InvalidInput(f"a frame has the shape {list(np.shape(self.joints))}. Give [{JOINTS}, 3] numbers.")


@dataclass(frozen=True)
class ImageFrame:
    """One picture of a camera.

    Attributes:
        seconds: the time of the picture, on any clock.
        data: a JPEG, PNG or WebP file.
    """

    seconds: float
    data: bytes


@dataclass(frozen=True)
class StreamOpened:
    """The first event: which model answers, and the threshold below which signs are rejected; None if none are."""

    model_name: str
    model_version: str
    vocabulary_size: int
    threshold: float | None


@dataclass(frozen=True)
class FrameStatistics:
    """What became of the frames so far. The fields are those of the message `StreamStatistics`."""

    received: int
    late: int
    dropped: int
    behind: int
    skipped: int
    refused_images: int
    signs: int
    rejected_signs: int
    is_last: bool


@dataclass(frozen=True)
class ImageRefused:
    """A picture that could not be used. The stream goes on."""

    seconds: float
    reason: str
    message: str


@dataclass(frozen=True)
class ServerDraining:
    """The server stops. The stream ends with `Unavailable` after its statistics: open another one."""

    message: str


RecognitionEvent = (
    StreamOpened | PartialSigns | FinalSign | NothingSignedSince | FrameStatistics | ImageRefused | ServerDraining
)


def event_from_response(response: Any) -> RecognitionEvent | None:
    """Convert a message `RecognizeStreamResponse`; None for an event that only a newer client knows."""
    kind = response.WhichOneof("event")
    return _CONVERTERS[kind](getattr(response, kind)) if kind in _CONVERTERS else None


def _to_opened(started: Any) -> StreamOpened:
    return StreamOpened(
        model_name=started.model_name,
        model_version=started.model_version,
        vocabulary_size=started.vocabulary_size,
        threshold=started.threshold if started.HasField("threshold") else None,
    )


def _to_partial(partial: Any) -> PartialSigns:
    return PartialSigns(tuple(tuple(each.glosses) for each in partial.hypotheses))


def _to_silence(silence: Any) -> NothingSignedSince:
    # A newer server can have reasons that this client does not know.
    return NothingSignedSince(silence.since_seconds, _REASONS.get(silence.reason, NothingSigned.NO_HAND_FOUND))


def _to_statistics(counts: Any) -> FrameStatistics:
    return FrameStatistics(**{field.name: getattr(counts, field.name) for field in fields(FrameStatistics)})


def _to_final_sign(sign: Any) -> FinalSign:
    return FinalSign(
        number=sign.number,
        gloss=sign.gloss,
        probability=sign.probability,
        alternatives=tuple(SignChoice(each.gloss, each.probability) for each in sign.alternatives),
        start=sign.start_seconds,
        end=sign.end_seconds,
        vocabulary_score=sign.in_vocabulary if sign.HasField("in_vocabulary") else None,
        rejected=sign.rejected,
    )


_CONVERTERS: dict[str, Callable[[Any], RecognitionEvent]] = {
    "started": _to_opened,
    "partial": _to_partial,
    "final": _to_final_sign,
    "nothing_signed": _to_silence,
    "statistics": _to_statistics,
    "refused_image": lambda refused: ImageRefused(refused.seconds, refused.reason, refused.message),
    "draining": lambda draining: ServerDraining(draining.message),
}
