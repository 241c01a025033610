"""An alias as it is stored: the version that it names, and the moves that led there."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from signet.field_types import Count, Label

# The newest moves are kept. Services read an alias every few seconds, so its object stays small.
MAX_HISTORY = 100
MAX_REASON_CHARACTERS = 500


class AliasMove(BaseModel):
    """One entry in the history of an alias."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    version: str  # the version that the alias names since this move, or that it named until it was deleted
    moved: Annotated[str, Field(max_length=64)]  # when
    # The version before; "" for the first move. Entries of older versions of Signet lack it: `Alias` completes them.
    previous: str | None = Field(None, alias="from")
    reason: Label = ""
    rollback: bool = False
    deleted: bool = False


class Alias(BaseModel):
    """aliases/<alias>.json."""

    model_config = ConfigDict(frozen=True)

    version: str  # of a deleted alias the version that it named last. Older versions of Signet read it as not deleted
    history: tuple[AliasMove, ...] = ()  # the oldest move first, at most `MAX_HISTORY`
    older_moves: Count = 0  # how many moves before these are no longer kept
    deleted: bool = False  # its history is kept. The next move makes it again

    @property
    def named_version(self) -> str:
        """The version that the alias names; "" if it is deleted."""
        return "" if self.deleted else self.version

    @property
    def version_before(self) -> str:
        """The version that a rollback moves the alias to; "" if there is none.

        A rollback undoes the last move that is not undone yet. So several rollbacks lead further and further back.
        """
        trail: list[str] = [self.history[0].previous or ""] if self.history else []
        for move in self.history:
            if move.rollback and move.version in trail:
                while trail[-1] != move.version:
                    trail.pop()
            elif trail[-1] != move.version:
                trail.append(move.version)
        if not trail or trail[-1] != self.version:
            trail.append(self.version)
        return trail[-2] if len(trail) > 1 else ""

    def moved_to(self, version: str, reason: str, *, rollback: bool = False) -> "Alias":
        """This alias after a move."""
        return self._with_move(AliasMove(version=version, moved=_now(), reason=reason, rollback=rollback))

    def as_deleted(self, reason: str) -> "Alias":
        """This alias after its deletion."""
        return self._with_move(AliasMove(version=self.version, moved=_now(), reason=reason, deleted=True))

    def _with_move(self, move: AliasMove) -> "Alias":
        history = (*self.history, move.model_copy(update={"previous": self.named_version}))
        return Alias(
            version=move.version,
            history=history[-MAX_HISTORY:],
            older_moves=self.older_moves + max(0, len(history) - MAX_HISTORY),
            deleted=move.deleted,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
