"""The record of a clip that could not be used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipFailure:
    """A clip that could not be used.

    Attributes:
        clip_id: id of the clip.
        reason: short name of the reason, such as "truncated".
        message: what is wrong and what to do, for people.
    """

    clip_id: str
    reason: str
    message: str
