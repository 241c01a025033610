"""The record of a clip that could not be used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipFailure:
    """A clip that could not be used: the short name of the reason, such as "truncated", and a message for people."""

    clip_id: str
    reason: str
    message: str
