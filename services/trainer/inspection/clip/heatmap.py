"""Features over time as heatmaps: a row for each feature, a column for each frame, and a colour for the value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.trainer.drawing.svg import Drawing, bars, element, text, with_tooltip
from services.trainer.features.groups import UNITS
from services.trainer.inspection.clip.body_view import BodyView, FeatureRow
from services.trainer.inspection.posteriors import frame_seconds

_ROW, _TOP, _NAME = 11.0, 30.0, 190.0
_COLUMN, _GAP, _MAX_FRAME = 240.0, 18.0, 14.0

# Shades of either sign. More shades cannot be distinguished.
_SHADES = 8

# The standardised value with the strongest colour. The model clips at twice this value.
STANDARD_LIMIT = 3.0


@dataclass(frozen=True)
class GroupHeatmap:
    """The heatmap of a feature group."""

    name: str  # the group
    unit: str  # the unit of its features
    limit: float  # the value with the strongest colour
    drawing: Drawing


def draw_group_heatmaps(view: BodyView, standardised: bool) -> list[GroupHeatmap]:
    """Draw each feature group, the two hands side by side. Presence is not drawn: another drawing shows it."""
    heatmaps = []
    for group in dict.fromkeys(row.group for row in (*view.dominant, *view.both)):
        dominant, non_dominant, both = (
            [row for row in rows if row.group == group] for rows in (view.dominant, view.non_dominant, view.both)
        )
        if group == "presence":
            continue
        columns = {"dominant hand": dominant, "other hand, mirrored": non_dominant} if dominant else {"both": both}
        limit = STANDARD_LIMIT if standardised else _largest_value([*dominant, *non_dominant, *both])
        heatmaps.append(GroupHeatmap(group, UNITS[group], limit, draw_heatmap(columns, limit, group)))
    return heatmaps


def draw_heatmap(columns: Mapping[str, Sequence[FeatureRow]], limit: float, group: str) -> Drawing:
    """Draw a heatmap.

    Args:
        columns: the rows of each column by its title; all columns have the same features.
        limit: the value with the strongest colour. Larger values have the same colour.
        group: name of the group.
    """
    first, *_ = columns.values()
    frames = len(first[0].values)
    frame_width = min(_MAX_FRAME, _COLUMN / frames)
    width, height = frame_width * frames, _ROW * len(first)
    parts = [
        text(_NAME - 8, _TOP + _ROW * (index + 0.8), row.name, class_="soft end small")
        for index, row in enumerate(first)
    ]
    for place, (title, rows) in enumerate(columns.items()):
        x = _NAME + place * (width + _GAP)
        parts.append(text(x, 11, title, class_="strong"))
        parts.append(text(x, _TOP - 4, "0 s", class_="soft small"))
        parts.append(text(x + width, _TOP - 4, f"{frame_seconds(frames):.1f} s", class_="soft end small"))
        parts.append(element("rect", class_="ground", x=x, y=_TOP, width=width, height=height))
        # All cells of one shade are one path.
        cells: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for index, row in enumerate(rows):
            for frame, shade in _shades(row.values, limit):
                kind = "over" if shade > 0 else "under" if shade < 0 else "zero"
                place_in_row = (x + frame * frame_width, _TOP + index * _ROW + 0.5, frame_width)
                cells.setdefault((kind, abs(shade)), []).append(place_in_row)
        for (kind, shade), places in sorted(cells.items()):
            opacity = f"{shade / _SHADES:.3f}" if shade else "1"
            parts.append(element("path", class_=kind, d=bars(places, _ROW - 1), fill_opacity=opacity))
        for index, row in enumerate(rows):
            area = element("rect", x=x, y=_TOP + index * _ROW, width=width, height=_ROW, fill_opacity="0")
            parts.append(with_tooltip(area, _describe(row)))
    right = _NAME + len(columns) * (width + _GAP) - _GAP
    return Drawing(right, _TOP + height + 4, "".join(parts), f"Features of {group} over time")


def _largest_value(rows: Sequence[FeatureRow]) -> float:
    """The largest absolute value; 1 if there is none, or all are zero."""
    values = np.concatenate([row.values for row in rows])
    values = values[np.isfinite(values)]
    return float(np.abs(values).max(initial=0.0)) or 1.0


def _shades(values: npt.NDArray[np.float32], limit: float) -> list[tuple[int, int]]:
    """The frames that have a value, and their shade from -_SHADES to _SHADES."""
    frames = np.flatnonzero(np.isfinite(values))
    shades = np.round(np.clip(values[frames] / limit, -1, 1) * _SHADES).astype(int)
    return list(zip(frames.tolist(), shades.tolist(), strict=True))


def _describe(row: FeatureRow) -> str:
    values = row.values[np.isfinite(row.values)]
    if not len(values):
        return f"{row.name}: nothing to measure"
    return f"{row.name}: {values.min():.2f} to {values.max():.2f}, mean {values.mean():.2f}"
