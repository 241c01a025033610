"""Reads the joints of one part from JSON: lists of numbers, objects with x, y, z, or one flat list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.extractor.importing.json_frames.values import JsonValue, normalise_key

Numbers = npt.NDArray[np.float32]

# Other names of the fourth number of a joint.
_VISIBILITY = ("visibility", "v", "score", "confidence", "presence")
# Objects that hold the list of joints.
_HOLDERS = ("landmark", "landmarks", "keypoints", "points")


class UnknownJoints(Exception):
    """A part has other joints than MediaPipe's, or values that are no numbers. The message says which."""


@dataclass(frozen=True, eq=False)
class PartJoints:
    """The joints of a part.

    Attributes:
        places: float32 [J, 3].
        visibility: float32 [J]; NaN where it is unknown.
        flat: whether the file has no z.
    """

    places: Numbers
    visibility: Numbers
    flat: bool


def read_joints(value: JsonValue, count: int) -> PartJoints | None:
    """The `count` joints of a part; None if the part was not found: null, empty, zeros, or not finite.

    Raises:
        UnknownJoints: the part has other joints.
    """
    value = _unwrap(value)
    if not value:
        return None
    if not isinstance(value, list):
        raise UnknownJoints(f"holds {type(value).__name__}, no list of joints")
    if all(item is None for item in value):
        return None
    rows = _rows(value, count)
    places = np.zeros((count, 3), np.float32)
    places[:, : min(3, rows.shape[1])] = rows[:, :3]
    if not np.isfinite(places).all() or not places.any():
        return None
    visibility = rows[:, 3] if rows.shape[1] > 3 else np.full(count, np.nan, np.float32)
    return PartJoints(places, np.asarray(visibility, np.float32), rows.shape[1] == 2)


def _unwrap(value: JsonValue) -> JsonValue:
    """The list of joints in an object, which may hold it under a name or by the numbers of the joints."""
    if not isinstance(value, dict):
        return value
    for key, inner in value.items():
        if normalise_key(key) in _HOLDERS:
            return inner
    if value and all(key.isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=lambda key: int(key[:9]))]
    return value


def _rows(value: Sequence[JsonValue], count: int) -> Numbers:
    """The joints as rows of 2, 3 or 4 numbers."""
    if len(value) in {2 * count, 3 * count, 4 * count} and not isinstance(value[0], list | dict):
        return _to_array([value]).reshape(count, -1)
    if len(value) != count:
        raise UnknownJoints(f"has {len(value)} joints instead of {count}")
    rows = _to_array([_row(item) for item in value] if isinstance(value[0], dict) else value)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise UnknownJoints(f"has joints of {rows.shape[-1]} numbers instead of 2 to 4")
    return rows[:, :4]


def _row(item: JsonValue) -> list[JsonValue]:
    if not isinstance(item, dict):
        raise UnknownJoints("mixes objects and other values")
    named: Mapping[str, JsonValue] = {normalise_key(key): inner for key, inner in item.items()}
    if "x" not in named or "y" not in named:
        raise UnknownJoints("has joints without x and y")
    row = [named["x"], named["y"]]
    if "z" in named:
        row.append(named["z"])
        for name in _VISIBILITY:
            if name in named:
                row.append(named[name])
                break
    return row


def _to_array(value: Sequence[JsonValue] | Sequence[Sequence[JsonValue]]) -> Numbers:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float64).astype(np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnknownJoints("has joints of different lengths, or values that are no numbers") from error
