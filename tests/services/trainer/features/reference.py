"""The phonological features of one clip, computed number by number from their definitions in float64.

This is an independent computation: it reads MediaPipe's 75 joints by their own numbers, handles one frame and one hand
at a time, and shares no code with `services.trainer.features.phonology`. Golden tests compare the two.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Number = float | np.floating[Any] | Vector

FINGERS = {"thumb": (1, 2, 3, 4), "index": (5, 6, 7, 8), "middle": (9, 10, 11, 12), "ring": (13, 14, 15, 16),
           "little": (17, 18, 19, 20)}  # fmt: skip
JOINT_NAMES = ("root", "second joint", "third joint", "tip")

# The joints of MediaPipe's pose: left first, right second.
NOSE, MOUTH, SHOULDERS, ELBOWS, WRISTS = 0, (9, 10), (11, 12), (13, 14), (15, 16)
HAND_STARTS = (33, 54)


def direction(vector: Vector) -> Vector:
    """A unit vector; shorter than one if the vector is shorter than 1e-4."""
    return vector / max(float(np.linalg.norm(vector)), 1e-4)


def reference_features(clip: Frames) -> list[dict[str, float]]:
    """Per frame, "non-dominant: group: name", "dominant: group: name" and "group: name" of both hands.

    Args:
        clip: [T, 75, 3]; NaN where the pose or a hand was not found.
    """
    present = [~np.isnan(clip[:, joint, 0]) for joint in (0, *HAND_STARTS)]
    frames = len(clip)
    clip = np.nan_to_num(clip)
    swap = False  # whether the clip is mirrored

    def pose_joint(t: int, left_and_right: tuple[int, int], side: int) -> Vector:
        place: Vector = clip[t, left_and_right[1 - side if swap else side], :2]
        return place

    def hand_joint(t: int, side: int, joint: int) -> Vector:
        place: Vector = clip[t, HAND_STARTS[1 - side if swap else side] + joint]
        return place

    pose_present = present[0]
    hands_present = (present[1], present[2])

    if pose_present.any():
        seen = np.flatnonzero(pose_present)
        left, right = ([pose_joint(t, SHOULDERS, side) for t in seen] for side in (0, 1))
        origin = np.mean([(a + b) / 2 for a, b in zip(left, right, strict=True)], axis=0)
        shoulders = float(np.mean([np.linalg.norm(a - b) for a, b in zip(left, right, strict=True)]))
    else:
        held = [(t, side) for side in (0, 1) for t in np.flatnonzero(hands_present[side])]
        origin = np.mean([hand_joint(t, side, 0)[:2] for t, side in held], axis=0) if held else np.zeros(2)
        palms = [
            np.linalg.norm(hand_joint(t, side, knuckle)[:2] - hand_joint(t, side, 0)[:2])
            for t, side in held
            for knuckle in (5, 9, 13, 17)
        ]
        shoulders = 4 * float(np.mean(palms)) if held else 0.0
    shoulders = max(shoulders, 0.01)
    palm = shoulders / 4

    def body(t: int, left_and_right: tuple[int, int], side: int) -> Vector:
        """A joint of the pose in shoulder widths from the origin."""
        place: Vector = (pose_joint(t, left_and_right, side) - origin) / shoulders
        return place

    def outwards(vector: Vector, side: int) -> Vector:
        """The vector as a right hand's: x of the non-dominant (left) hand is mirrored."""
        mirrored = vector.copy()
        mirrored[0] *= -1 if side == 0 else 1
        return mirrored

    def shape(t: int, side: int, joint: int) -> Vector:
        """A joint of the hand from its wrist, in palms."""
        return outwards((hand_joint(t, side, joint) - hand_joint(t, side, 0)) / palm, side)

    def wrist(t: int, side: int) -> Vector:
        """The wrist of the hand, or else of the pose, in shoulder widths from the origin; nothing is mirrored."""
        if hands_present[side][t]:
            place: Vector = (hand_joint(t, side, 0)[:2] - origin) / shoulders
            return place
        return body(t, WRISTS, side) if pose_present[t] else np.zeros(2)

    def along_hand(t: int, side: int, joint: int) -> Vector:
        """A joint of the hand in shoulder widths from the origin, as of a right hand."""
        here = outwards(wrist(t, side), side)
        return here + shape(t, side, joint)[:2] / 4 if hands_present[side][t] else here

    def velocity(places: list[Vector], t: int, reach: int) -> Vector:
        moved: Vector = places[min(t + reach, frames - 1)] - places[max(t - reach, 0)]
        return moved / (2 * reach)

    if left_dominance(frames, hands_present, pose_present, wrist) > 0:
        swap, hands_present = True, (present[2], present[1])
        clip, origin = clip * np.array([-1.0, 1.0, 1.0]), origin * np.array([-1.0, 1.0])
    wrists = [[outwards(wrist(t, side), side) for t in range(frames)] for side in (0, 1)]

    def measure_hand(t: int, side: int) -> dict[str, float]:
        values: dict[str, float] = {}

        def put(group: str, name: str, value: Number) -> None:
            values[f"{group}: {name}"] = float(value)

        def put_vector(group: str, name: str, vector: Vector) -> None:
            for axis, value in zip("xyz", vector, strict=False):
                put(group, f"{name}, {axis}", value)

        here = {joint: shape(t, side, joint) for joint in range(21)}
        is_here, is_posed = bool(hands_present[side][t]), bool(pose_present[t])
        own = max(float(np.mean([np.linalg.norm(here[knuckle]) for knuckle in (5, 9, 13, 17)])), 0.1)
        pointing = {}
        for finger, joints in FINGERS.items():
            chain = (0, *joints)
            bones = [direction(here[b] - here[a]) for a, b in pairwise(chain)]
            for name, before, after in zip(JOINT_NAMES, bones, bones[1:], strict=False):
                put("handshape", f"{finger} straight at its {name}", before @ after * is_here)
            pointing[finger] = direction(here[joints[3]] - here[joints[0]])
            put("handshape", f"{finger} tip from wrist", np.linalg.norm(here[joints[3]]) / own * is_here)
            for name, joint in zip(JOINT_NAMES, joints, strict=True):
                put_vector("outline", f"{finger} {name}", here[joint][:2] * is_here)
        names = list(FINGERS)
        for one, other in pairwise(names):
            put("handshape", f"{one} along {other}", pointing[one] @ pointing[other] * is_here)
        for finger in names[1:]:
            gap = np.linalg.norm(here[FINGERS[finger][3]] - here[4])
            put("handshape", f"{finger} tip from thumb tip", gap / own * is_here)
        for one, other in pairwise(names[1:]):
            gap = np.linalg.norm(here[FINGERS[other][3]] - here[FINGERS[one][3]])
            put("handshape", f"{other} tip from {one} tip", gap / own * is_here)

        hand_points, across = direction(here[9]), direction(here[5] - here[17])
        put_vector("orientation", "hand points", hand_points * is_here)
        put_vector("orientation", "palm faces", direction(np.cross(across, hand_points)) * is_here)
        put_vector("orientation", "index points", direction(here[8] - here[5]) * is_here)

        place = wrists[side][t]
        nose = outwards(body(t, (NOSE, NOSE), side), side)
        put_vector("location", "wrist from shoulders", place)
        put_vector("location", "wrist from nose", (place - nose) * is_posed)
        put_vector("location", "elbow from wrist", (outwards(body(t, ELBOWS, side), side) - place) * is_posed)

        touches = is_here and is_posed
        middle = along_hand(t, side, 9)
        places = {
            "nose": nose,
            "mouth": outwards((body(t, MOUTH, 0) + body(t, MOUTH, 1)) / 2, side),
            "own shoulder": outwards(body(t, SHOULDERS, side), side),
            "other shoulder": outwards(body(t, SHOULDERS, 1 - side), side),
            "chest": np.array([0.0, 0.5]),
        }
        for name, other_place in places.items():
            put("contact", f"near {name}", math.exp(-2 * np.linalg.norm(middle - other_place)) * touches)
        put_vector("contact", "index tip from nose", (along_hand(t, side, 8) - nose) * touches)

        fast = velocity(wrists[side], t, 1)
        put_vector("movement", "wrist's velocity", fast)
        put_vector("movement", "wrist's slow velocity", velocity(wrists[side], t, 3))
        put("movement", "wrist's speed", float(np.linalg.norm(fast)))
        steady = all(hands_present[side][min(max(t + k, 0), frames - 1)] for k in (-1, 0, 1))
        for finger, joints in FINGERS.items():
            tips = [shape(k, side, joints[3])[:2] for k in range(frames)]
            put_vector("movement", f"{finger} tip's velocity", velocity(tips, t, 1) * steady)
        put("presence", "hand found", is_here)
        return values

    def measure_both(t: int) -> dict[str, float]:
        two = bool(hands_present[0][t] and hands_present[1][t])
        tip_places = [outwards(along_hand(t, side, 8), side) for side in (0, 1)]
        values = {"presence: body found": float(pose_present[t])}
        for name, vector, seen in (
            ("wrist to wrist", wrist(t, 1) - wrist(t, 0), True),
            ("index tip to index tip", tip_places[1] - tip_places[0], two),
            ("dominant index tip from other wrist", tip_places[1] - wrist(t, 0), two),
        ):
            values[f"hands: {name}, x"], values[f"hands: {name}, y"] = vector * seen
            values[f"hands: {name}"] = float(np.linalg.norm(vector)) * seen
        del values["hands: dominant index tip from other wrist"]
        alike = 100 * velocity(wrists[0], t, 1) * velocity(wrists[1], t, 1)
        for axis, value in zip("xy", alike, strict=True):
            values[f"hands: moving alike, {axis}"] = min(max(float(value), -10.0), 10.0) * two
        return values

    return [
        {f"non-dominant: {name}": value for name, value in measure_hand(t, 0).items()}
        | {f"dominant: {name}": value for name, value in measure_hand(t, 1).items()}
        | measure_both(t)
        for t in range(frames)
    ]


def left_dominance(
    frames: int, hands_present: Sequence[Mask], pose_present: Mask, wrist: Callable[[int, int], Vector]
) -> float:
    """Positive if the left hand is dominant; `wrist` gives the place of a wrist from a frame and a side."""
    paths, heights, shares = [0.0, 0.0], [[0.0], [0.0]], [float(found.mean()) for found in hands_present]
    for t in range(frames):
        located = [bool(found[t] or pose_present[t]) for found in hands_present]
        before, after = max(t - 1, 0), min(t + 1, frames - 1)
        for side in (0, 1):
            if all(hands_present[side][k] or pose_present[k] for k in (before, t, after)):
                paths[side] += float(np.linalg.norm(wrist(after, side) - wrist(before, side))) / 2
            if all(located):
                heights[side].append(-float(wrist(t, side)[1]))
    mean_left, mean_right = (sum(values) / max(len(values) - 1, 1) for values in heights)
    path = (paths[0] - paths[1]) / max(sum(paths), 1e-4)
    return shares[0] - shares[1] + 0.5 * path + 0.5 * min(max(mean_left - mean_right, -1.0), 1.0)


def oblique_clip(seed: int, frames: int = 14) -> Frames:
    """A body turned about all three axes whose hands bend, turn and move, each in its own way: [T, 75, 3]."""
    random = np.random.default_rng(seed)

    def rotation(angles: Vector) -> Vector:
        matrix = np.eye(3)
        for axis, angle in enumerate(angles):
            turn = np.eye(3)
            first, second = (axis + 1) % 3, (axis + 2) % 3
            turn[[first, second], [first, second]] = math.cos(angle)
            turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
            matrix = turn @ matrix
        return matrix

    body = random.normal(size=(33, 3)) * 0.05
    body[[NOSE, *MOUTH, *SHOULDERS, *ELBOWS, *WRISTS], :2] += [
        (0.0, -0.25), (0.03, -0.18), (-0.03, -0.19), (0.2, 0.0), (-0.2, 0.02), (0.3, 0.25), (-0.27, 0.22), (0.2, 0.3),
        (-0.15, 0.4),
    ]  # fmt: skip
    clip = np.zeros((frames, 75, 3))
    clip[:, :33] = body + random.normal(size=(frames, 33, 3)) * 0.01
    for side, start in enumerate(HAND_STARTS):
        hand = random.normal(size=(21, 3)) * 0.04 + np.array([0, -0.1, 0.02])
        hand[0] = 0
        towards, turning = random.normal(size=3) * 0.2, random.normal(size=3)
        for t in range(frames):
            u = t / max(frames - 1, 1)
            bent = hand + random.normal(size=(21, 3)) * 0.01
            bent[0] = 0
            place = body[WRISTS[side]] + towards * math.sin(3 * u + side)
            clip[t, start : start + 21] = bent @ rotation(turning * (0.3 + u)).T + place
    turned: Frames = clip @ rotation(np.array([0.3, -0.5, 0.4])).T + np.array([0.6, 0.45, 0.1])
    return turned
