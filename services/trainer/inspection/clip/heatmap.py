"""Features over time: a row for each number, a column for each frame, colour for the value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.posteriors import seconds
from services.trainer.drawing.svg import Drawing, cells, element, text, titled
from services.trainer.inspection.clip.body_view import Measured

_ROW, _TOP, _NAME = 11.0, 30.0, 190.0
_SPAN, _GAP, _MOST_FRAME = 240.0, 18.0, 14.0

# Shades of either sign: more cannot be told apart.
_SHADES = 8

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Column:
    """One of the hands, or both.

    Attributes:
        title: of whom.
        rows: what is measured.
    """

    title: str
    rows: Sequence[Measured]


def draw(columns: Sequence[Column], reach: float, name: str) -> Drawing:
    """The rows of several columns side by side; they have the same names.

    Args:
        columns: at least one.
        reach: the value whose colour is the strongest; larger ones have it too.
        name: of the group.
    """
    frames = len(columns[0].rows[0].values)
    width = min(_MOST_FRAME, _SPAN / frames)
    span = width * frames
    rows = len(columns[0].rows)
    parts = [
        text(_NAME - 8, _TOP + _ROW * (row + 0.8), one.name, class_="soft end small")
        for row, one in enumerate(columns[0].rows)
    ]
    for place, column in enumerate(columns):
        left = _NAME + place * (span + _GAP)
        parts.append(text(left, 11, column.title, class_="strong"))
        parts.append(text(left, _TOP - 4, "0 s", class_="soft small"))
        parts.append(text(left + span, _TOP - 4, f"{seconds(frames):.1f} s", class_="soft end small"))
        parts.append(element("rect", class_="ground", x=left, y=_TOP, width=span, height=_ROW * rows))
        shades: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for row, one in enumerate(column.rows):
            for frame, shade in _shades(one.values, reach):
                kind = "over" if shade > 0 else "under" if shade < 0 else "zero"
                shades.setdefault((kind, abs(shade)), []).append((row, frame))
        parts += [_painted(kind, shade, where, left, width) for (kind, shade), where in sorted(shades.items())]
        parts += [_told(one, row, left, span) for row, one in enumerate(column.rows)]
    return Drawing(
        _NAME + len(columns) * (span + _GAP) - _GAP,
        _TOP + _ROW * rows + 4,
        "".join(parts),
        f"Features of {name} over time",
    )


def reaches(columns: Sequence[Sequence[Measured]]) -> Mapping[str, float]:
    """The largest absolute value of each group, over all its numbers and frames; 1 where there is none."""
    largest: dict[str, float] = {}
    for rows in columns:
        for one in rows:
            known = np.abs(one.values[np.isfinite(one.values)])
            largest[one.group] = max(largest.get(one.group, 0.0), float(known.max()) if len(known) else 0.0)
    return {group: reach or 1.0 for group, reach in largest.items()}


def _shades(values: Values, reach: float) -> list[tuple[int, int]]:
    """Frames that have a value, and its shade, from -`_SHADES` to `_SHADES`."""
    known = np.flatnonzero(np.isfinite(values))
    shades = np.round(np.clip(values[known] / reach, -1, 1) * _SHADES).astype(int)
    return list(zip(known.tolist(), shades.tolist(), strict=True))


def _painted(kind: str, shade: int, where: Sequence[tuple[int, int]], left: float, width: float) -> str:
    """All cells of one shade as one path."""
    path = cells(((left + frame * width, _TOP + row * _ROW + 0.5, width) for row, frame in where), _ROW - 1)
    return element("path", class_=kind, d=path, fill_opacity=f"{shade / _SHADES:.3f}" if shade else "1")


def _told(one: Measured, row: int, left: float, span: float) -> str:
    """What a row says to whoever points at it."""
    known = one.values[np.isfinite(one.values)]
    said = f"{known.min():.2f} to {known.max():.2f}, mean {known.mean():.2f}" if len(known) else "nothing to measure"
    area = element("rect", x=left, y=_TOP + row * _ROW, width=span, height=_ROW, fill_opacity="0")
    return titled(area, f"{one.name}: {said}")
