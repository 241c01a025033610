"""SVG elements: what they look like as text, and where ticks and bars are."""

import re

import pytest

from services.trainer.drawing.svg import Drawing, bars, element, number, polyline, text, time_axis, with_tooltip


@pytest.mark.parametrize(
    ("value", "written"),
    [(1, "1"), (1.0, "1"), (1.25, "1.2"), (-0.04, "0"), (-0.06, "-0.1"), (10.0, "10"), (0.96, "1")],
)
def test_a_number_has_at_most_one_decimal(value: float, written: str) -> None:
    assert number(value) == written


def test_attributes_and_texts_are_escaped() -> None:
    assert element("a", class_="x", stroke_width=2, d='"<') == '<a class="x" stroke-width="2" d="&quot;&lt;"></a>'
    assert text(1, 2, "<b>") == '<text x="1" y="2">&lt;b&gt;</text>'
    assert with_tooltip("<a></a>", "<b>") == "<g><title>&lt;b&gt;</title><a></a></g>"
    assert 'aria-label="&lt;b&gt;"' in Drawing(1, 2, "", "<b>").inline()


def test_a_drawing_has_its_size_in_a_page_and_in_a_file() -> None:
    drawing = Drawing(30, 20.5, "<a></a>", "label")
    assert 'width="30" height="20.5" viewBox="0 0 30 20.5"><a></a></svg>' in drawing.inline("drawing")
    assert b"<a></a></svg>" in drawing.file()
    assert b'width="30" height="20.5"' in drawing.file()


def test_a_polyline_needs_two_points() -> None:
    assert polyline([]) == polyline([(1, 2)]) == ""
    assert polyline([(1, 2), (3, 4), (5, 6)]) == "M1 2L3 4L5 6"


def test_a_bar_goes_right_down_and_back() -> None:
    assert bars([(1, 2, 3), (10, 20, 30)], 4) == "M1 2h3v4h-3zM10 20h30v4h-30z"


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (1.2, ["0 s", "0.5 s", "1 s"]),
        (6.0, [f"{n / 2:g} s" for n in range(13)]),
        (6.1, [f"{n} s" for n in range(7)]),
        (13.0, ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]),
        (3600.0, [f"{n * 3600} s" for n in range(2)]),
    ],
)
def test_a_time_axis_has_at_most_twelve_intervals(seconds: float, labels: list[str]) -> None:
    assert re.findall(r">([\d.]+ s)</text>", time_axis(0, 0, seconds, 1)) == labels


def test_a_tick_is_at_its_time() -> None:
    axis = time_axis(100, 50, 1.0, 20)
    assert re.findall(r'<line class="axis" x1="([\d.]+)" x2="([\d.]+)" y1="46" y2="50">', axis) == [
        ("100", "100"),
        ("110", "110"),
        ("120", "120"),
    ]
    assert '<text x="110" y="61"' in axis
