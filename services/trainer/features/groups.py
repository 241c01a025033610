"""The feature groups and the name of each feature, in the order of the feature vector. This module imports no torch.

Directions are those of a clip in which the right hand is dominant: x points right in the picture, y down, z away from
the camera.
The non-dominant hand is mirrored: its x points away from the body as the x of the dominant hand does.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

# Changes whenever equal landmarks give other features. Weights fit only the version that they were trained with.
#   1: the left hand was dominant if it was present in more frames by more than a tenth of the clip.
#   2: the dominant hand is found by presence, movement and height; a mirrored clip gives equal features.
FEATURE_VERSION: Final = 2

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_FINGERS_BUT_THUMB = _FINGERS[1:]
# The joints of a finger from its root to its tip. The root of the thumb lies in the palm.
_FINGER_JOINTS = ("root", "second joint", "third joint", "tip")
_PLACES = ("nose", "mouth", "own shoulder", "other shoulder", "chest")

_JOINTS = [f"{finger} {joint}" for finger in _FINGERS for joint in _FINGER_JOINTS]

HAND_FEATURES: Final[Mapping[str, Sequence[str]]] = {
    "handshape": (
        *(f"{finger} straight at its {joint}" for finger in _FINGERS for joint in _FINGER_JOINTS[:3]),
        *(f"{finger} along {neighbour}" for finger, neighbour in pairwise(_FINGERS)),
        *(f"{finger} tip from wrist" for finger in _FINGERS),
        *(f"{finger} tip from thumb tip" for finger in _FINGERS_BUT_THUMB),
        *(f"{neighbour} tip from {finger} tip" for finger, neighbour in pairwise(_FINGERS_BUT_THUMB)),
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
        "index tip to index tip, y", "index tip to index tip", "dominant index tip from other wrist, x",
        "dominant index tip from other wrist, y", "moving alike, x", "moving alike, y",
    ),
    "presence": ("body found",),
}  # fmt: skip

# The units of each group.
UNITS: Final[Mapping[str, str]] = {
    "handshape": "cosines of angles (1: straight, or parallel); distances in palm lengths of this hand",
    "outline": "palm lengths from the wrist (a palm is a quarter of the shoulder width)",
    "orientation": "unit vectors",
    "location": "shoulder widths",
    "contact": "nearness (1 at the place itself); distances in shoulder widths",
    "movement": "shoulder widths a frame (wrist), palm lengths a frame (tips)",
    "presence": "1 where it is present, else 0",
    "hands": "shoulder widths; alike: 100 times the product of the velocities",
}

# The number of features of each group, of one hand and of both hands together. "presence" is in both: one number for
# each hand, and one for the body.
HAND_GROUPS: Final = {group: len(names) for group, names in HAND_FEATURES.items()}
BOTH_GROUPS: Final = {group: len(names) for group, names in TWO_HAND_FEATURES.items()}
GROUPS: Final = tuple(dict.fromkeys([*HAND_GROUPS, *BOTH_GROUPS]))

# The groups that describe the hand itself. The others describe its place, its movement and the other hand.
SHAPE_GROUPS: Final = ("handshape", "outline", "orientation")


def hand_feature_names(groups: Sequence[str]) -> list[tuple[str, str]]:
    """The features of one hand, as pairs of group and name, in the order of the feature vector."""
    return [(group, name) for group, names in HAND_FEATURES.items() if group in groups for name in names]


def two_hand_feature_names(groups: Sequence[str]) -> list[tuple[str, str]]:
    """The features of both hands together, as pairs of group and name, in the order of the feature vector."""
    return [(group, name) for group, names in TWO_HAND_FEATURES.items() if group in groups for name in names]
