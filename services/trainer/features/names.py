"""A name for every number that `services.trainer.features.phonology` measures, in its order.

Directions are as the model has them: x to the right of the picture, y down, z away from the camera, of a clip that is
led by the right hand. The hand that follows is mirrored, so that its x grows outwards as that of the leading hand.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from services.trainer.features.groups import BOTH_GROUPS, HAND_GROUPS

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_LONG = _FINGERS[1:]
# Of a finger, from its root to its tip; the first of a thumb is in the palm.
_PHALANGES = ("root", "second joint", "third joint", "tip")
_PLACES = ("nose", "mouth", "own shoulder", "other shoulder", "chest")

_JOINTS = [f"{finger} {joint}" for finger in _FINGERS for joint in _PHALANGES]

HAND_FEATURES: Final[Mapping[str, Sequence[str]]] = {
    "handshape": (
        *(f"{finger} straight at its {joint}" for finger in _FINGERS for joint in _PHALANGES[:3]),
        *(f"{one} along {other}" for one, other in pairwise(_FINGERS)),
        *(f"{finger} tip from wrist" for finger in _FINGERS),
        *(f"{finger} tip from thumb tip" for finger in _LONG),
        *(f"{other} tip from {one} tip" for one, other in pairwise(_LONG)),
    ),
    "outline": tuple(f"{joint}, {axis}" for axis in "xy" for joint in _JOINTS),
    "orientation": tuple(f"{what}, {axis}" for what in ("hand points", "palm faces", "index points") for axis in "xyz"),
    "location": tuple(
        f"{what}, {axis}" for what in ("wrist from shoulders", "wrist from nose", "elbow from wrist") for axis in "xy"
    ),
    "contact": (*(f"near {place}" for place in _PLACES), *(f"index tip from nose, {axis}" for axis in "xy")),
    "movement": (
        *(f"wrist's velocity, {axis}" for axis in "xy"),
        *(f"wrist's slow velocity, {axis}" for axis in "xy"),
        "wrist's speed",
        *(f"{finger} tip's velocity, {axis}" for axis in "xy" for finger in _FINGERS),
    ),
    "presence": ("hand found",),
}

TWO_HAND_FEATURES: Final[Mapping[str, Sequence[str]]] = {
    "hands": (
        "wrist to wrist, x", "wrist to wrist, y", "wrist to wrist", "index tip to index tip, x",
        "index tip to index tip, y", "index tip to index tip", "leading index tip from other wrist, x",
        "leading index tip from other wrist, y", "moving alike, x", "moving alike, y",
    ),
    "presence": ("body found",),
}  # fmt: skip

# In what each group is measured.
UNITS: Final[Mapping[str, str]] = {
    "handshape": "cosines of angles (1 is straight, or side by side); distances in lengths of this palm",
    "outline": "from the wrist, in lengths of a palm as the body's size has it",
    "orientation": "unit vectors",
    "location": "widths of the shoulders",
    "contact": "nearness, 1 at the place itself; distances in widths of the shoulders",
    "movement": "widths of the shoulders a frame (wrist), lengths of a palm a frame (tips)",
    "presence": "1 where it was found",
    "hands": "widths of the shoulders; alike: product of the velocities",
}


def hand_feature_names(groups: Sequence[str]) -> list[tuple[str, str]]:
    """What is measured of a hand by these groups, in the model's order: the group, and the number's name."""
    return [(group, name) for group in HAND_GROUPS if group in groups for name in HAND_FEATURES[group]]


def two_hand_feature_names(groups: Sequence[str]) -> list[tuple[str, str]]:
    """What is measured of both hands together."""
    return [(group, name) for group in BOTH_GROUPS if group in groups for name in TWO_HAND_FEATURES[group]]
