"""Heatmaps of features: the place, the colour and the tooltip of each cell."""

import re

import numpy as np
import pytest

from services.trainer.features.groups import UNITS
from services.trainer.inspection.clip.body_view import BodyView, FeatureRow, compute_body_view
from services.trainer.inspection.clip.heatmap import draw_group_heatmaps, draw_heatmap
from signet.landmarks import to_model_input
from tests.services.trainer.conftest import moving_clip

Cell = tuple[float, float, float]


def row(name: str, *values: float) -> FeatureRow:
    return FeatureRow("location", name, np.array(values, np.float32))


def cells(body: str) -> dict[tuple[str, str], list[Cell]]:
    """The cells of each kind and opacity: x, y and width."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for kind, path, opacity in re.findall(r'class="(over|under|zero)" d="([^"]+)" fill-opacity="([\d.]+)"', body):
        places = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path)
        found.setdefault((kind, opacity), []).extend((float(x), float(y), float(width)) for x, y, width in places)
    return found


def test_a_cell_is_at_its_row_and_frame_and_has_the_colour_of_its_value() -> None:
    dominant = [row("a", 0.0, 2.0, np.nan), row("b", -1.0, 9.0, 0.1)]
    drawing = draw_heatmap({"dominant hand": dominant, "other": [row("a", 2.0, np.nan, np.nan)] * 2}, 2.0, "location")
    # Frames are 14 wide, rows 11 high; the first column starts at 190, the second 3 frames and a gap of 18 later.
    assert cells(drawing.body) == {
        ("zero", "1"): [(190, 30.5, 14), (218, 41.5, 14)],
        ("over", "1.000"): [(204, 30.5, 14), (204, 41.5, 14), (250, 30.5, 14), (250, 41.5, 14)],
        ("under", "0.500"): [(190, 41.5, 14)],
    }
    assert (drawing.width, drawing.height) == (190 + 2 * 42 + 18, 30 + 2 * 11 + 4)
    assert "<title>b: -1.00 to 9.00, mean 2.70</title>" in drawing.body
    assert re.findall(r"class=\"strong\">([^<]+)<", drawing.body) == ["dominant hand", "other"]


def test_a_long_clip_has_narrow_frames() -> None:
    drawing = draw_heatmap({"both": [row("a", *[1.0] * 480)]}, 1.0, "location")
    ((start, *_, end),) = cells(drawing.body).values()
    assert start[2] == end[2] == 0.5
    assert end[0] == pytest.approx(190 + 239.5, abs=0.1)


def test_a_row_without_values_says_so() -> None:
    drawing = draw_heatmap({"both": [row("a", np.nan, np.nan)]}, 1.0, "location")
    assert "<title>a: nothing to measure</title>" in drawing.body
    assert cells(drawing.body) == {}


def view() -> BodyView:
    return compute_body_view(to_model_input(moving_clip("c", "who", "val", 3)))


def test_each_group_but_presence_is_drawn_with_the_hands_side_by_side() -> None:
    heatmaps = {heatmap.name: heatmap for heatmap in draw_group_heatmaps(view(), standardised=False)}
    assert set(heatmaps) == {"handshape", "outline", "orientation", "location", "contact", "movement", "hands"}
    assert "other hand, mirrored" in heatmaps["handshape"].drawing.body
    assert ">both</text>" in heatmaps["hands"].drawing.body
    assert heatmaps["movement"].unit == UNITS["movement"]


def test_the_strongest_colour_is_the_largest_value_of_the_group_or_three_deviations() -> None:
    shown = view()
    plain = {heatmap.name: heatmap.limit for heatmap in draw_group_heatmaps(shown, standardised=False)}
    for group in ("location", "movement"):
        values = [row.values for row in (*shown.dominant, *shown.non_dominant) if row.group == group]
        assert plain[group] == pytest.approx(np.nanmax(np.abs(values)))
    assert {heatmap.limit for heatmap in draw_group_heatmaps(shown, standardised=True)} == {3.0}
