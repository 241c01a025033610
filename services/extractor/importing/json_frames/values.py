"""Access to JSON values whose keys people write differently: left_hand, leftHand, LEFT-HAND."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from signet.text_files import parse_number

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = Mapping[str, JsonValue]

_SEPARATORS = re.compile(r"[^a-z0-9]+")


def normalise_key(key: str) -> str:
    """A key in small letters without separators."""
    return _SEPARATORS.sub("", key.lower())


def find_value(value: JsonObject, names: Iterable[str]) -> JsonValue:
    """The value of the first of these normalised names that the object has and that is not null."""
    own = {normalise_key(key): inner for key, inner in value.items()}
    return next((own[name] for name in names if own.get(name) is not None), None)


def find_number(value: JsonObject, names: Iterable[str]) -> float | None:
    """The finite number of the first of these names that the object has."""
    found = find_value(value, names)
    try:
        number = parse_number(found) if isinstance(found, str) else float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def find_text(value: JsonObject, names: Iterable[str]) -> str:
    """The text or whole number of the first of these names that the object has; "" if it has none."""
    found = find_value(value, names)
    return str(found).strip() if isinstance(found, str) or (isinstance(found, int) and abs(found) < 10**9) else ""


def numbered_items(value: JsonValue) -> list[JsonValue]:
    """The items of a list, or of an object whose keys are numbers, in their order; [] for other values."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(key.isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=lambda key: int(key[:18]))]
    return []


def objects(items: Iterable[JsonValue]) -> Iterator[dict[str, JsonValue]]:
    """Those items that are objects."""
    return (item for item in items if isinstance(item, dict))
