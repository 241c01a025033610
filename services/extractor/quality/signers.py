"""Signers whose left hand signs: they are left-handed, or their camera mirrors the picture.

A picture does not tell which of the two it is: about one signer in ten is left-handed. So a clip is flagged if its own
evidence is strong, and a signer if nearly all clips with evidence agree. Nothing is changed: training mirrors clips in
which the left hand leads.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from services.extractor.quality.findings import LEFT_HAND_LEADS

# A signer is flagged from so many one-handed clips on, if this share of them shows the left hand.
_MIN_CLIPS = 2
_MIN_SHARE = 0.8
# If more than this share of all one-handed clips of a corpus shows the left hand, the camera is the likely reason.
_SHARE_OF_LEFT_HANDERS = 0.5
_MIN_CORPUS_CLIPS = 10


@dataclass(frozen=True)
class LeftSigner:
    """A signer who signs with the left hand."""

    signer: str
    left: int  # one-handed clips in which the left hand signs
    one_handed: int  # all one-handed clips


def is_left(dominance: float | None) -> bool:
    """Whether only the left hand signs in a clip of this `ClipQuality.left_dominance`."""
    return dominance is not None and dominance > LEFT_HAND_LEADS


def find_left_signers(clips: Iterable[tuple[str, float | None]]) -> list[LeftSigner]:
    """The signers who sign with the left hand, by their name and the `left_dominance` of each clip.

    Clips of two hands have no evidence. Clips without the name of a signer are not used.
    """
    one_handed: defaultdict[str, list[bool]] = defaultdict(list)
    for signer, dominance in clips:
        if signer and dominance is not None and abs(dominance) > LEFT_HAND_LEADS:
            one_handed[signer].append(dominance > 0)
    return [
        LeftSigner(signer, sum(left), len(left))
        for signer, left in sorted(one_handed.items())
        if len(left) >= _MIN_CLIPS and sum(left) >= _MIN_SHARE * len(left)
    ]


def describe_mirrored_corpus(dominances: Iterable[float | None]) -> str:
    """A remark if so many clips show the left hand that the camera is the likely reason; "" if they do not."""
    one_handed = [value > 0 for value in dominances if value is not None and abs(value) > LEFT_HAND_LEADS]
    left = sum(one_handed)
    if len(one_handed) < _MIN_CORPUS_CLIPS or left <= _SHARE_OF_LEFT_HANDERS * len(one_handed):
        return ""
    return (
        f"The left hand signs in {left} of {len(one_handed)} one-handed clips. About one signer in ten is left-handed, "
        "so the camera probably mirrored the videos."
    )
