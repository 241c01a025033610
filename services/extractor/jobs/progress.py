"""The progress of an extraction, and the outcome of its clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.extractor.sources.failure import ClipFailure


class ExtractionState(StrEnum):
    """The state of an extraction."""

    SELECTING = "selecting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class ExtractionProgress:
    """The progress of an extraction in clips; done = extracted + present + broken.

    Attributes:
        verified: clips that were verified during the selection.
        total: clips of the chosen glosses that have a file.
        extracted: clips that this extraction stored.
        present: clips that the store had already.
        broken: unusable clips; `failures` names them.
        missing: clips of the metadata that have no file.
        frames: frames that this extraction tracked.
        clips: ids of the usable clips that were chosen.
        failures: the unusable clips and the reasons.
        notes: remarks about clips, for people.
        error: the reason, if state is FAILED.
    """

    state: ExtractionState = ExtractionState.SELECTING
    verified: int = 0
    total: int = 0
    extracted: int = 0
    present: int = 0
    broken: int = 0
    missing: int = 0
    frames: int = 0
    glosses: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    failures: tuple[ClipFailure, ...] = ()
    notes: tuple[str, ...] = ()
    elapsed_seconds: float = 0.0
    error: str = ""

    @property
    def done(self) -> int:
        """The number of clips that are finished."""
        return self.extracted + self.present + self.broken

    def after_batch(self, outcomes: Sequence[int | ClipFailure], elapsed_seconds: float) -> "ExtractionProgress":
        """The progress after a batch of clips.

        Args:
            outcomes: for each clip, the frames that were stored, 0 if the clip was present, or why it is unusable.
            elapsed_seconds: seconds since the start.
        """
        failures = tuple(outcome for outcome in outcomes if isinstance(outcome, ClipFailure))
        frames = [outcome for outcome in outcomes if isinstance(outcome, int)]
        return replace(
            self,
            extracted=self.extracted + sum(1 for count in frames if count),
            present=self.present + sum(1 for count in frames if not count),
            broken=self.broken + len(failures),
            failures=self.failures + failures,
            frames=self.frames + sum(frames),
            elapsed_seconds=elapsed_seconds,
        )

    @property
    def ended(self) -> bool:
        """Whether the extraction has ended."""
        return self.state in {ExtractionState.SUCCEEDED, ExtractionState.CANCELLED, ExtractionState.FAILED}
