"""What a stream tells its reader. All times are seconds on the clock of the stream's frames."""

from dataclasses import dataclass

from signet.landmarks import NothingSigned


@dataclass(frozen=True)
class SignChoice:
    """A gloss and its probability."""

    gloss: str
    probability: float


@dataclass(frozen=True)
class PartialSigns:
    """The most probable continuations after the last final sign. They may still change."""

    hypotheses: tuple[tuple[str, ...], ...]  # glosses, the most probable hypothesis first; () is "no sign"


@dataclass(frozen=True)
class FinalSign:
    """A sign that does not change any more."""

    number: int  # 0, 1, 2, ... in a stream, rejected signs included
    gloss: str
    # p(gloss | exactly one sign of the vocabulary was signed here).
    probability: float
    alternatives: tuple[SignChoice, ...]  # the most probable signs, the best first; the gloss may be any of them
    start: float  # of the movement
    end: float
    # How sure the model is that this is a sign of its vocabulary, 0 to 1; None if the model has no such score.
    vocabulary_score: float | None
    # The score is below the threshold: this is probably another sign, or no sign.
    rejected: bool


@dataclass(frozen=True)
class NothingSignedSince:
    """From this time on nothing is signed. The next `PartialSigns` or `FinalSign` ends this state."""

    seconds: float
    why: NothingSigned


@dataclass(frozen=True)
class StreamStatistics:
    """Counts since the stream began."""

    frames: int  # camera frames that were used
    late: int  # camera frames that were older than the reorder window
    doubled: int
    without_time: int
    stray: int  # camera frames whose time was far from that of their neighbours
    sections: int  # pieces between long pauses
    model_frames: int
    windows: int  # that the model computed
    signs: int  # final signs, without the rejected ones
    rejected: int

    @property
    def dropped(self) -> int:
        """Camera frames that had no effect."""
        return self.late + self.doubled + self.without_time + self.stray


StreamEvent = PartialSigns | FinalSign | NothingSignedSince | StreamStatistics
