"""The figures of a report on continuous signing, as report.json has them."""

from pydantic import Field

from services.evaluator.reports.report_part import ReportPart
from signet.field_types import Count


class ErrorShare(ReportPart):
    """Errors per signed gloss, with a 95 % interval over sequences."""

    count: Count
    share: float
    # None if there are too few sequences for an interval.
    low: float | None = None
    high: float | None = None


class SequenceErrors(ReportPart):
    """What a stream finds in sequences of held-out clips that are joined in one way."""

    kind: str  # how the clips are joined: a value of `signet.landmarks.concatenation.Joining`
    sequences: Count
    signs: Count
    seconds: float
    wrong: ErrorShare  # signs that were recognised as others
    missed: ErrorShare
    inserted: ErrorShare  # signs that were found and not signed
    total: ErrorShare
    right: Count  # signs that were found; the figures below are about these
    # Intersection over union of the movement that was found and the one in the clip; None without a right sign.
    overlap_median: float | None
    # Seconds of the stream from the end of the movement to the final event, without the time of computing.
    delay_median: float | None
    delay_p95: float | None


class FalseAlarms(ReportPart):
    """Signs that a stream finds in frames in which no sign of the vocabulary is signed."""

    clips: Count  # whose frames are used
    seconds: float
    new_signers: Count = 0  # clips by signers of whom the model has seen no training clip
    # Why there are no figures, in words; empty if there are some.
    missing: str = ""
    alarms: Count = 0
    a_minute: float | None = None
    low: float | None = None  # 95 % interval, if the alarms are independent of each other
    high: float | None = None


class OperatingPoint(ReportPart):
    """What a stream finds if signs whose score is below a threshold are rejected."""

    threshold: float
    found: float  # share of the signs of all sequences that are found
    on_silence: float | None  # false alarms a minute; None if they were not measured
    on_other_signs: float | None


class ContinuousSigning(ReportPart):
    """How well the model recognises continuous signing, which is made from held-out clips."""

    clips: Count  # held-out clips that the sequences are made of
    of_clips: Count  # clips of the report; a part of many is used
    # Why there are no figures, in words; empty if there are some.
    missing: str = ""
    kinds: tuple[SequenceErrors, ...] = ()
    silence: FalseAlarms | None = None  # on the idle heads and tails of the same clips
    other_signs: FalseAlarms | None = None  # on clips of signs outside the vocabulary
    # Signs with a lower score are rejected; None if the model's card has no threshold, so that nothing is rejected.
    threshold: float | None = None
    # "vocabulary score"; or "probability" for a model that has no such score.
    score: str = ""
    signs: Count = 0  # signs of all sequences, by which `OperatingPoint.found` is divided
    curve: tuple[OperatingPoint, ...] = Field((), max_length=1000)  # by threshold, ascending

    @property
    def chosen(self) -> OperatingPoint | None:
        """The point of the card's threshold; without a threshold, the point at which nothing is rejected."""
        return next((point for point in self.curve if point.threshold == (self.threshold or 0.0)), None)
