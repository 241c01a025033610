"""How far an extraction is, and what became of its clips."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an extraction stands."""

    SELECTING = "selecting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Failure:
    """A clip that could not be used."""

    clip_id: str
    reason: str
    message: str


@dataclass(frozen=True)
class Progress:
    """How far an extraction is, in clips; done = extracted + present + broken.

    Attributes:
        state: where it stands.
        verified: clips looked at while selecting.
        total: clips of the chosen glosses whose file is there.
        extracted: by this extraction.
        present: in the store already.
        broken: unusable; `failures` names them.
        missing: in the metadata, but without a file.
        frames: extracted by this extraction.
        glosses: that were chosen.
        clips: ids of the usable clips that were chosen.
        failures: why clips could not be used.
        notes: what else a person should know of a clip.
        elapsed_seconds: since the start.
        error: why it failed, when state is FAILED.
    """

    state: State = State.SELECTING
    verified: int = 0
    total: int = 0
    extracted: int = 0
    present: int = 0
    broken: int = 0
    missing: int = 0
    frames: int = 0
    glosses: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    elapsed_seconds: float = 0.0
    error: str = ""

    @property
    def done(self) -> int:
        """Clips that are dealt with."""
        return self.extracted + self.present + self.broken

    @property
    def ended(self) -> bool:
        """Whether nothing more will change."""
        return self.state in {State.SUCCEEDED, State.CANCELLED, State.FAILED}
